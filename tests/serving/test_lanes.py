"""Lanes for several photos side by side, which a server opens when it answers already."""

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from serving.predictors.admission import Capacity
from serving.predictors.loading import open_model
from serving.predictors.repository import PredictorRepository
from serving.predictors.shelf_detector import ShelfDetectorModel
from tests.serving.conftest import BINS, NAME
from tests.serving.light_server import LightModel, wait_until
from tests.serving.loaded import predict, request_of
from tests.serving.staged_model import scheduling
from tests.tiny_model import write_model_dir


@contextmanager
def repository_of(model_dir, name):
    """One model, without lanes yet."""
    with scheduling(2) as scheduler:

        def load(name, model_dir):
            loaded = open_model(model_dir, 2, lanes_later=True)
            return ShelfDetectorModel(name, loaded, scheduler, Capacity())

        repository = PredictorRepository({name: model_dir}, load)
        repository.load_all()
        yield repository


def failures(name):
    return REGISTRY.get_sample_value("stocktake_closed_lanes_total", {"model": name})


def test_a_server_opens_the_lanes_of_all_its_models(server):
    for name in (NAME, "slow", BINS):
        wait_until(lambda name=name: f"{name} looks at 2 photos side by side" in server.log.read_text())
        assert (
            f'stocktake_closed_lanes_total{{model="{name}"}} 0.0' in httpx.get(f"{server.url}/metrics").text
        )


def test_a_model_answers_the_same_with_its_lanes_and_without(tmp_path, photos):
    sent = request_of(*[photos[name] for name in ("shelf", "turned", "blank", "webp")] * 8)
    with repository_of(write_model_dir(tmp_path), "opened") as repository:
        model = repository.get_model("opened")
        before = predict(model, sent)
        asyncio.run(repository.open_lanes())
        after = predict(model, sent)

    assert failures("opened") == 0
    for one, other in zip(before.outputs, after.outputs, strict=True):
        assert (one.name, one.data.tolist()) == (other.name, other.data.tolist())


def test_a_model_whose_lanes_cannot_be_opened_goes_on(tmp_path, photos, monkeypatch, caplog):
    monkeypatch.setenv("STOCKTAKE_ENGINE", "onnxruntime")  # which reads the file once more
    with repository_of(write_model_dir(tmp_path), "closed") as repository:
        (tmp_path / "model.onnx").unlink()
        asyncio.run(repository.open_lanes())
        answer = predict(repository.get_model("closed"), request_of(*[photos["shelf"]] * 8))

    assert failures("closed") == 1
    assert "closed looks at one photo at a time, for its lanes cannot be opened" in caplog.text
    assert "model.onnx: cannot be loaded" in caplog.text
    assert answer.outputs[0].shape == [48, 4]


def test_a_model_that_is_unloaded_meanwhile_is_left_alone(tmp_path, caplog):
    caplog.set_level("INFO")

    async def main(repository):
        opening = asyncio.create_task(repository.open_lanes())
        repository.unload("unloaded")
        await opening

    with repository_of(write_model_dir(tmp_path), "unloaded") as repository:
        asyncio.run(main(repository))

    assert "unloaded looks at" not in caplog.text


def test_a_failure_is_told_even_if_the_server_ends_meanwhile(caplog):
    began, ended = threading.Event(), threading.Event()

    class Stuck(LightModel):
        def open_lanes(self):
            began.set()
            assert ended.wait(60)
            raise RuntimeError("kumquat")

    async def main():
        repository = PredictorRepository({"light": Path("light")}, lambda _name, _model_dir: Stuck())
        repository.load_all()
        opening = asyncio.create_task(repository.open_lanes())
        await asyncio.to_thread(began.wait, 60)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        ended.set()

    asyncio.run(main())

    assert "RuntimeError: kumquat" in caplog.text
    assert failures("light") == 1
