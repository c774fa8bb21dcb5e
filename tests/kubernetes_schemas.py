"""Kubernetes manifests against the schemas of API servers and of custom resource definitions, strictly.

A field that nobody knows is an error, also where a server would prune it without a word. What only a server
can do is left to it: rules in CEL (`x-kubernetes-validations`) and the checks of admission webhooks, of which
`stocktake.cluster.lint` knows those of KServe.
"""

import functools
import json
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource

VERSIONS = ("1.33.0", "1.36.0")  # of Kubernetes: the oldest that is supported, and the newest
OBJECT = frozenset({"apiVersion", "kind", "metadata"})  # of every object, whatever its own schema says
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def validate(manifest: dict[str, Any]) -> list[str]:
    """What an API server would refuse or prune in an object and in what it embeds; empty when all is well.

    Skips the test where the object is custom and STOCKTAKE_CRDS names no folder of definitions.

    Args:
        manifest: one object, as YAML or JSON has it.

    Returns:
        One line for each fault, such as `Job/trial (Kubernetes 1.36.0) spec.template: 'foo' was unexpected`.
    """
    where = f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name', '')}"
    validators = _builtin(manifest) or _custom(manifest)
    if not validators:
        return [f"{where}: no schema for {manifest.get('apiVersion')} {manifest.get('kind')}"]
    faults = [
        f"{where} ({origin}) {error.json_path.removeprefix('$.')}: {error.message[:300]}"
        for origin, validator, part in validators
        for error in validator.iter_errors(part)
    ]
    return faults + [fault for child in _embedded(manifest) for fault in validate(child)]


def is_builtin(manifest: dict[str, Any]) -> bool:
    """Whether an object is of one of Kubernetes' own kinds, which need no definitions."""
    return bool(_builtin(manifest))


def require_crds() -> Path:
    """The folder of custom resource definitions; skips the test where there is none."""
    folder = os.environ.get("STOCKTAKE_CRDS")
    if not folder:
        pytest.skip("STOCKTAKE_CRDS names no folder of custom resource definitions")
    return Path(folder)


Validators = list[tuple[str, Any, Any]]  # where a schema comes from, what checks, and what it checks


def _builtin(manifest: dict[str, Any]) -> Validators:
    group, _, version = str(manifest.get("apiVersion")).rpartition("/")
    name = "-".join(filter(None, (str(manifest.get("kind")).lower(), group.partition(".")[0], version)))
    found = [(of, _schema(of, name)) for of in VERSIONS]
    if not all(schema and _is_of(schema, manifest) for _, schema in found):
        return []
    return [(f"Kubernetes {of}", _validator(of, name), manifest) for of, _ in found]


def _is_of(schema: dict[str, Any], manifest: dict[str, Any]) -> bool:
    """Files are named by the first word of a group: serving.kserve.io could be taken for another."""
    return bool(manifest["apiVersion"] in schema["properties"]["apiVersion"].get("enum", []))


@functools.cache
def _schema(of: str, name: str) -> dict[str, Any] | None:
    folder = files("kubernetes_validate").joinpath("kubernetes-json-schema", f"v{of}-local-strict")
    path = folder.joinpath(f"{name}.json")
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


@functools.cache
def _registry(of: str) -> Any:
    return Resource.from_contents(_schema(of, "_definitions")) @ Registry()


@functools.cache
def _validator(of: str, name: str) -> Any:
    return Draft202012Validator(_schema(of, name), registry=_registry(of))


@functools.cache
def _metadata_validator() -> Any:
    definitions = _schema(VERSIONS[-1], "_definitions")
    assert definitions is not None
    reference = f"{definitions['$id']}#/$defs/{OBJECT_META}"
    return Draft202012Validator({"$ref": reference}, registry=_registry(VERSIONS[-1]))


def _custom(manifest: dict[str, Any]) -> Validators:
    schema = _crd_schema(require_crds(), str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if schema is None:
        return []
    properties = {key: part for key, part in schema.get("properties", {}).items() if key not in OBJECT}
    body = {key: part for key, part in manifest.items() if key not in OBJECT}
    required = [key for key in schema.get("required", []) if key not in OBJECT]
    return [
        ("metadata", _metadata_validator(), manifest.get("metadata")),
        ("CRD", Structural({**schema, "properties": properties, "required": required}), body),
    ]


@functools.cache
def _crd_schema(folder: Path, api_version: str, kind: str) -> dict[str, Any] | None:
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if not re.search(rf"^ +kind: {re.escape(kind)}$", text, re.MULTILINE):
            continue  # to parse the megabytes of all of them takes seconds
        for crd in yaml.load_all(text, Loader=yaml.CSafeLoader):
            for version in crd["spec"]["versions"]:
                here = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                if here == (api_version, kind):
                    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
                    return schema
    return None


def _embedded(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Objects inside of objects whose own schema says nothing of them."""
    if manifest.get("kind") == "Experiment":
        yield manifest.get("spec", {}).get("trialTemplate", {}).get("trialSpec") or {}


def _type(validator: Any, types: Any, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    if instance is None and schema.get("nullable"):
        return
    yield from Draft202012Validator.VALIDATORS["type"](validator, types, instance, schema)
    if not isinstance(instance, dict) or "additionalProperties" in schema:
        return
    if not schema.get("x-kubernetes-preserve-unknown-fields"):
        known = schema.get("properties", {}).keys()
        known |= OBJECT if schema.get("x-kubernetes-embedded-resource") else frozenset()
        for name in sorted(instance.keys() - known):
            yield ValidationError(f"unknown field {name!r}", path=[name])


def _required(
    validator: Any, names: list[str], instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    """Servers set defaults before they look whether something is missing."""
    properties = schema.get("properties", {})
    names = [name for name in names if "default" not in properties.get(name, {})]
    yield from Draft202012Validator.VALIDATORS["required"](validator, names, instance, schema)


def _int_or_string(
    validator: Any, wanted: bool, instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if wanted and (isinstance(instance, bool) or not isinstance(instance, int | str)):
        yield ValidationError(f"{instance!r} is neither an integer nor a string")


def _list_type(validator: Any, kind: str, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    if not isinstance(instance, list) or kind == "atomic":
        return
    properties = schema.get("items", {}).get("properties", {})
    names = schema.get("x-kubernetes-list-map-keys", [])
    defaults = {name: properties.get(name, {}).get("default") for name in names}
    keys = [[(defaults | item)[name] for name in names] for item in instance] if kind == "map" else instance
    for number, key in enumerate(keys):
        if key in keys[:number]:
            yield ValidationError(f"{key!r} comes twice")


Structural = extend(
    Draft202012Validator,
    {
        "type": _type,
        "required": _required,
        "x-kubernetes-int-or-string": _int_or_string,
        "x-kubernetes-list-type": _list_type,
    },
)
