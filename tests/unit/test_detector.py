import io
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from stocktake.errors import ModelError, PhotoTooLarge, UnsupportedImage
from stocktake.images import ReducedPhoto
from stocktake.model_card import CARD_FILE, MODEL_FILE, write_sums
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.drawing import ALARM, LOW, PRODUCT, draw_report
from stocktake.shelf.report import ShelfReport, Void
from tests.tiny_model import card, draw_photo, write_model, write_model_dir

CELLS = [(1, 2), (2, 2), (3, 2), (6, 2), (1, 5)]  # column, row; two facings are missing after the third


def encode(photo, suffix=".png"):
    return cv2.imencode(suffix, photo[..., ::-1])[1].tobytes()


def encode_upright(upright, orientation, kind, **options):
    """A file whose EXIF orientation turns what it holds into `upright`."""
    turns = {1: 0, 3: 2, 6: 1}  # by 90 degrees, anticlockwise
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(upright, turns[orientation])).save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def boxes_of(cells, cell=16):
    return {(c * cell, r * cell, (c + 1) * cell, (r + 1) * cell) for c, r in cells}


def as_set(boxes, digits=0):
    return {tuple(np.round(box, digits).astype(int).tolist()) for box in boxes}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return ShelfDetector.load(write_model_dir(tmp_path_factory.mktemp("model")), threads=1)


def test_finds_products_and_the_void_between_them(detector):
    report = detector.detect(encode(draw_photo(CELLS)))

    assert (report.width, report.height) == (128, 128)
    assert as_set(report.boxes) == boxes_of(CELLS)
    assert report.scores == pytest.approx(np.ones(5))
    assert (report.boxes.dtype, report.scores.dtype) == (np.float32, np.float32)
    (gap,) = [void for void in report.voids if void.kind == "gap"]
    assert np.round(gap.box).tolist() == [64, 32, 96, 48]
    assert (gap.facings, gap.position) == (2, 4)


def test_boxes_are_in_the_photo_whatever_its_size(detector):
    # 384 x 192 shrinks to 128 x 64 with 32 px of padding above and below; cells of 48 px become 16
    report = detector.detect(encode(draw_photo([(0, 0), (7, 3)], 384, 192, cell=48)))

    assert (report.width, report.height) == (384, 192)
    assert as_set(report.boxes) == boxes_of([(0, 0), (7, 3)], 48)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(2560, 2560, 2), (2559, 2557, 1), (2563, 2565, 2)])
def test_large_photos_are_decoded_reduced_and_answered_in_their_own_pixels(detector, size, orientation):
    width, height, reduction = size
    upright = draw_photo(CELLS, width, height, cell=320)
    data = encode_upright(upright, orientation, "JPEG", quality=95)

    decoded, report = detector.decode(data), detector.detect(data)

    assert decoded.photo.reduction == reduction
    assert (report.width, report.height) == (decoded.width, decoded.height) == (width, height)
    whole = detector.see(ReducedPhoto.of(upright))
    same = detector.interpret(detector.infer(whole.tensor[None])[0], whole)
    assert report.boxes == pytest.approx(same.boxes, abs=1)
    assert [replace(void, box=(), confidence=0) for void in report.voids] == [
        replace(void, box=(), confidence=0) for void in same.voids
    ]
    for void, expected in zip(report.voids, same.voids, strict=True):
        assert void.box == pytest.approx(expected.box, abs=1)
        assert void.confidence == pytest.approx(expected.confidence, abs=0.02)
    assert (report.tiers, report.osa) == (same.tiers, same.osa)


def test_voids_at_the_border_end_with_the_photo(detector):
    """The last pixel of a reduced photo reaches over its edge."""
    upright = draw_photo(
        [(c, r) for c in range(8) for r in (1, 3, 5) if (c, r) != (7, 3)], 2563, 2563, cell=320
    )

    report = detector.detect(encode(upright, ".jpg"))

    assert detector.decode(encode(upright, ".jpg")).photo.reduction == 2
    (edge,) = [void for void in report.voids if void.kind == "edge"]
    assert 2550 < edge.box[2] <= 2563


def test_a_batch_is_decoded_as_its_photos_one_by_one(detector):
    files = [encode(draw_photo(CELLS, 2560, 2560, cell=320), ".jpg"), b"no photo", encode(draw_photo(CELLS))]

    large, error, small = detector.decode_batch(files)

    assert isinstance(error, UnsupportedImage)
    for photo, data in ((large, files[0]), (small, files[2])):
        assert (photo.tensor == detector.decode(data).tensor).all()


