"""Model versions in MLflow's registry: what they are, where their files lie, which one is champion.

A version is a logged model (MLflow 3) that holds the card and the checksums. The weights lie once in the
store, under the SHA-256 of SHA256SUMS; the version's tags `model_uri` and `digest` say where and which. Its
metrics carry the digest of the photos they were measured on, and a tag the code that measured them, so that
only like is compared with like.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stocktake import tracking
from stocktake.code_version import code_version
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError
from stocktake.mlflow_server import configure
from stocktake.model_card import SUMS_FILE, ModelCard, read_sums, verify_sums
from stocktake.model_versions import (
    ModelVersion,
    create_version,
    find_alias,
    find_digest,
    find_number,
    record_metrics,
    set_alias,
    set_tags,
    version_numbers,
)
from stocktake.storage import Wanted, fetch_files, join_uri, open_store, put_files

SHELF_MODEL = "shelf-detector"
CHALLENGER, CHAMPION = "challenger", "champion"


def register(
    model_dir: Path,
    index: DatasetIndex,
    metrics: Mapping[str, float],
    store: str,
    name: str = SHELF_MODEL,
    split: str = "test",
    code: str | None = None,
) -> ModelVersion:
    """Upload a model dir, make it a version of `name` and its challenger.

    The same files registered twice are the same version, whose metrics are recorded again. Logs to the open
    run, or to one of its own.

    Args:
        model_dir: weights, model card and SHA256SUMS, checked before anything is sent.
        index: the photos that `metrics` were measured on.
        metrics: an evaluation's figures.
        store: folder or s3:// URI; the files go to `store`/models/`name`/`digest`/.
        name: the registered model, and so the InferenceService that will serve it.
        split: the part of `index` that `metrics` were measured on.
        code: the `code_version` that made the metrics; this one when None.

    Raises:
        ModelError: the model dir is damaged, or the name can't name an InferenceService.
        StoreError: the files can't be uploaded.
        SettingsError: MLflow does not answer.
    """
    check_name(name)
    digest, about = verify_sums(model_dir), ModelCard.read(model_dir)
    photos = photos_of(index, split)
    configure()
    uri = _upload(model_dir, join_uri(open_store(store).uri, "models", name, digest))
    with run_for("register", about.task) as run_id:
        version = find_digest(name, digest) or create_version(model_dir, about, name, uri, digest, run_id)
        set_tags(version, {"model_uri": uri})  # the same files may have been registered from another store
        record_metrics(version, metrics, photos, run_id, code or code_version())
        set_alias(version, CHALLENGER)
    return replace(version, model_uri=uri)


def resolve(uri: str) -> ModelVersion:
    """The version behind 'models:/name@alias' or 'models:/name/version'.

    Raises:
        ModelError: the URI is of another form, or there is no such model, alias or version.
        SettingsError: MLflow does not answer.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([\w-]+)|/(\d+))", uri)
    if not match:
        raise ModelError(f"{uri!r} names no model; write models:/name@champion or models:/name/3")
    name, alias, number = match.groups()
    configure()
    found = find_alias(name, alias) if alias else find_number(name, number)
    if found is None:
        numbers = version_numbers(name)
        there = f"has the versions {', '.join(map(str, numbers))}" if numbers else "has no version yet"
        raise ModelError(f"{uri}: there is no such version; {name} {there}. Register one, then run the gate")
    return found


def champion(name: str = SHELF_MODEL) -> ModelVersion:
    """The version that is to be served.

    Raises:
        ModelError: no version has passed the gate yet.
    """
    return resolve(f"models:/{name}@{CHAMPION}")


def fetch_champion(name: str, out_dir: Path) -> Path | None:
    """Bring the champion's model dir into `out_dir`; None where no version has passed the gate yet.

    Raises:
        ModelError, StoreError, SettingsError: as `fetch_model` does.
    """
    configure()
    reigning = find_alias(name, CHAMPION)
    if reigning is None:
        return None
    fetch_model(reigning.uri, out_dir)
    return out_dir


def fetch_model(uri: str, out_dir: Path) -> str:
    """Bring a model dir into a local folder and check it; one that is there and whole is not fetched again.

    Args:
        uri: 'models:/name@alias', 'models:/name/version', or the folder or s3:// URI of a model dir.
        out_dir: where to put it.

    Returns:
        The digest of the model dir.

    Raises:
        ModelError: there is no model at the URI, or its files are not those that were registered.
        StoreError: they can't be read.
    """
    version = resolve(uri) if uri.startswith("models:") else None
    source = version.model_uri if version else uri
    if version and _is_whole(out_dir, version.digest):
        return version.digest
    store = open_store(source)
    if not store.exists(SUMS_FILE):
        raise ModelError(f"{source}: no {SUMS_FILE}, so this is no model dir; check the URI or export again")
    store.get_to(SUMS_FILE, out_dir / SUMS_FILE)
    wanted = [Wanted(name, out_dir / name, sha256) for name, sha256 in read_sums(out_dir).items()]
    fetch_files(store, wanted, description="fetch model")
    digest = verify_sums(out_dir)
    if version and digest != version.digest:
        raise ModelError(f"{source}: its files are not those of {version.uri}; register the model again")
    return digest


def photos_of(index: DatasetIndex, split: str) -> DatasetIndex:
    """One split as an index of its own: its digest stays the same when the training photos change.

    Raises:
        ModelError: there are none.
    """
    photos = index.split(split)
    if not photos:
        raise ModelError(f"the index has no photos in its split {split!r}, so no model can be measured on it")
    name = f"{tracking.dataset_name(index)}:{split}"
    return DatasetIndex(photos, index.store, {**index.metadata, "name": name})


def _upload(model_dir: Path, uri: str) -> str:
    """Put a model dir into its place, the checksums last: where they are, everything is."""
    store = open_store(uri)
    put_files(store, [(name, model_dir / name) for name in read_sums(model_dir)], description="upload model")
    put_files(store, [(SUMS_FILE, model_dir / SUMS_FILE)], progress=False)
    return store.uri


def _is_whole(model_dir: Path, digest: str) -> bool:
    if not (model_dir / SUMS_FILE).is_file():
        return False
    try:
        return verify_sums(model_dir) == digest
    except ModelError:
        return False


def check_name(name: str) -> None:
    """Raise ModelError unless an InferenceService could bear the name."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise ModelError(
            f"{name!r} can't name a model: an InferenceService will bear the name, so it must be lower-case "
            "letters, digits and dashes, for example shelf-detector"
        )


@contextmanager
def run_for(name: str, experiment: str) -> Iterator[str]:
    """The id of the open run, or of one that is opened for the block in `experiment`."""
    current = tracking.current_run()
    if current:
        yield current
    else:
        with tracking.start_run(name, experiment) as run_id:
            yield run_id
