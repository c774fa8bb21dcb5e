"""images/build.sh with engines that only write down how they were called."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = """#!/bin/sh
[ "$1" != info ] || exit {info}
echo "${{0##*/}}" "$@" >> "{log}"
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the script reads; git knows nothing of it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Dockerfile.train", "Dockerfile.serve", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "images", folder / "images")
    return folder


@pytest.fixture
def build(checkout, tmp_path):
    """Runs the script where the engines are those that are given, with the status of their `info`."""
    log = tmp_path / "calls"

    def run(*targets, engines, **variables):
        path = Path(tempfile.mkdtemp(dir=tmp_path))
        for tool in ("sh", "dirname", "sed", "grep", "mkdir"):
            (path / tool).symlink_to(shutil.which(tool))
        for name, info in engines.items():
            (path / name).write_text(ENGINE.format(info=info, log=log))
            (path / name).chmod(0o755)
        environment = {"PATH": str(path), "GIT_CEILING_DIRECTORIES": str(tmp_path), **variables}
        done = subprocess.run(
            [path / "sh", checkout / "images/build.sh", *targets],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = log.read_text().splitlines() if log.exists() else []
        return done, calls

    return run


@pytest.mark.parametrize(
    ("engines", "chosen"),
    [
        ({"docker": 0, "podman": 0, "buildah": 0}, "docker"),
        ({"docker": 1, "podman": 0, "buildah": 0}, "podman"),
        ({"docker": 1, "podman": 125, "buildah": 0}, "buildah"),
        ({"buildah": 0}, "buildah"),
    ],
)
def test_the_first_engine_that_works_builds(build, engines, chosen):
    done, calls = build("train", engines=engines)
    assert done.returncode == 0, done.stderr
    assert [call.split()[:2] for call in calls] == [[chosen, "build"]]


@pytest.mark.parametrize("engines", [{}, {"docker": 1}])
def test_a_client_without_its_daemon_is_no_engine(build, engines):
    done, calls = build("train", engines=engines)
    assert done.returncode != 0
    assert "none of docker, podman and buildah works here" in done.stderr
    assert calls == []


def test_an_engine_that_is_asked_for_is_taken(build):
    _, calls = build("train", engines={"docker": 0, "podman": 0}, ENGINE="podman")
    assert [call.split()[0] for call in calls] == ["podman"]


def test_images_are_named_tagged_and_labelled(build):
    _, (train, predictor) = build(
        "train", "predictor-cpu", engines={"docker": 0}, REGISTRY="registry.example.org/shops"
    )
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert f" --tag registry.example.org/shops/stocktake-train:{version} " in train
    assert f" --tag registry.example.org/shops/stocktake-predictor-cpu:{version} " in predictor
    assert "--file Dockerfile.train --target train " in train
    assert "--file Dockerfile.serve --target predictor-cpu " in predictor
    for call in (train, predictor):
        assert f"--label org.opencontainers.image.version={version} " in call
        assert "--label org.opencontainers.image.revision=unknown " in call
        assert call.endswith(" .")


def test_only_what_is_given_becomes_a_build_argument(build):
    mirrored = {
        "BASE": "mirror.example.org/python:3.11",
        "CA": "/etc/ca.pem",
        "UV_DEFAULT_INDEX": "https://m",
    }
    _, (bare,) = build("predictor-cpu", engines={"docker": 0})
    assert "--build-arg" not in bare
    assert "--secret" not in bare
    _, (_, full) = build("predictor-cpu", engines={"docker": 0}, **mirrored)
    assert "--build-arg BASE=mirror.example.org/python:3.11 --build-arg UV_DEFAULT_INDEX=https://m" in full
    assert "--secret id=ca,src=/etc/ca.pem" in full


@pytest.mark.parametrize(("engine", "format_named"), [("docker", False), ("podman", True), ("buildah", True)])
def test_health_checks_are_kept_by_every_engine(build, engine, format_named):
    _, (call,) = build("predictor-cpu", engines={engine: 0})
    assert ("--format docker" in call) == format_named


def test_lists_of_contents_are_files_and_no_images(build, checkout):
    _, (call,) = build("sbom-predictor-cpu", engines={"docker": 0})
    assert "--target sbom-predictor-cpu --output type=local,dest=dist ." in call
    assert (checkout / "dist").is_dir()


def test_an_unknown_target_is_named_before_anything_is_built(build):
    done, calls = build("train", "gateways", engines={"docker": 0})
    assert "there is no target gateways" in done.stderr
    assert calls == []


def test_without_a_target_it_says_how_it_is_called(build):
    done, _ = build(engines={"docker": 0})
    assert done.returncode == 2
    assert "images/build.sh TARGET" in done.stderr
    assert "set -eu" not in done.stderr


def test_make_builds_the_images_that_are_named():
    command = ["make", "--no-print-directory", "--dry-run", "images", "sboms", "IMAGES=train predictor-cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        "sh images/build.sh train predictor-cpu",
        "sh images/build.sh sbom-train sbom-predictor-cpu",
    ]
