"""Folders of manifests, as the real kustomize renders them."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("local", "gpu", "knative")

Objects = list[dict[str, Any]]


def need(*programs: str) -> str:
    """The first of some programs that is there, on this machine or by `make services`; skips without any."""
    folders = os.pathsep.join((str(ROOT / ".services" / "bin"), os.environ.get("PATH", "")))
    for program in programs:
        if found := shutil.which(program, path=folders):
            return found
    reason = f"there is no {' and no '.join(programs)}; `make services` installs one"
    if os.environ.get("STOCKTAKE_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@functools.cache
def render(folder: Path) -> Objects:
    """The objects of a kustomization, by `kustomize build` or `kubectl kustomize`."""
    program = need("kustomize", "kubectl")
    command = [program, "build" if Path(program).name == "kustomize" else "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]


def overlay(name: str) -> Objects:
    """The objects of manifests/overlays/NAME."""
    return render(MANIFESTS / "overlays" / name)


def render_with(folder: Path, resources: list[str], components: list[str]) -> Objects:
    """The objects of a kustomization made up in `folder`; paths are those in it, or below manifests/."""

    def found(paths: list[str]) -> list[str]:
        return [
            path if (folder / path).exists() else os.path.relpath(MANIFESTS / path, folder) for path in paths
        ]

    made = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": found(resources),
        "components": found(components),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    return render(folder)


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    """Those of one kind, by their names."""
    return {made["metadata"]["name"]: made for made in objects if made["kind"] == kind}
