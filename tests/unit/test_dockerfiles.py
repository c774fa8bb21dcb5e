"""What can be said about the images without building them."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from stocktake.cli import build_parser

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("Dockerfile.*"))


def instructions(path):
    """(keyword, text) of each instruction, continuation lines joined and comments dropped."""
    lines = [
        line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [tuple(line.split(None, 1)) for line in joined]


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def dockerfile(request):
    return instructions(request.param)


def last(dockerfile, keyword):
    return [text for name, text in dockerfile if name == keyword][-1]


def test_there_is_a_training_image():
    assert "Dockerfile.train" in {path.name for path in DOCKERFILES}


def test_runs_as_a_numeric_user_other_than_root(dockerfile):
    # Kubernetes checks runAsNonRoot by number and refuses a name.
    user, _, group = last(dockerfile, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    after = [name for name, _ in dockerfile[dockerfile.index(("USER", last(dockerfile, "USER"))) :]]
    assert "RUN" not in after


def test_base_image_is_a_build_argument_and_no_latest(dockerfile):
    argument, _, default = next(text for name, text in dockerfile if name == "ARG").partition("=")
    assert argument == "BASE"
    assert re.search(r"@sha256:|:\d", default)
    assert [text for name, text in dockerfile if name == "FROM"] == ["${BASE}"]


def test_entrypoint_needs_no_shell(dockerfile):
    assert last(dockerfile, "ENTRYPOINT").startswith('["')


def test_names_no_index_and_trusts_no_host(dockerfile):
    text = "\n".join(" ".join(line) for line in dockerfile)
    assert not re.search(r"https?://|--trusted-host|--(extra-)?index-url", text)
    pinned = [line for line in re.findall(r"uv pip install[^;]*", text) if "--constraint" not in line]
    assert all("--no-deps" in line for line in pinned)


def test_certificate_is_mounted_and_not_copied(dockerfile):
    text = "\n".join(" ".join(line) for line in dockerfile)
    assert "type=secret,id=ca" in text
    assert not [line for name, line in dockerfile if name in ("COPY", "ADD") and "cert" in line]


@pytest.fixture
def train_image():
    return instructions(ROOT / "Dockerfile.train")


def command_line(dockerfile, *arguments):
    """What `docker run IMAGE arguments` starts."""
    program, *fixed = json.loads(last(dockerfile, "ENTRYPOINT"))
    return [program, *fixed, *(arguments or json.loads(last(dockerfile, "CMD")))]


def test_training_image_trains_when_it_is_run(train_image):
    program, *arguments = command_line(train_image)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[program] == "stocktake.cli:main"
    assert build_parser().parse_args(arguments).data == "/data"


def test_training_image_takes_the_flags_that_are_known_from_yolov5(train_image):
    flags = (
        "--img 416 --batch 4 --epochs 3 --weights yolov5s.pt --cache --freeze 10 --project out --name retail"
    )
    _, *arguments = command_line(train_image, "train", *flags.split())
    options = build_parser().parse_args(arguments)
    assert (options.img, options.batch, options.epochs, options.freeze) == (416, 4, 3, 10)


def test_training_image_leaves_out_what_serves_windows_and_what_pins(train_image):
    (install,) = [text for name, text in train_image if name == "RUN" and "--override" in text]
    assert "printf \"%s ; python_version < '3'\\n\" opencv-python kfp >" in install


def test_build_context_is_named_file_by_file():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    assert all((ROOT / rule[1:]).exists() for rule in rules if rule.startswith("!"))
