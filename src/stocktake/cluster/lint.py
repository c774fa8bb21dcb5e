"""What is wrong with a manifest and passes every schema: long names, images that move, KServe's own rules."""

from collections.abc import Callable, Iterator
from typing import Any

from stocktake.cluster.images import moves
from stocktake.cluster.kserve_rules import runtime_problems, service_problems

NAME_CHARS = 63  # what Kubernetes allows for most names, and for all labels that hold one

RULES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "InferenceService": service_problems,
    "ServingRuntime": runtime_problems,
    "ClusterServingRuntime": runtime_problems,
}


def lint(manifest: dict[str, Any]) -> list[str]:
    """Look at one object, of any kind, as YAML or JSON has it.

    Returns:
        One line for each problem, with the object, the field, what was found and what to do; empty where
        there is none.
    """
    kind, name = manifest.get("kind"), (manifest.get("metadata") or {}).get("name") or ""
    found = [*_name(name), *_images(manifest)]
    if kind in RULES:
        found += RULES[kind](manifest)
    return [f"{kind}/{name} {problem}" for problem in found]


def containers(part: Any) -> Iterator[dict[str, Any]]:
    """All containers in a manifest, whatever kind of object holds them."""
    if isinstance(part, list):
        for item in part:
            yield from containers(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in ("containers", "initContainers") and isinstance(value, list):
                yield from (item for item in value if isinstance(item, dict))
            elif key in ("container", "model") and isinstance(value, dict):  # KServe has single ones
                yield value
            else:
                yield from containers(value)


def _name(name: str) -> Iterator[str]:
    if len(name) > NAME_CHARS:
        yield f"metadata.name: has {len(name)} characters; give {NAME_CHARS} or fewer"


def _images(manifest: dict[str, Any]) -> Iterator[str]:
    for container in containers(manifest):
        image = container.get("image")
        if image and moves(image):
            yield f"image {image}: may change under its name; give a version tag or a digest"
