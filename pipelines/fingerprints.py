"""What makes two tasks the same: code, parameters and the content of their input artefacts."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stocktake.files import content_digest


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
