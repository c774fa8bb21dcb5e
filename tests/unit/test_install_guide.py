"""What docs/install.md and the doctor tell people to type can be typed."""

import re
import shlex
from pathlib import Path

import pytest

from pipelines.__main__ import build_parser
from serving.gateway.__main__ import _parser as gateway_parser
from serving.gateway.settings import GatewaySettings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/install.md").read_text()
FOLDERS = "manifests|charts|images|pipelines|docs"
TOLD = [ROOT / "docs/install.md", *sorted((ROOT / "src/stocktake/doctor").glob("*.py"))]


def commands(beginning: str) -> list[str]:
    """The commands of the guide's code blocks, continued lines joined."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```$", GUIDE, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return sorted({line.removesuffix("&").strip() for line in lines if line.startswith(beginning)})


@pytest.mark.parametrize("command", commands("python -m pipelines"))
def test_our_programs_know_every_verb_and_flag(command):
    build_parser().parse_args(shlex.split(command)[3:])


def test_the_gateway_knows_every_verb_and_flag():
    (command,) = commands("TOKEN=$(STOCKTAKE_GATEWAY_TOKENS=")
    variable, *words = shlex.split(command.removeprefix("TOKEN=$(").removesuffix(")"))
    assert variable.split("=")[0].removeprefix("STOCKTAKE_GATEWAY_").lower() in GatewaySettings.model_fields
    gateway_parser().parse_args(words[3:])


@pytest.mark.parametrize("file", TOLD, ids=lambda file: file.name)
def test_every_path_is_there(file):
    named = re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w", file.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_what_is_applied_are_kustomizations():
    named = {each for line in commands("kubectl") for each in re.findall(r"-k (manifests/\S+)", line)}
    assert named
    assert [path for path in named if not (ROOT / path / "kustomization.yaml").is_file()] == []


def test_make_and_the_images_know_their_targets():
    makefile = (ROOT / "Makefile").read_text()
    for command in commands("make"):
        assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE), command
    stages = "".join((ROOT / f"Dockerfile.{name}").read_text() for name in ("train", "serve"))
    built = [line.split("images/build.sh ")[1].split() for line in commands("REGISTRY=")]
    assert built
    for target in (each for line in built for each in line):
        assert re.search(rf"^FROM .* AS {target}$", stages, re.MULTILINE), target
