"""compose.yaml, as Docker Compose's own loader reads it, and what that loader does not look at."""

import functools
import json
import os
import re
import runpy
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from serving.gateway.__main__ import _parser as gateway_parser
from serving.gateway.settings import load_gateway_settings
from serving.predictors.__main__ import _parser as predictor_parser
from stocktake.settings import load_settings
from tests.ports import free_port
from tests.programs import ROOT, need

SCRIPT = ROOT / "compose/environment.py"
PROFILES = {"tracking": {"mlflow"}, "monitoring": {"prometheus", "grafana"}}


@functools.cache
def environment() -> dict[str, str]:
    """What `make env` writes where there was nothing."""
    return parsed(runpy.run_path(str(SCRIPT))["environment"](""))


def parsed(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def load(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program = need("compose-loader")
    command = [program, str(ROOT / "compose.yaml")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=variables)


@pytest.fixture(scope="module")
def project() -> dict:
    done = load(environment())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=yaml.safe_load((ROOT / "compose.yaml").read_text())["services"])
def service(request: pytest.FixtureRequest, project: dict) -> dict:
    return project["services"][request.param]


def test_every_variable_is_required_and_says_how():
    text = (ROOT / "compose.yaml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert len(re.findall(r"(?<!\$)\$\{\w+:\?run make env\}", text)) == len(re.findall(r"(?<!\$)\$\{", text))
    assert used <= environment().keys()
    assert environment().keys() - used == {"COMPOSE_PROFILES"}, "and what is written is used"
    for name in used:
        done = load({key: value for key, value in environment().items() if key != name})
        assert done.returncode != 0
        assert f"required variable {name} is missing a value: run make env" in done.stderr


def test_passwords_are_random_and_stay_while_versions_follow():
    make = runpy.run_path(str(SCRIPT))["environment"]
    first, second = parsed(make("")), parsed(make(""))
    passwords = {name for name, value in first.items() if value != second[name]}
    assert {name for name in first if re.search("PASSWORD|KEY|SECRET", name)} == passwords
    assert all(len(first[name]) >= 48 for name in passwords)
    mine = "".join(
        f"{name}={value}\n" for name, value in (first | {"REDIS_IMAGE": "old", "MINE": "1"}).items()
    )
    assert parsed(make(mine)) == first | {"MINE": "1"}


def test_the_file_of_passwords_is_its_owners_and_no_commits(tmp_path):
    file = tmp_path / ".env"
    subprocess.run(["python3", SCRIPT, file], check=True, capture_output=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "!.env" not in (ROOT / ".dockerignore").read_text()


def test_versions_are_those_of_the_chart(project):
    values = yaml.safe_load((ROOT / "charts/platform/values.yaml").read_text())
    for name, part in (("redis",) * 2, ("postgresql",) * 2, ("mlflow",) * 2, ("object-store", "objectStore")):
        image = values[part]["image"]
        assert (
            project["services"][name]["image"] == f"{image['registry']}/{image['repository']}:{image['tag']}"
        )
        assert project["services"][name]["user"].split(":")[0] == str(values[part]["user"])
    assert environment()["REDIS_MAX_MEMORY"] == values["redis"]["maxMemory"]


def test_images_are_pinned(service):
    assert re.search(r":v?\d[\w.-]*$", service["image"])


def test_a_service_may_do_as_little_as_possible(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert not any(volume["source"].endswith(".sock") for volume in service.get("volumes", []))


def test_a_service_tells_how_it_is_or_has_nothing_to_tell(project):
    silent = {name for name, one in project["services"].items() if "test" not in one.get("healthcheck", {})}
    assert silent == {"buckets"}, "which ends"
    waited_for = [
        (name, need["condition"])
        for one in project["services"].values()
        for name, need in one.get("depends_on", {}).items()
    ]
    for name, condition in waited_for:
        assert condition == ("service_completed_successfully" if name == "buckets" else "service_healthy")


def test_ports_are_open_to_this_machine_only(project):
    for service in project["services"].values():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"
            assert "outside" in service["networks"], "an internal network publishes nothing"
    assert project["networks"]["inside"]["internal"] is True
    hidden = {name for name, service in project["services"].items() if set(service["networks"]) == {"inside"}}
    assert hidden >= {"redis", "postgresql", "object-store", "predictor-shelves", "predictor-bins"}


def test_what_can_be_left_out_is_needed_by_nothing_else(project):
    services = project["services"]
    for profile, names in PROFILES.items():
        assert {name for name, one in services.items() if profile in one.get("profiles", [])} == names
        needing = {name for name, one in services.items() if names & one.get("depends_on", {}).keys()}
        assert needing <= names
    assert environment()["COMPOSE_PROFILES"].split(",") == list(PROFILES), (
        "everything runs, unless asked not to"
    )


def test_what_is_mounted_is_there_and_used(project):
    for config in project["configs"].values():
        assert Path(config["file"]).is_file()
    mounted = [each for service in project["services"].values() for each in service.get("configs", [])]
    assert {each["source"] for each in mounted} == project["configs"].keys()
    volumes = [each for service in project["services"].values() for each in service.get("volumes", [])]
    assert {each["source"] for each in volumes if each["type"] == "volume"} == project["volumes"].keys()
    models = [each for each in volumes if each["type"] == "bind"]
    assert {Path(each["source"]).relative_to(ROOT).as_posix() for each in models} == {
        "runs/demo/model",
        "runs/demo-bins/model",
    }
    assert all(each["read_only"] and each["bind"]["create_host_path"] is False for each in models)


def test_our_programs_understand_their_flags(project):
    services = project["services"]
    served = gateway_parser().parse_args(services["gateway"]["command"])
    assert (served.verb, served.host, served.port) == ("serve", "0.0.0.0", 8000)
    assert gateway_parser().parse_args(services["worker"]["command"]).verb == "worker"
    names = [
        predictor_parser().parse_args(services[f"predictor-{task}"]["command"])
        for task in ("shelves", "bins")
    ]
    settings = load_gateway_settings()
    assert [args.model_name for args in names] == [settings.shelves_model, settings.bins_model]


def test_gateway_and_worker_read_the_same_settings(project, monkeypatch):
    given = project["services"]["gateway"]["environment"]
    assert project["services"]["worker"]["environment"] == given
    ours = [name for name in given if name.startswith("STOCKTAKE_GATEWAY_")]
    fields = load_gateway_settings().model_fields_set | set(type(load_gateway_settings()).model_fields)
    assert {name.removeprefix("STOCKTAKE_GATEWAY_").lower() for name in ours} <= fields
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_gateway_settings()
    hosts = re.findall(
        r"(?:@|//)([a-z-]+)[:/]", " ".join([settings.database, settings.shelves_url, settings.bins_url])
    )
    assert set(hosts) <= project["services"].keys()
    assert settings.redis.get_secret_value() == f"redis://:{environment()['REDIS_PASSWORD']}@redis:6379/0"
    assert load_settings().s3_endpoint_url == "http://object-store:8333"


def test_rules_are_those_of_the_cluster(project, tmp_path):
    promtool = need("promtool")
    shell, flag, script = project["services"]["prometheus"]["entrypoint"]
    sources = {
        each["target"]: project["configs"][each["source"]]["file"]
        for each in project["services"]["prometheus"]["configs"]
    }
    (tmp_path / "stocktake").mkdir()
    for target, file in sources.items():
        if target.startswith("/etc/stocktake/"):
            shutil.copy(file, tmp_path / "stocktake" / Path(target).name)
    script = script.replace("/tmp/rules", f"{tmp_path}/rules").replace(
        "/etc/stocktake", f"{tmp_path}/stocktake"
    )
    subprocess.run(
        [shell, flag, script.replace("exec prometheus", "echo")], check=True, stdout=subprocess.DEVNULL
    )
    for target, file in sources.items():
        if target.startswith("/etc/stocktake/"):
            made = tmp_path / "rules" / Path(target).name
            assert yaml.safe_load(made.read_text()) == {
                "groups": yaml.safe_load(Path(file).read_text())["spec"]["groups"]
            }
            subprocess.run([promtool, "check", "rules", made], check=True, capture_output=True)
    done = subprocess.run(
        [promtool, "check", "config", "--syntax-only", sources["/etc/prometheus/prometheus.yaml"]],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    targets = re.findall(
        r"targets: \[(.*):\d+\]", Path(sources["/etc/prometheus/prometheus.yaml"]).read_text()
    )
    assert set(targets) <= project["services"].keys()


def test_redis_keeps_what_it_is_given_and_asks_for_the_password(project, tmp_path):
    need("redis-server")
    service = project["services"]["redis"]
    shell, flag, script = service["entrypoint"]
    conf = (ROOT / "charts/platform/files/redis.conf").read_text()
    (tmp_path / "platform.conf").write_text(
        conf.replace("/data", str(tmp_path)).replace("6379", str(port := free_port()))
    )
    script = script.replace("/etc/redis/platform.conf", str(tmp_path / "platform.conf"))
    secret = secrets.token_hex(8)
    variables = {**os.environ, **service["environment"], "REDISCLI_AUTH": secret}
    with subprocess.Popen([shell, flag, script], env=variables, stdout=subprocess.DEVNULL) as server:
        try:
            ask = ["redis-cli", "-p", str(port), "config", "get", "appendonly", "maxmemory"]
            deadline = time.monotonic() + 60
            while "refused" in (said := run(ask, variables)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            words = said.split()
            assert dict(zip(words[::2], words[1::2], strict=True)) == {
                "appendonly": "yes",
                "maxmemory": str(384 << 20),
            }
            assert "NOAUTH" in run(ask, dict(os.environ))
        finally:
            server.kill()


def run(command: list[str], variables: dict[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    return done.stdout + done.stderr


def test_the_store_has_the_flags_of_the_chart(project):
    chart = (ROOT / "charts/platform/templates/object-store.yaml").read_text()
    flags = project["services"]["object-store"]["command"]
    assert (
        re.findall(r"^            - (\S+)$", chart.split("args:")[1].split("env:")[0], re.MULTILINE) == flags
    )
    assert " ".join(project["services"]["object-store"]["entrypoint"]) in chart.replace(",", "")


def test_the_dev_container_offers_what_the_readme_needs():
    made = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert re.search(r":[\d.]+-3\.11-", made["image"])
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", made["postCreateCommand"])) <= targets
    assert set(made["forwardPorts"]) == {8000, 5000}, "of `make up`"
