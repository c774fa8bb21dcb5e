"""The steps one by one, in this process, on real photos and real artefacts."""

import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp import dsl

from components.evaluation import evaluate_shelf_detector
from components.ingestion import (
    ingest_bins,
    ingest_shelves,
    merge_bins,
    merge_shelves,
    plan_bins,
    plan_shelves,
)
from components.label_prep import prepare_bins, prepare_shelf_labels
from components.promotion import promote_model
from components.training import train_shelf_detector
from stocktake.dataset import DatasetIndex
from stocktake.errors import DataError
from stocktake.model_card import ModelCard, verify_sums

START = {"weights": "scratch", "size": "n", "img": 64}


class Artifacts:
    """Makes artefacts in a folder of their own per step, as KFP does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, step: str, **kinds: type[dsl.Artifact]) -> dict[str, dsl.Artifact]:
        folder = self.root / step
        folder.mkdir()
        return {name: kind(name=name, uri=str(folder / name)) for name, kind in kinds.items()}


PLACE = {"gpus": 4, "node_selector": {"pool": "gpu"}}
PAGES = {"metrics": dsl.Metrics, "report": dsl.HTML, "card": dsl.Markdown}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("components")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("STOCKTAKE_STORE", str(root / "store"))
        patch.setenv("STOCKTAKE_CACHE", str(root / "cache"))
        patch.setenv("STOCKTAKE_WORK_DIR", str(root / "work"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        yield Artifacts(root)


def ingest_photos(artifacts, step: str, source: Path, pods: int, limit: int = 0) -> SimpleNamespace:
    """The steps from plan to merge."""
    shards, *training = plan_shelves.python_func(source=str(source), pods=pods, trainjob=False, **PLACE)
    assert training == ["4", "8", "48Gi", {"pool": "gpu"}]
    parts = [artifacts(f"{step}-part-{number}", part=dsl.Dataset)["part"] for number in range(pods)]
    asked = {"source": str(source), "exclude": "unreadable", "copy": False, "limit": limit}
    for shard, part in zip(shards, parts, strict=True):
        ingest_shelves.python_func(shard=shard, part=part, **asked)
    made = artifacts(step, index=dsl.Dataset, **PAGES)
    return SimpleNamespace(digest=merge_shelves.python_func(parts=parts, **made), parts=parts, **made)


@pytest.fixture(scope="module")
def ingested(artifacts, drawn_photos):
    return ingest_photos(artifacts, "ingest", drawn_photos, 3)


@pytest.fixture(scope="module")
def prepared(artifacts, ingested):
    made = artifacts("prepare", index=dsl.Dataset, **PAGES)
    digest = prepare_shelf_labels.python_func(
        ingested=ingested.index, digest=ingested.digest, code_version="1", **made
    )
    return SimpleNamespace(digest=digest, **made)


@pytest.fixture(scope="module")
def trained(artifacts, prepared):
    made = artifacts("train", model=dsl.Model, metrics=dsl.Metrics)
    digest, run_id = train_shelf_detector.python_func(
        index=prepared.index, digest=prepared.digest, code_version="1", epochs=1, batch=4, freeze=0,
        hyp="quick", cache="", patience=5, seed=0, gpus=0, trainjob=False, gpu_type="nvidia.com/gpu",
        node_selector={}, tolerations=[], **START, **made,
    )  # fmt: skip
    return SimpleNamespace(digest=digest, run_id=run_id, **made)


@pytest.fixture(scope="module")
def evaluated(artifacts, prepared, trained):
    made = artifacts("evaluate", scored=dsl.Model, evaluation=dsl.Artifact, **PAGES)
    evaluate_shelf_detector.python_func(
        index=prepared.index, model=trained.model, run_id=trained.run_id, model_name="shelf-test",
        split="test", feedback="", **START, **made,
    )  # fmt: skip
    return SimpleNamespace(**made)


def assert_pages(step, heading: str) -> None:
    assert "<html" in Path(step.report.path).read_text()
    assert Path(step.card.path).read_text().startswith(f"# {heading}")
    assert step.metrics.metadata
    assert all(isinstance(value, int | float) for value in step.metrics.metadata.values())


def test_ingest(ingested):
    index = DatasetIndex.read(Path(ingested.index.path))
    assert index.digest == ingested.digest == ingested.index.metadata["digest"]
    assert ingested.metrics.metadata["photos"] == len(index.photos) == 8
    assert_pages(ingested, "Ingested")


def test_one_pod_makes_the_same_index_as_three(artifacts, ingested, drawn_photos):
    alone = ingest_photos(artifacts, "alone", drawn_photos, 1)
    assert alone.digest == ingested.digest
    assert alone.metrics.metadata == ingested.metrics.metadata


def test_ingest_again_knows_what_it_has_read_and_makes_the_same(ingested, drawn_photos):
    for number, part in enumerate(ingested.parts, 1):
        ingest_shelves.python_func(
            source=str(drawn_photos),
            shard=f"{number}/3",
            exclude="unreadable",
            copy=False,
            limit=0,
            part=part,
        )
    made = {name: getattr(ingested, name) for name in ("index", *PAGES)}
    assert merge_shelves.python_func(parts=ingested.parts, **made) == ingested.digest
    told = json.loads(Path(ingested.index.path).with_name("merged").joinpath("report.json").read_text())
    assert (told["examined"], told["known"]) == (0, 8)


def test_ingest_of_a_few_photos(artifacts, drawn_photos):
    few = ingest_photos(artifacts, "few", drawn_photos, 2, limit=1)
    assert few.metrics.metadata["photos"] == 3
    assert few.metrics.metadata["photos_left_out"] == 5


def test_a_plan_for_photos_that_are_not_there(tmp_path):
    asked = {"pods": 1, "trainjob": True, **PLACE}
    with pytest.raises(DataError, match="nowhere: there is no such folder or archive"):
        plan_shelves.python_func(source=str(tmp_path / "nowhere"), **asked)
    with pytest.raises(DataError, match="empty; expected the folders images and annotations"):
        plan_shelves.python_func(source=str(tmp_path), **asked)
    archive = tmp_path / "set.tar"
    archive.write_text("no archive")
    with pytest.raises(DataError, match=r"set\.tar: not a whole tar archive"):
        plan_shelves.python_func(source=str(archive), **asked)
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("readme.txt"))
    planned = plan_shelves.python_func(source=str(archive), **asked)
    assert planned == (["1/1"], "0", "1", "4Gi", {})  # a TrainJob trains


def test_prepare(prepared, ingested):
    index = DatasetIndex.read(Path(prepared.index.path))
    assert index.digest == prepared.digest
    assert prepared.index.metadata == {
        "digest": prepared.digest,
        "made_from": ingested.digest,
        "code_version": "1",
    }
    assert prepared.metrics.metadata["photos_kept"] == 8
    assert_pages(prepared, "Labels")


def test_train(trained, prepared):
    model_dir = Path(trained.model.path)
    assert verify_sums(model_dir) == trained.digest == trained.model.metadata["digest"]
    assert ModelCard.read(model_dir).dataset_digest == prepared.digest
    assert trained.metrics.metadata.keys() >= {"val/ap50", "val/ap"}


def test_evaluate(evaluated):
    folder = Path(evaluated.evaluation.path)
    assert (folder / "metrics.json").exists()
    assert evaluated.metrics.metadata.keys() >= {"detector/ap50", "voids/f1_iou30"}
    assert_pages(evaluated, "Evaluation of ")


def test_without_feedback_the_model_is_handed_on_as_it_is(trained, evaluated):
    assert verify_sums(Path(evaluated.scored.path)) == trained.digest
    assert not any(name.startswith("feedback") for name in evaluated.metrics.metadata)


def test_promote(artifacts, prepared, trained, evaluated):
    made = artifacts("promote", card=dsl.Markdown)
    promoted, reason, model_uri = promote_model.python_func(
        index=prepared.index, model=trained.model, evaluation=evaluated.evaluation, run_id=trained.run_id,
        model_name="shelf-test", split="test", **made,
    )  # fmt: skip
    found = evaluated.metrics.metadata
    beaten = [
        found["detector/ap50"] > found["constant/detector/ap50"],
        found["voids/f1_iou30"] > found["sliding_box/voids/f1_iou30"],
    ]
    assert promoted is all(beaten)
    assert "version 1" in reason
    assert verify_sums(Path(model_uri)) == trained.digest
    card = Path(made["card"].path).read_text()
    assert card.startswith(f"# shelf-test: {'promoted' if promoted else 'not promoted'}")
    assert reason in card


@pytest.fixture(scope="module")
def ingested_bins(artifacts, drawn_bins):
    source = str(drawn_bins)
    planned = plan_bins.python_func(source=source, pods=2, nodes=1, engine="katib", **PLACE)
    assert planned == (["1/2", "2/2"], "4", "8", "32Gi", {"pool": "gpu"}, "0", "1", "4Gi", {})
    parts = []
    for number, shard in enumerate(planned[0]):
        part = artifacts(f"ingest-bins-{number}", part=dsl.Dataset)
        ingest_bins.python_func(
            source=source, shard=shard, quota=4, limit=0, classes=[1.0, 2.0, 3.0], copy=False, **part
        )
        parts.append(part["part"])
    made = artifacts("merge-bins", index=dsl.Dataset, **PAGES)
    digest = merge_bins.python_func(parts=parts, **made)
    return SimpleNamespace(digest=digest, **made)


def test_ingest_of_some_bins_of_each_class(ingested_bins):
    index = DatasetIndex.read(Path(ingested_bins.index.path))
    assert index.digest == ingested_bins.digest == ingested_bins.index.metadata["digest"]
    assert sorted(photo.quantity for photo in index.photos) == [1] * 4 + [2] * 4 + [3] * 4
    assert ingested_bins.metrics.metadata["photos"] == 12
    assert_pages(ingested_bins, "Ingested")


def test_a_plan_for_a_source_that_does_not_answer(tmp_path):
    asked = {"pods": 1, "nodes": 2, "engine": "optuna", "gpus": 8, "node_selector": {"pool": "gpu"}}
    with pytest.raises(DataError, match="is empty; it must have bin-images"):
        plan_bins.python_func(source=str(tmp_path), **asked)
    (tmp_path / "licence.txt").write_text("drawn")
    shards, *training, gpus, cpu, memory, nodes = plan_bins.python_func(source=str(tmp_path), **asked)
    assert (shards, training) == (["1/1"], ["0", "1", "4Gi", {}])  # a TrainJob trains
    assert (gpus, cpu, memory, nodes) == ("8", "8", "48Gi", {"pool": "gpu"})


def test_prepare_bins(artifacts, ingested_bins):
    made = artifacts("prepare-bins", index=dsl.Dataset, **PAGES)
    digest = prepare_bins.python_func(
        ingested=ingested_bins.index, digest=ingested_bins.digest, code_version="1", classes=[1.0, 2.0],
        split_seed=0, **made,
    )  # fmt: skip
    index = DatasetIndex.read(Path(made["index"].path))
    assert index.metadata["classes"] == [1, 2]
    assert made["index"].metadata == {
        "digest": digest,
        "made_from": ingested_bins.digest,
        "code_version": "1",
    }
    assert made["metrics"].metadata["photos_of_other_counts"] == 4
    assert_pages(SimpleNamespace(**made), "Split")
