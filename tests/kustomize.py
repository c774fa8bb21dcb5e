"""Folders of manifests, as the real kustomize renders them."""

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.programs import ROOT, need

MANIFESTS = ROOT / "manifests"
OVERLAYS = ("local", "gpu", "knative", "knative-gpu")

Objects = list[dict[str, Any]]


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
