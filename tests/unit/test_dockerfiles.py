"""What can be said about the images without building them."""

import json
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from serving.predictors.__main__ import main as serve
from stocktake.cli import build_parser
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("Dockerfile.*"))
LISTS = sorted((ROOT / "images").glob("*.without"))
TARGETS = {
    "train": "Dockerfile.train",
    "predictor-cpu": "Dockerfile.serve",
    "predictor-gpu": "Dockerfile.serve",
    "gateway": "Dockerfile.serve",
}


def instructions(path):
    """(keyword, text) of each instruction, continuation lines joined and comments dropped."""
    lines = [
        line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [tuple(line.split(None, 1)) for line in joined]


def stages(path):
    """Each stage's base and its own instructions, by name; what comes before the first is under ""."""
    found = {"": (None, [])}
    for keyword, text in instructions(path):
        if keyword == "FROM":
            base, _, name = text.partition(" AS ")
            found[name or "default"] = (base, [])
        else:
            found[list(found)[-1]][1].append((keyword, text))
    return found


def image(target):
    """All instructions that a target is made of, from its base image on."""
    of_file = stages(ROOT / TARGETS[target])
    found = []
    while target in of_file:
        target, own = of_file[target]
        found = own + found
    assert target == "${BASE}"
    return found


def copied_in(found):
    """What instructions take from the build context."""
    taken = [text for keyword, text in found if keyword == "COPY" and "--from=" not in text]
    return {word for text in taken for word in text.split()[:-1]}


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def dockerfile(request):
    return request.param


@pytest.fixture(params=TARGETS)
def built(request):
    return image(request.param)


def last(instructions_of, keyword):
    return [text for name, text in instructions_of if name == keyword][-1]


def left_out(name, kind):
    """What a list in images/ leaves out."""
    lines = (ROOT / "images" / name).read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[0] == kind]


def test_runs_as_a_numeric_user_other_than_root(built):
    # Kubernetes checks runAsNonRoot by number and refuses a name.
    user, _, group = last(built, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    after = [name for name, _ in built[built.index(("USER", last(built, "USER"))) :]]
    assert "RUN" not in after


def test_images_are_only_copied_into(built):
    # Whatever a RUN downloads or leaves behind stays in a stage that is thrown away.
    assert not [text for keyword, text in built if keyword in ("RUN", "ADD")]
    copied = [text for keyword, text in built if keyword == "COPY"]
    assert all("--from=" in text for text in copied)
    assert copied[-2].endswith("/opt/stocktake /opt/stocktake"), (
        "a change of our code leaves that layer alone"
    )
    assert copied[-1].endswith("/app /app")


def test_every_stage_is_the_base_another_stage_or_empty(dockerfile):
    (first, default), *_ = instructions(dockerfile)
    assert (first, default.partition("=")[0]) == ("ARG", "BASE")
    assert re.search(r"@sha256:|:\d", default)
    assert "latest" not in dockerfile.read_text()
    found = stages(dockerfile)
    assert {base for base, _ in found.values()} <= {None, "${BASE}", "scratch", *found}


def test_what_is_copied_is_there_and_in_the_build_context(dockerfile):
    context = [rule[1:] for rule in (ROOT / ".dockerignore").read_text().splitlines() if rule.startswith("!")]
    taken = copied_in(instructions(dockerfile))
    assert taken
    for source in taken:
        assert (ROOT / source).exists()
        assert Path(source).parts[0] in context


def test_stages_that_are_copied_from_exist(dockerfile):
    found = stages(dockerfile)
    taken = re.findall(r"\bfrom=([\w-]+)", dockerfile.read_text())
    assert taken
    assert set(taken) <= set(found)


def test_what_a_stage_installs_from_is_what_it_copied(dockerfile):
    found = stages(dockerfile)
    for name, (base, own) in found.items():
        copied = {Path(source).name for source in copied_in(found.get(base, (None, []))[1] + own)}
        for keyword, text in own:
            if keyword == "RUN" and "sbom" not in text:
                needed = {
                    "install.sh",
                    "constraints.txt",
                    "pyproject.toml",
                    *re.findall(r"\S+\.without", text),
                }
                assert needed <= copied, name


@pytest.mark.parametrize(
    ("name", "target"), [("Dockerfile.train", "train"), ("Dockerfile.serve", "predictor-cpu")]
)
def test_without_a_target_an_image_is_built(name, target):
    last_stage, (base, own) = list(stages(ROOT / name).items())[-1]
    assert (last_stage, base, own) == ("default", target, [])


def test_entrypoint_needs_no_shell(built):
    assert last(built, "ENTRYPOINT").startswith('["')


def test_names_no_index_and_trusts_no_host(dockerfile):
    for text in (dockerfile.read_text(), (ROOT / "images/install.sh").read_text()):
        assert not re.search(r"https?://(?!127\.0\.0\.1)|--trusted-host|--(extra-)?index-url", text)


def test_certificate_is_mounted_and_not_copied(dockerfile):
    found = instructions(dockerfile)
    assert all("--mount=type=secret,id=ca" in text for keyword, text in found if keyword == "RUN")
    assert not [text for keyword, text in found if keyword in ("COPY", "ADD") and "cert" in text]


def test_every_image_says_what_it_is(built):
    labels = " ".join(text for keyword, text in built if keyword == "LABEL")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in labels
    assert 'org.opencontainers.image.title="stocktake-' in labels
    assert "org.opencontainers.image.description=" in labels


def test_every_image_has_a_list_of_what_is_in_it():
    for target, file in TARGETS.items():
        base, own = stages(ROOT / file)[f"sbom-{target}"]
        assert base == "scratch"
        assert own[0][1].endswith(f"/stocktake-{target}.cdx.json")


def test_everything_is_installed_in_a_version_of_the_lock():
    script = re.sub(r"\\\n\s*", "", (ROOT / "images/install.sh").read_text())
    installs = [line for line in script.splitlines() if re.search(r'(pip"|uv") (pip )?install', line)]
    assert len(installs) == 4
    assert all(re.search(r"--(build-)?constraints? \"\$source/constraints.txt\"", line) for line in installs)
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"uv", "cyclonedx-bom", "setuptools"} <= pinned


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_what_is_left_out_has_its_reason(path):
    for line in path.read_text().splitlines():
        assert re.fullmatch(r"(package|needs|path) +\S+ +# \S.*", line)
    assert f" {path.name}" in " ".join(file.read_text() for file in DOCKERFILES), "given to install.sh"