def test_small_photos_are_enlarged(detector):
    # 64 x 32 grows to 128 x 64: each 8 px are a cell of the grid
    report = detector.detect(encode(draw_photo([(2, 1), (7, 3)], 64, 32, cell=8)))

    assert as_set(report.boxes) == boxes_of([(2, 1), (7, 3)], 8)


def test_products_are_those_of_the_upright_photo(detector):
    report = detector.detect(encode_upright(draw_photo([(0, 0), (3, 7)], 64, 128), 6, "PNG"))

    assert (report.width, report.height) == (64, 128)
    assert as_set(report.boxes) == boxes_of([(0, 0), (3, 7)])


def test_a_blank_photo_has_nothing(detector):
    report = detector.detect(encode(draw_photo([])))

    assert (report.boxes.shape, report.scores.shape, report.voids) == ((0, 4), (0,), [])
    assert report.to_json() == {"products": 0, "tiers": 0, "osa": 1.0, "voids": []}


def test_stages_give_what_detect_gives(detector):
    photos = [draw_photo(CELLS), draw_photo([(0, 0)], 96, 64)]
    decoded = [detector.decode(encode(photo)) for photo in photos]

    together = detector.infer(np.stack([photo.tensor for photo in decoded]))

    for photo, proposals, single in zip(photos, together, decoded, strict=True):
        staged, whole = detector.interpret(proposals, single), detector.detect(encode(photo))
        assert (staged.boxes == whole.boxes).all()
        assert staged.to_json() == whole.to_json()


def test_json_holds_plain_numbers(detector):
    report = detector.detect(encode(draw_photo(CELLS))).to_json()

    assert set(report) == {"products", "tiers", "osa", "voids"}
    assert set(report["voids"][0]) == {"box", "tier", "position", "facings", "confidence", "kind"}
    assert 0 <= report["osa"] <= 1
    assert all(type(value) is float for value in report["voids"][0]["box"])


def test_candidates_reach_lower_than_the_report(detector):
    photo = draw_photo([(0, 0), (4, 4)])
    photo[64:80, 64:80] = 160  # score (160 - 128) / 127 = .25, under the card's .5
    data = encode(photo)

    boxes, scores = detector.candidates(data)

    assert as_set(detector.detect(data).boxes) == boxes_of([(0, 0)])
    assert as_set(boxes) == boxes_of([(0, 0), (4, 4)])
    assert scores == pytest.approx([1, 0.252], abs=1e-3)
    decoded = detector.decode(data)
    proposals = detector.infer(decoded.tensor[None])[0]
    assert as_set(detector.candidates(decoded, proposals, score_threshold=0.5)[0]) == boxes_of([(0, 0)])
    assert as_set(detector.candidates(decoded)[0]) == as_set(boxes)
    assert len(detector.candidates(data, max_detections=1)[0]) == 1


def test_weak_products_support_voids_without_being_reported(tmp_path):
    lenient = ShelfDetector.load(write_model_dir(tmp_path, void_score_threshold=0.2), threads=1)
    strict = ShelfDetector.load(write_model_dir(tmp_path, void_score_threshold=0.5), threads=1)
    photo = draw_photo([(1, 2), (2, 2), (3, 2), (5, 2), (6, 2)])
    photo[32:48, 64:80] = 160  # a product that is hard to see, where else a gap would be
    data = encode(photo)

    def gaps(detector):
        return [void.box for void in detector.detect(data).voids if void.kind == "gap"]

    assert len(lenient.detect(data).boxes) == len(strict.detect(data).boxes) == 5
    assert [np.round(box).tolist() for box in gaps(strict)] == [[64, 32, 80, 48]]
    assert gaps(lenient) == []


def test_most_detections(tmp_path):
    detector = ShelfDetector.load(write_model_dir(tmp_path, max_detections=2), threads=1)

    assert len(detector.detect(encode(draw_photo(CELLS))).boxes) == 2


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"not a photo", UnsupportedImage), (encode(draw_photo(CELLS), ".jpg")[:-30], UnsupportedImage)],
)
def test_what_is_not_a_photo(detector, data, error):
    with pytest.raises(error):
        detector.detect(data)


