"""How checks are run and told, and those of this machine."""

import io
import socket
import threading
from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main
from stocktake.doctor import kubernetes_checks, machine
from stocktake.doctor.checks import CLUSTER, MACHINE
from stocktake.doctor.examination import examine, report
from stocktake.doctor.finding import Status, Unseen, fail, ok, warn
from stocktake.errors import StoreError

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def raising(error):
    def check():
        raise error

    return check


def test_the_order_is_that_of_the_table_and_a_dead_server_blocks_nobody():
    hangs, slow = threading.Event(), threading.Event()

    def first():
        slow.wait(5)
        return ok("at last")

    def second():
        slow.set()  # so they run side by side
        return ok("at once")

    try:
        checks = {"slow": first, "quick": second, "dead": lambda: ok(str(hangs.wait(60)))}
        found = list(examine(checks, timeout_s=0.5))
    finally:
        hangs.set()
    assert [name for name, _ in found] == ["slow", "quick", "dead"]
    assert [finding.found for _, finding in found] == ["at last", "at once", "no answer within 0.5 s"]
    assert found[2][1].status is Status.FAIL


def test_errors_of_a_check_are_findings():
    errors = {"ours": StoreError("no bucket"), "unseen": Unseen("from elsewhere"), "bug": KeyError("spec")}
    found = dict(examine({name: raising(error) for name, error in errors.items()}))
    assert found["ours"] == fail("no bucket")
    assert found["unseen"] == warn("from elsewhere")
    assert found["bug"].status is Status.FAIL
    assert "KeyError: 'spec'" in found["bug"].found


def test_a_line_is_one_line_with_the_mend_and_colour_only_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    checks = {"disk": lambda: fail("full\nof  photos", "rm photos"), "ports": lambda: ok("free")}
    plain, coloured = io.StringIO(), Terminal()
    assert report(checks, plain) == report(checks, coloured) == 1
    assert plain.getvalue().splitlines() == [
        f"fail  {'disk':<22}  full of photos; rm photos",
        f"ok    {'ports':<22}  free",
    ]
    assert coloured.getvalue().startswith("\x1b[31mfail\x1b[0m  disk")
    monkeypatch.setenv("NO_COLOR", "1")
    quiet = Terminal()
    report(checks, quiet)
    assert quiet.getvalue() == plain.getvalue()


def test_passwords_in_addresses_are_not_told():
    stream = io.StringIO()
    report({"mlflow": lambda: fail("http://me:secret@mlflow:5000/a does not answer", "ask me@home")}, stream)
    assert stream.getvalue().rstrip().endswith("http" + "://…@mlflow:5000/a does not answer; ask me@home")


def test_the_command_line_for_this_machine(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("STOCKTAKE_TRAIN_IMAGE", "stocktake-train:latest")
    assert main(["doctor", "--machine"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:28].strip() for line in lines] == list(MACHINE)
    assert [line for line in lines if line.startswith("fail") and "stocktake-train:latest" in line]
    with pytest.raises(SystemExit):
        main(["doctor", "--machine", "--cluster"])


def test_every_check_has_a_name_that_fits_its_column():
    assert max(map(len, [*MACHINE, *CLUSTER])) <= 22


def test_the_role_of_pipelines_gives_what_the_doctor_asks_for():
    role = next(yaml.safe_load_all((ROOT / "manifests/pipelines/rbac.yaml").read_text()))
    given = {
        (verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {*kubernetes_checks.DEPLOY, *kubernetes_checks.SEARCH, *kubernetes_checks.TRAIN} - given == set()


def test_packages_of_another_version(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert machine.packages().status is Status.WARN
    (tmp_path / "constraints.txt").write_text("pytest==1.0\nnot-there-at-all==1.0\n")
    finding = machine.packages()
    assert finding.status is Status.WARN
    assert "not 1.0" in finding.found
    assert "not-there" not in finding.found
    (tmp_path / "constraints.txt").write_text(f"pytest=={pytest.__version__}\n")
    assert machine.packages() == ok("1 packages have the versions of constraints.txt")


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "new" / "store"))
    assert machine.store().status is Status.OK
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("STOCKTAKE_STORE", "/proc/store")
    assert machine.store().status is Status.FAIL
    monkeypatch.setenv("STOCKTAKE_STORE", "ftp://photos")
    [(_, finding)] = examine({"store": machine.store})
    assert "'ftp'" in finding.found


def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "DISK_ENOUGH", 1 << 60)
    assert machine.disk().status is Status.WARN
    monkeypatch.setattr(machine, "DISK_LEAST", 1 << 60)
    finding = machine.disk()
    assert finding.status is Status.FAIL
    assert "STOCKTAKE_CACHE" in finding.mend


def test_a_port_that_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", (port,))
        assert machine.ports().found == f"port {port} is taken"
    assert machine.ports().status is Status.OK


def test_an_mlflow_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db")
    assert machine.mlflow().status is Status.OK
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    finding = machine.mlflow()
    assert finding.status is Status.FAIL
    assert "does not answer" in finding.found