@pytest.mark.parametrize(
    ("programs", "needed", "packages"),
    [
        ("serving.predictors.__main__, serving.predictors.server", "stocktake.shelf.detector", []),
        ("serving.gateway.__main__, serving.gateway.worker", "stocktake.storage", ["gateway.without"]),
    ],
)
def test_what_is_left_out_exists_and_is_not_served(programs, needed, packages):
    folders = [Path(path) for path in left_out("library.without", "path") if path != "bin"]
    code = f"import sys, {programs}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    imported = done.stdout.split()
    assert needed in imported
    assert not {name for each in packages for name in left_out(each, "package")} & set(imported)
    for folder in folders:
        assert (ROOT / "src" / folder).is_dir()
        name = ".".join(folder.parts)
        assert not [module for module in imported if module == name or module.startswith(f"{name}.")]


def command_line(built, *arguments):
    """What `docker run IMAGE arguments` starts."""
    program, *fixed = json.loads(last(built, "ENTRYPOINT"))
    return [program, *fixed, *(arguments or json.loads(last(built, "CMD")))]


def test_training_image_trains_when_it_is_run():
    program, *arguments = command_line(image("train"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[program] == "stocktake.cli:main"
    assert build_parser().parse_args(arguments).data == "/data"


def test_training_image_takes_the_flags_that_are_known_from_yolov5():
    flags = (
        "--img 416 --batch 4 --epochs 3 --weights yolov5s.pt --cache --freeze 10 --project out --name retail"
    )
    _, *arguments = command_line(image("train"), "train", *flags.split())
    options = build_parser().parse_args(arguments)
    assert (options.img, options.batch, options.epochs, options.freeze) == (416, 4, 3, 10)


def test_training_image_leaves_out_what_serves_windows_and_what_pins():
    assert left_out("train.without", "package") == ["opencv-python"]
    assert left_out("train.without", "needs") == ["kfp"]


@pytest.mark.parametrize("target", ["predictor-cpu", "predictor-gpu"])
def test_predictor_images_serve_what_is_mounted(target):
    built = image(target)
    ports = [f"--{kind}_port={port}" for kind, port in zip(("http", "grpc"), free_ports(2), strict=True)]
    command = command_line(built, "--model_name=shelf-detector", *ports)
    assert command[:3] == ["python", "-m", "serving.predictors"]
    with pytest.raises(SystemExit) as ended:
        serve([*command[3:], "--model_dir=/nowhere"])
    assert str(ended.value).startswith("error: /nowhere"), "the flags were understood"
    assert last(built, "EXPOSE").split() == ["8080", "8081"]
    assert last(built, "WORKDIR") == "/app"


class Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.status if self.path == "/v2/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_health_check_of_predictors_asks_whether_they_are_ready(status, healthy):
    text = last(image("predictor-cpu"), "HEALTHCHECK")
    program, *arguments = json.loads(text[text.index("[") :])
    assert program == "python"
    with HTTPServer(("127.0.0.1", 0), type("Answers", (Health,), {"status": status})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at_port = [part.replace(":8080/", f":{server.server_port}/") for part in arguments]
        assert at_port != arguments
        done = subprocess.run([sys.executable, *at_port], capture_output=True, timeout=60)
        server.shutdown()
    assert (done.returncode == 0) == healthy


def test_build_context_is_named_file_by_file():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    assert all((ROOT / rule[1:]).exists() for rule in rules if rule.startswith("!"))