def test_limit_of_pixels(detector):
    with pytest.raises(PhotoTooLarge):
        detector.decode(encode(draw_photo(CELLS)), max_pixels=128 * 128 - 1)


def test_another_task_is_refused(tmp_path):
    model_dir = write_model_dir(tmp_path, task="bin-counter")

    with pytest.raises(ModelError, match=rf"{CARD_FILE}: task is bin-counter, not shelf-detector"):
        ShelfDetector.load(model_dir)


def test_void_settings_are_checked(tmp_path):
    model_dir = write_model_dir(tmp_path, void_settings={"min_confidence": 7})

    with pytest.raises(ModelError, match=rf"{CARD_FILE}: void_settings.min_confidence: "):
        ShelfDetector.load(model_dir)


def test_a_flipped_bit_is_noticed(tmp_path):
    model_dir = write_model_dir(tmp_path)
    data = bytearray((model_dir / MODEL_FILE).read_bytes())
    data[100] ^= 4
    (model_dir / MODEL_FILE).write_bytes(data)

    with pytest.raises(ModelError, match=rf"{MODEL_FILE}: its SHA-256 is"):
        ShelfDetector.load(model_dir)


def test_a_model_for_another_size_is_refused(tmp_path):
    model_dir = write_model_dir(tmp_path, input_size=256)

    with pytest.raises(ModelError, match=rf"{MODEL_FILE}: cannot run a batch of 2 at 256 px"):
        ShelfDetector.load(model_dir)


def test_other_outputs_are_refused(tmp_path):
    write_model(tmp_path / MODEL_FILE)
    model = onnx.load(tmp_path / MODEL_FILE)
    model.graph.node.append(helper.make_node("Identity", ["scores"], ["confidences"]))
    model.graph.output[1].name = "confidences"
    onnx.save(model, tmp_path / MODEL_FILE)
    card().write(tmp_path)
    write_sums(tmp_path)

    with pytest.raises(ModelError, match=rf"{MODEL_FILE}: its outputs are .*confidences"):
        ShelfDetector.load(tmp_path)


def test_serving_needs_no_training_libraries():
    heavy = ["torch", "ultralytics", "mlflow", "matplotlib", "pandas", "pyarrow", "kfp", "kserve"]
    code = f"import sys, stocktake.shelf.detector; print([m for m in {heavy} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("height", "width"), [(1155, 866), (3264, 2448)])
def test_drawing_marks_products_and_voids(height, width):
    photo = np.full((height, width, 3), 40, np.uint8)
    product = np.array([[0.1, 0.5, 0.3, 0.7]], np.float32) * [width, height, width, height]
    gap, low = ((x * width, 0.5 * height, (x + 0.2) * width, 0.7 * height) for x in (0.4, 0.7))
    voids = [Void(gap, 2, 5, 1, 0.93, "gap"), Void(low, 2, 7, 1, 0.5, "low_stock")]
    report = ShelfReport(width, height, product.astype(np.float32), np.ones(1, np.float32), voids, 2, 0.5)

    drawn = draw_report(photo, report)

    assert (photo == 40).all()
    assert (drawn.shape, drawn.dtype) == ((height, width, 3), np.uint8)
    for box, colour in [(product[0], PRODUCT), (gap, ALARM), (low, LOW)]:
        assert (drawn[round(box[3]), round((box[0] + box[2]) / 2)] == colour).all()
    letters = (drawn > 220).all(axis=2)  # of the labels, which stand above the voids
    assert letters[: round(0.5 * height)].sum() > 0.0005 * letters.size
    assert not letters[round(0.5 * height) :].any()


def test_drawing_survives_voids_that_leave_the_photo():
    photo = np.zeros((60, 80, 3), np.uint8)
    voids = [
        Void(box, 1, 1, 1, 1.0, "edge") for box in [(-30, -20, 5, 10), (70, 50, 120, 90), (200, 0, 300, 9)]
    ]
    nothing = np.zeros((0, 4), np.float32)

    drawn = draw_report(photo, ShelfReport(80, 60, nothing, nothing[:, 0], voids * 8, 1, 0.0))

    assert drawn.shape == photo.shape
    assert (drawn != photo).any()


def test_drawing_an_empty_report_changes_nothing(detector):
    photo = draw_photo([])

    assert (draw_report(photo, detector.detect(encode(photo))) == photo).all()
