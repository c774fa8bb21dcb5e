"""The chart `charts/platform`, rendered by the real Helm engine."""

import copy
import functools
import itertools
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).parents[1] / "charts/platform"
PROFILES = ("in-cluster", "external", "kubeflow", "demo")
RELEASE, NAMESPACE = "platform", "stocktake"

Object = dict[str, Any]


def profile(name: str, **overrides: Any) -> dict[str, Any]:
    """The values of a profile; an override is a path, such as `mlflow__replicas=2`."""
    values = yaml.safe_load((CHART / f"profiles/{name}.yaml").read_text())
    for path, value in overrides.items():
        *parents, last = path.split("__")
        place = functools.reduce(lambda inner, key: inner.setdefault(key, {}), parents, values)
        place[last] = value
    return values


def render(values: dict[str, Any], name: str = RELEASE) -> list[Object]:
    """Every object that an installation with these values would make, hooks and tests too.

    Raises:
        HelmValuesError: the values do not fit the chart's schema.
        HelmRenderError: the chart refuses them.
    """
    files = chart().render(values, name=name, namespace=NAMESPACE)
    texts = [text for path, text in files.items() if not path.endswith("NOTES.txt")]
    documents = itertools.chain.from_iterable(yaml.load_all(text, yaml.CSafeLoader) for text in texts)
    return [copy.deepcopy(document) for document in documents if document]  # without YAML's aliases


@functools.cache
def chart() -> Chart:
    return Chart.load(CHART)


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The object of this kind whose name ends in `-name`."""
    (found,) = [
        each for each in objects if each["kind"] == kind and each["metadata"]["name"] == f"{RELEASE}-{name}"
    ]
    return found


def pods(objects: list[Object]) -> list[tuple[str, Object]]:
    """Every pod and pod template, by the kind and name of what holds it."""
    found = []
    for each in objects:
        holder = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            found.append((holder, each))
        elif "template" in each.get("spec", {}):
            found.append((holder, each["spec"]["template"]))
    return found


def environment(container: Object, secrets: dict[str, dict[str, str]]) -> dict[str, str]:
    """What a container finds in its environment, with the content of the Secrets that it reads."""
    found = {}
    for entry in container["env"]:
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        found[entry["name"]] = secrets[reference["name"]][reference["key"]] if reference else entry["value"]
    return found
