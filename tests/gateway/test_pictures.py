"""Pictures of photos, in an interpreter that has no OpenCV, as the gateway's image has none."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving.gateway import pictures
from serving.gateway.records.tables import Photo, Task
from tests.encoded_photos import encode, exif_block
from tests.serving.conftest import ROOT

WITHOUT_OPENCV = """
import importlib, pathlib, sys
sys.modules["cv2"] = None  # to import it fails
for path in pathlib.Path("serving/gateway").rglob("*.py"):
    if path.stem not in ("__main__", "env") and "versions" not in path.parts:
        importlib.import_module(".".join(path.with_suffix("").parts))
from serving.gateway import pictures
from serving.gateway.records.tables import Photo, Task
from stocktake.drift.measures import measure_photo
data = sys.stdin.buffer.read()
void = {"box": [40, 10, 80, 30], "tier": 1, "position": 2, "facings": 1, "confidence": 0.9, "kind": "gap"}
report = {"voids": [void], "tiers": 1, "osa": 0.5}
photo = Photo(task=Task.SHELVES, width=160, height=120, report=report, products=[[0, 10, 40, 30, 0.9]])
for picture in (pictures.draw(data, photo, 80, True), pictures.crop(data, photo, 0)):
    assert picture.startswith(b"\\xff\\xd8")
assert measure_photo(data)["brightness"] > 0
"""


def photo_of(picture, **fields):
    return Photo(task=Task.SHELVES, width=picture.width, height=picture.height, **fields)


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_gateway_needs_no_opencv():
    data = encode(Image.new("RGB", (160, 120), "grey"), "JPEG")

    done = subprocess.run([sys.executable, "-c", WITHOUT_OPENCV], input=data, capture_output=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("width", "size"), [(None, (800, 600)), (4096, (800, 600)), (799, (799, 599)), (100, (100, 75))]
)
def test_a_picture_is_as_wide_as_asked_and_not_larger_than_its_photo(width, size):
    picture = Image.new("RGB", (800, 600), "teal")

    drawn = pictures.draw(encode(picture, "JPEG"), photo_of(picture), width, annotated=False)

    assert opened(drawn).shape == (size[1], size[0], 3)


def test_a_tall_photo_keeps_its_shape():
    picture = Image.new("RGB", (50, 3000), "teal")

    drawn = pictures.draw(encode(picture, "JPEG"), photo_of(picture), 16, annotated=False)

    assert opened(drawn).shape == (960, 16, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_void_is_cut_out_of_a_photo_that_lies_on_its_side(kind):
    upright = Image.new("RGB", (3000, 2000))
    upright.paste("red", (1000, 500, 2600, 900))  # the void
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    data = encode(stored, kind, exif=exif_block(6))
    photo = photo_of(upright, report={"voids": [{"box": [1000.4, 500.4, 2599.6, 899.6]}]})

    cut = opened(pictures.crop(data, photo, 0)).astype(int)

    assert cut.shape == (120, 480, 3)
    red = cut[..., 0] > 128
    assert red[30:90, 90:390].all(), "two thirds of each side are the void"
    assert not any(edge.any() for edge in (red[:18], red[-18:], red[:, :78], red[:, -78:]))
    assert cut[..., 1:].max() < 60


def test_a_void_at_the_edge_and_one_that_is_tiny():
    picture = Image.new("RGB", (400, 300), "teal")
    boxes = [[380, 280, 420, 320], [-20, -20, 10, 10], [100, 100, 100.2, 100.2], [500, 500, 600, 600]]
    photo = photo_of(picture, report={"voids": [{"box": box} for box in boxes]})

    sizes = [opened(pictures.crop(encode(picture, "JPEG"), photo, number)).shape for number in range(4)]

    assert sizes == [(30, 30, 3), (18, 18, 3), (2, 2, 3), (1, 1, 3)]


def test_no_picture_is_larger_than_people_need():
    picture = Image.new("RGB", (6000, 4000), "teal")
    box = [3000, 2000, 3100, 2100]
    photo = photo_of(picture, report={"voids": [{"box": box}], "tiers": 1, "osa": 0.5}, products=[])
    data = encode(picture, "JPEG")

    height, width, _ = opened(pictures.draw(data, photo, None, annotated=False)).shape

    assert width * height == pytest.approx(pictures.MAX_PIXELS, rel=0.01)
    assert width / height == pytest.approx(1.5, rel=0.01)
    assert opened(pictures.crop(data, photo, 0)).shape == (151, 151, 3), "a void stays as sharp as its photo"
