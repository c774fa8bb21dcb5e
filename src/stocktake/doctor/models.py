"""The models that are to be served: whether MLflow names one, and whether its files are what it says."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from stocktake.doctor.bucket import open_here
from stocktake.doctor.finding import Finding, fail, ok, warn
from stocktake.doctor.services import ask_mlflow
from stocktake.doctor.site import Site
from stocktake.errors import StoreError
from stocktake.model_card import SUMS_FILE, read_sums
from stocktake.storage import Store

CHAMPION = "champion"
MODELS = ("shelf-detector", "bin-counter")  # where no InferenceService says which


def champions(site: Site) -> Finding:
    """Whether each model has a champion whose files in the store are whole."""
    names = [each["metadata"]["name"] for each in site.inference_services] or list(MODELS)
    found = {name: _champion(site, name) for name in names}
    store = open_here(site)
    damage = [f"{name}: {why}" for name, tags in found.items() if tags for why in _damage(store, name, tags)]
    if damage:
        return fail("; ".join(damage), "register the model again, then deploy it")
    if lacking := [name for name, tags in found.items() if not tags]:
        return warn(
            f"no version of {', '.join(lacking)} has the alias {CHAMPION}: there is nothing to deploy",
            "run the pipeline, whose gate gives it",
        )
    return ok(", ".join(f"{name} {tags['digest'][:12]}" for name, tags in found.items()))


def _champion(site: Site, name: str) -> dict[str, str]:
    """The tags of a model's champion; empty where there is none."""
    path = f"/api/2.0/mlflow/registered-models/alias?name={quote(name)}&alias={CHAMPION}"
    status, body = ask_mlflow(site, path)
    if status != 200:
        return {}
    return {tag["key"]: tag["value"] for tag in json.loads(body)["model_version"].get("tags", ())}


def _damage(store: Store, name: str, tags: dict[str, str]) -> Iterator[str]:
    """What is wrong with the files of a version; their digests are compared, not their bytes."""
    digest, folder = tags.get("digest", ""), f"models/{name}/{tags.get('digest')}"
    if tags.get("model_uri", "").rstrip("/") != store.url(folder).rstrip("/"):
        yield f"its model_uri is {tags.get('model_uri')!r}, not {store.url(folder)}"
        return
    try:
        content = store.get(f"{folder}/{SUMS_FILE}")
    except StoreError as error:
        yield str(error)
        return
    if hashlib.sha256(content).hexdigest() != digest:
        yield f"{store.url(folder)}/{SUMS_FILE} has another SHA-256 than the version"
        return
    with tempfile.TemporaryDirectory() as copy:
        (Path(copy) / SUMS_FILE).write_bytes(content)
        sums = read_sums(Path(copy))
    for file, expected in sums.items():
        info = store.stat(f"{folder}/{file}")
        if info is None:
            yield f"{store.url(folder)}/{file} is missing"
        elif not store.holds(info.key, info.size, expected):
            yield f"{store.url(folder)}/{file} has another SHA-256 than {SUMS_FILE} says"
