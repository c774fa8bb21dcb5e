import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stocktake.dataset import DatasetIndex
from stocktake.model_card import INT8_FILE, MODEL_FILE, read_sums, verify_sums
from stocktake.openvino_runner import load_openvino
from stocktake.quantisation import LEAST_PHOTOS, add_int8, spread
from stocktake.runtime import load_runner
from stocktake.shelf.detector import ShelfDetector
from tests.cell_photos import shelf_photos, write_index
from tests.tiny_model import draw_photo, write_model_dir

FILES = {INT8_FILE, INT8_FILE.replace(".xml", ".bin")}
QUANTISE = """
import socket, sys
from pathlib import Path

def refuse(*_):
    print("reached out")
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
from stocktake.dataset import DatasetIndex
from stocktake.quantisation import add_int8
from stocktake.shelf.detector import ShelfDetector

model_dir, index = Path(sys.argv[1]), DatasetIndex.read(Path(sys.argv[2]))
detector = ShelfDetector.load(model_dir, threads=1)
print(add_int8(model_dir, index, lambda data: detector.decode(data).tensor), detector.runner.engine)
"""


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return write_index(folder, shelf_photos(folder, "train", LEAST_PHOTOS))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, index_path: Path) -> Path:
    """Quantised, with every byte that this sends to the network told."""
    folder = write_model_dir(tmp_path_factory.mktemp("model"), offset=0.0)
    command = [sys.executable, "-c", QUANTISE, str(folder), str(index_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    assert done.stdout == "True openvino\n", done.stderr
    return folder


def test_the_files_are_listed(model_dir: Path) -> None:
    assert read_sums(model_dir).keys() > FILES
    verify_sums(model_dir)


def test_int8_says_nearly_what_fp32_says(model_dir: Path) -> None:
    exact = load_runner(model_dir, ["fp32"], threads=1)
    rounded = load_runner(model_dir, ["fp32", "int8"], threads=1)
    assert (rounded.precision, rounded.engine) == ("int8", "openvino")
    photo = draw_photo([(column, 3) for column in range(8)])
    photo[48:64] = photo[48:64] // 255 * np.repeat(np.arange(120, 248, 16), 16)[None, :, None]
    expected, found = exact.infer(photo[None]), rounded.infer(photo[None])
    assert (found["boxes"] == expected["boxes"]).all()
    gap = np.abs(found["scores"] - expected["scores"]).max()
    assert 0 < gap < 0.05


def test_what_no_layer_follows_stays_in_floating_point(model_dir: Path) -> None:
    quantised = load_openvino().Core().read_model(model_dir / INT8_FILE)
    followed = {"second"}
    for node in reversed(quantised.get_ordered_ops()):
        targets = [target.get_node() for port in node.outputs() for target in port.get_target_inputs()]
        if any(target.get_friendly_name() in followed for target in targets):
            followed.add(node.get_friendly_name())
    rounded = {op.get_friendly_name() for op in quantised.get_ops() if op.get_type_name() == "FakeQuantize"}
    assert rounded
    assert rounded <= followed


def test_too_few_photos_to_calibrate_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model_dir = write_model_dir(tmp_path / "model", offset=0.0)
    index = DatasetIndex.read(write_index(tmp_path, shelf_photos(tmp_path, "train", 3)))
    with caplog.at_level(logging.INFO, "stocktake"):
        assert not add_int8(model_dir, index, lambda data: pytest.fail("nothing to look at"))
        assert not add_int8(model_dir, None, lambda data: pytest.fail("nothing to look at"))
    assert f"no int8: 3 train photos, it takes {LEAST_PHOTOS} to calibrate on" in caplog.text
    assert not FILES & {path.name for path in model_dir.iterdir()}


def test_a_network_that_cannot_be_quantised_is_a_warning(
    tmp_path: Path, index_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model_dir = write_model_dir(tmp_path / "model", offset=0.0)
    detector = ShelfDetector.load(model_dir, threads=1)
    (model_dir / MODEL_FILE).write_bytes(b"broken")
    before = (model_dir / "SHA256SUMS").read_bytes()
    index = DatasetIndex.read(index_path)
    assert not add_int8(model_dir, index, lambda data: detector.decode(data).tensor)
    assert "no int8, for it can't be quantised" in caplog.text
    assert (model_dir / "SHA256SUMS").read_bytes() == before


def test_photos_are_spread_evenly(tmp_path: Path) -> None:
    photos = shelf_photos(tmp_path, "train", 10)
    assert [photo.name for photo in spread(photos, 4)] == [f"train_{n}.png" for n in (0, 2, 5, 7)]
    assert spread(photos, 10) == spread(photos, 99) == photos
    assert spread([], 4) == []
