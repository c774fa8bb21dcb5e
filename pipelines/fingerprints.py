"""What makes two tasks the same: code, parameters and the content of their input artefacts."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import stocktake
from stocktake.files import sha256_file


def fingerprint(source: str, inputs: Mapping[str, Any], extra: Mapping[str, str]) -> str:
    """Return a sha256 over a task's function, its parameters and what its input artefacts hold.

    Args:
        source: text of the component's function.
        inputs: the `inputs` of kfp's ExecutorInput. An artefact's address is a local path; its content is
            known by the `digest` in its metadata, where its maker wrote one, and is read otherwise.
        extra: anything else that changes the result, such as variables of the step.
    """
    artifacts = {
        name: [
            item.get("metadata", {}).get("digest") or content_digest(Path(item["uri"]))
            for item in entry["artifacts"]
        ]
        for name, entry in inputs.get("artifacts", {}).items()
    }
    facts = [source, inputs.get("parameterValues", {}), artifacts, dict(extra)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def content_digest(path: Path) -> str:
    """Return a sha256 over a file, or over the relative names and contents of a folder's files."""
    if path.is_file():
        return sha256_file(path)
    lines = (
        f"{sha256_file(file)}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@cache
def code_version() -> str:
    """Return the library's version and a short digest of its files.

    The default of a pipeline's `code_version`: cache keys of Kubeflow hold the name of an image, not its
    content, and a step's body only calls the library; without this, a step would be answered with what older
    code made.
    """
    return f"{version('stocktake')}-{content_digest(Path(stocktake.__file__).parent)[:12]}"
