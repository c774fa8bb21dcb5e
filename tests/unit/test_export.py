import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError, StoreError
from stocktake.model_card import INT8_FILE, ModelCard, read_sums, verify_sums
from stocktake.model_export import PROOF_PHOTOS
from stocktake.openvino_runner import load_openvino
from stocktake.quantisation import LEAST_PHOTOS
from stocktake.runtime import load_runner
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.export import (
    check_parity,
    export_model,
    load_network,
    make_card,
    save_slim,
)
from tests.cell_photos import shelf_photos, write_index

IMG = 96


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv5n as a training leaves it, though its weights are drawn and not learnt."""
    return make_checkpoint(tmp_path_factory.mktemp("weights") / "best.pt", classes=1)


def make_checkpoint(path: Path, classes: int) -> Path:
    from stocktake.shelf.ultralytics_setup import load_ultralytics

    load_ultralytics()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolov5n.yaml", nc=classes, verbose=False)
    model.names = {number: f"class {number}" for number in range(classes)}
    model.train()
    for _ in range(3):
        model(torch.rand(2, 3, IMG, IMG))
    for branch in model.model[-1].cv3:
        torch.nn.init.zeros_(branch[-1].bias)  # scores around a half instead of next to nothing
    arguments = {
        "imgsz": IMG,
        "epochs": 3,
        "data": "/home/somebody/secret/data.yaml",
        "project": "/home/somebody",
    }
    model.args = arguments
    torch.save(
        {"epoch": 2, "ema": model.half(), "model": None, "optimizer": {"state": 1}, "train_args": arguments},
        path,
    )
    return path


@pytest.fixture(scope="module")
def model_dir(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    metrics = {"val/ap50": 0.5}
    return export_model(checkpoint, folder, IMG, name="tiny", metrics=metrics, score_threshold=0.5)


def test_a_model_dir_is_whole(model_dir: Path) -> None:
    assert sorted(path.name for path in model_dir.iterdir()) == [
        "SHA256SUMS",
        "model.onnx",
        "model_card.json",
        "weights.pt",
    ]
    verify_sums(model_dir)
    card = ModelCard.read(model_dir)
    assert card.task == "shelf-detector"
    assert card.name == "tiny"
    assert card.classes == ["object"]
    assert card.input_size == IMG
    assert card.score_threshold == 0.5
    assert card.metrics == {"val/ap50": 0.5}
    assert card.licence == "AGPL-3.0-or-later"
    assert card.weights == "weights.pt"


def test_the_graph_takes_uint8_photos_in_any_number(model_dir: Path) -> None:
    session = onnxruntime.InferenceSession(model_dir / "model.onnx", providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [IMG, IMG, 3])
    assert isinstance(image.shape[0], str)
    anchors = sum((IMG // stride) ** 2 for stride in (8, 16, 32))
    for count in (1, 3):
        photos = np.random.default_rng(0).integers(0, 256, (count, IMG, IMG, 3), np.uint8)
        found = dict(
            zip([o.name for o in session.get_outputs()], session.run(None, {"image": photos}), strict=True)
        )
        assert found["boxes"].shape == (count, anchors, 4)
        assert found["boxes"].dtype == np.float32
        assert found["scores"].shape == (count, anchors)
        assert (found["scores"] >= 0).all()
        assert (found["scores"] <= 1).all()
        assert (found["boxes"][..., 2:] >= found["boxes"][..., :2]).all()


def test_a_photo_answers_alike_alone_and_in_company(model_dir: Path) -> None:
    detector = ShelfDetector.load(model_dir)
    photos = np.random.default_rng(1).integers(0, 256, (3, IMG, IMG, 3), np.uint8)
    together = detector.infer(photos)
    for photo, expected in zip(photos, together, strict=True):
        alone = detector.infer(photo[None])[0]
        np.testing.assert_allclose(alone.boxes, expected.boxes, atol=1e-2)
        np.testing.assert_allclose(alone.scores, expected.scores, atol=1e-5)


@pytest.mark.long
def test_int8_beside_it_leaves_the_boxes_in_floating_point(checkpoint: Path, tmp_path: Path) -> None:
    photos = shelf_photos(tmp_path, "train", LEAST_PHOTOS) + shelf_photos(tmp_path, "val", 1)
    index = DatasetIndex.read(write_index(tmp_path, photos))
    folder = export_model(checkpoint, tmp_path / "model", IMG, index)
    assert {INT8_FILE, "model.int8.bin"} < read_sums(folder).keys()
    assert ModelCard.read(folder).precisions == ["fp32"], "until a gate says otherwise"
    nodes = load_openvino().Core().read_model(folder / INT8_FILE).get_ordered_ops()
    kinds = [node.get_type_name() for node in nodes]
    after = [nodes[kinds.index("Softmax")]]  # and what follows it, which turns probabilities into boxes
    for node in after:
        after += [target.get_node() for port in node.outputs() for target in port.get_target_inputs()]
    distances = {node.get_type_name() for node in after}
    assert "Convolution" in distances
    assert "FakeQuantize" not in distances
    assert kinds.count("FakeQuantize") > 75, "weights and activations of as many layers"
    squares = np.random.default_rng(1).integers(0, 256, (2, IMG, IMG, 3), np.uint8)
    found = load_runner(folder, ["int8"], threads=1).infer(squares)
    assert found["boxes"].shape[::2] == (2, 4)


def test_weights_are_small_train_on_and_name_nobody(checkpoint: Path, model_dir: Path) -> None:
    import torch
    from ultralytics.nn.tasks import load_checkpoint

    slim = model_dir / "weights.pt"
    content = slim.read_bytes()
    assert len(content) < 6e6
    assert b"somebody" not in content
    network, found = load_checkpoint(str(slim))
    assert "optimizer" not in found
    original, _ = load_checkpoint(str(checkpoint))
    for ours, theirs in zip(network.state_dict().values(), original.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_slim_weights_are_the_same_bytes_each_time(checkpoint: Path, tmp_path: Path) -> None:
    save_slim(checkpoint, tmp_path / "one.pt")
    save_slim(checkpoint, tmp_path / "two.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


def test_another_model_fails_the_proof(checkpoint: Path, model_dir: Path) -> None:
    import torch

    network = load_network(checkpoint)
    photo = _png(np.random.default_rng(2).integers(0, 256, (120, 90, 3), np.uint8))
    assert check_parity(model_dir, network, [photo]) >= 100
    with torch.no_grad():
        network.detector.model[-1].cv3[0][-1].bias += 0.5
    with pytest.raises(ModelError, match="in score away"):
        check_parity(model_dir, network, [photo])


@pytest.mark.long
def test_boxes_that_only_voids_need_are_compared_too(checkpoint: Path, tmp_path: Path) -> None:
    network = load_network(checkpoint)
    photo = _png(np.random.default_rng(2).integers(0, 256, (120, 90, 3), np.uint8))
    all_anchors = sum((IMG // stride) ** 2 for stride in (8, 16, 32))
    folder = export_model(checkpoint, tmp_path / "model", IMG, score_threshold=1.0, void_score_threshold=1.0)
    assert check_parity(folder, network, [photo]) == all_anchors  # their scores lie around a half


def test_no_photo_is_no_proof(checkpoint: Path, model_dir: Path) -> None:
    with pytest.raises(ModelError, match="no photo to compare"):
        check_parity(model_dir, load_network(checkpoint), [])


def test_without_val_photos_the_proof_is_on_drawn_ones(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "stocktake"):
        export_model(checkpoint, tmp_path / "model", IMG, DatasetIndex([], str(tmp_path), {"name": "mine"}))
    assert f"proposals in {PROOF_PHOTOS} photos" in caplog.text


def test_a_failed_proof_leaves_no_usable_model_dir(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.shelf.export.MAX_BOX_GAP", -1.0)
    with pytest.raises(ModelError, match="px"):
        export_model(checkpoint, tmp_path / "model", IMG)
    assert not (tmp_path / "model/SHA256SUMS").exists()


def test_several_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 classes"):
        export_model(make_checkpoint(tmp_path / "two.pt", classes=2), tmp_path / "model", IMG)


def test_a_place_that_cannot_be_written_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        export_model(checkpoint, tmp_path / "file" / "model", IMG)


def test_the_card_can_be_overruled_and_is_checked() -> None:
    fields: dict[str, Any] = {"data_licence": "CC0", "dataset": "mine"}
    card = make_card(416, None, **fields)
    assert json.loads(card.model_dump_json())["data_licence"] == "CC0"
    assert card.dataset_digest == "not known"


def _png(pixels: np.ndarray) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", pixels)[1])
