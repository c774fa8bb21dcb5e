import logging

import numpy as np
import onnxruntime
import pytest
import torch

from stocktake.bins.counter import BinCounter
from stocktake.bins.export import check_parity, export_model, whole_network
from stocktake.bins.network import BinNetwork, load_checkpoint
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError, StoreError
from stocktake.images import encode_jpeg
from stocktake.model_card import INT8_FILE, ModelCard, read_sums, verify_sums
from stocktake.model_export import PROOF_PHOTOS
from stocktake.quantisation import LEAST_PHOTOS
from stocktake.runtime import load_runner
from tests.tiny_counter import draw_full_range, write_bins

IMG = 64
CLASSES = (0, 1, 2, 5)


def make_checkpoint(path, head="softmax"):
    """A ResNet50 whose weights are drawn and not learnt, but spread out so that photos differ."""
    torch.manual_seed(0)
    network = BinNetwork(CLASSES, head)
    with torch.no_grad():
        layer = network.head.linear if head == "softmax" else network.head.score
        layer.weight.normal_(std=0.2)
    content = {
        "state": network.state_dict(),
        "classes": CLASSES,
        "head": head,
        "img": IMG,
        "epoch": 3,
        "metrics": {"val/accuracy": 0.5},
        "training": {"folder": "/home/somebody"},
    }
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("weights") / "best.pt")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    photos = {"val": [(1, 1), (2, 2), (5, 5)]}
    folder = tmp_path_factory.mktemp("bins")
    return DatasetIndex.read(write_bins(folder, photos, licence="CC BY-NC-SA 3.0 US"))


@pytest.fixture(scope="module")
def model_dir(checkpoint, index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return export_model(checkpoint, folder, index, name="tiny", metrics={"val/accuracy": 0.5})


def test_a_model_dir_is_whole(model_dir, index):
    names = ["SHA256SUMS", "model.onnx", "model_card.json", "weights.pt"]
    assert sorted(path.name for path in model_dir.iterdir()) == names
    verify_sums(model_dir)
    card = ModelCard.read(model_dir)
    assert (card.task, card.name, card.weights) == ("bin-counter", "tiny", "weights.pt")
    assert (card.classes, card.input_size) == (["0", "1", "2", "5"], IMG)
    assert card.metrics == {"val/accuracy": 0.5}
    assert (card.licence, card.data_licence) == ("AGPL-3.0-or-later", "CC BY-NC-SA 3.0 US")
    assert (card.dataset, card.dataset_digest) == ("bins", index.digest)
    assert BinCounter.load(model_dir).classes == CLASSES


def test_the_graph_takes_uint8_photos_in_any_number(model_dir):
    session = onnxruntime.InferenceSession(model_dir / "model.onnx", providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [IMG, IMG, 3])
    assert isinstance(image.shape[0], str)
    for count in (1, 3):
        photos = np.random.default_rng(0).integers(0, 256, (count, IMG, IMG, 3), np.uint8)
        (found,) = session.run(["probabilities"], {"image": photos})
        assert (found.shape, found.dtype) == ((count, 4), np.float32)
        assert found.sum(axis=1) == pytest.approx(np.ones(count), abs=1e-5)


def test_the_served_probabilities_are_those_of_the_network(checkpoint, model_dir):
    """Normalised as in training, from RGB: compared with the network called by hand."""
    pixels = np.random.default_rng(1).integers(0, 256, (IMG, IMG, 3), np.uint8)
    network = load_checkpoint(checkpoint)
    with torch.inference_mode():
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        expected = network.probabilities(network(images))[0].numpy()

    import cv2

    png = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    assert BinCounter.load(model_dir).count(png).probabilities == pytest.approx(expected, abs=1e-4)


@pytest.mark.long
def test_the_ordinal_head_is_exported_and_proved_without_photos(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "stocktake"):
        model_dir = export_model(make_checkpoint(tmp_path / "best.pt", head="ordinal"), tmp_path / "model")
    assert f"agrees with its checkpoint on {PROOF_PHOTOS} photos" in caplog.text
    report = BinCounter.load(model_dir).count(encode_jpeg(np.zeros((40, 30, 3), np.uint8)))
    assert report.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.long
def test_int8_beside_it(checkpoint, tmp_path):
    seen = {"train": [(1 + number % 5, 1) for number in range(LEAST_PHOTOS)], "val": [(2, 2)]}
    index = DatasetIndex.read(write_bins(tmp_path / "bins", seen, draw=draw_full_range))
    folder = export_model(checkpoint, tmp_path / "model", index)
    assert {INT8_FILE, "model.int8.bin"} < read_sums(folder).keys()
    assert ModelCard.read(folder).precisions == ["fp32"], "until a gate says otherwise"
    squares = np.stack([draw_full_range(items) for items in (1, 3)])
    found = load_runner(folder, ["int8"], threads=1).infer(squares)["probabilities"]
    assert found.sum(axis=1) == pytest.approx([1, 1], abs=1e-3)
    exact = load_runner(folder, ["fp32"], threads=1).infer(squares)["probabilities"]
    assert np.abs(found - exact).max() < 0.2


def test_weights_can_be_loaded_and_name_nobody(checkpoint, model_dir):
    content = (model_dir / "weights.pt").read_bytes()
    assert b"somebody" not in content
    original, slim = load_checkpoint(checkpoint), load_checkpoint(model_dir / "weights.pt")
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), slim.parameters(), strict=True))


def test_another_network_fails_the_proof(checkpoint, model_dir):
    network = load_checkpoint(checkpoint)
    photo = encode_jpeg(np.random.default_rng(2).integers(0, 256, (80, 60, 3), np.uint8))
    assert check_parity(model_dir, whole_network(network), [photo]) <= 1e-3
    with torch.no_grad():
        network.head.linear.bias[0] += 0.5
    with pytest.raises(ModelError, match="photo 1 of 1 a probability is"):
        check_parity(model_dir, whole_network(network), [photo])


def test_no_photo_is_no_proof(checkpoint, model_dir):
    with pytest.raises(ModelError, match="no photo to compare"):
        check_parity(model_dir, whole_network(load_checkpoint(checkpoint)), [])


def test_files_that_are_no_checkpoint_are_named(tmp_path):
    torch.save({"state": {}}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"other\.pt: not a checkpoint of a bin counter"):
        export_model(tmp_path / "other.pt", tmp_path / "model")


def test_a_place_that_cannot_be_written_is_named(checkpoint, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        export_model(checkpoint, tmp_path / "file" / "model")
