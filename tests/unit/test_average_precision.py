import contextlib
import io

import numpy as np
import pytest

from stocktake.errors import DataError
from stocktake.shelf.average_precision import MAX_DETECTIONS, score_detections


def grid(count: int, side: float = 20, pitch: float = 30, columns: int = 20) -> np.ndarray:
    rows, cols = np.divmod(np.arange(count), columns)
    corner = np.stack([cols, rows], axis=1) * pitch
    return np.concatenate([corner, corner + side], axis=1).astype(np.float32)


def ones(boxes: np.ndarray) -> np.ndarray:
    return np.ones(len(boxes), np.float32)


def noisy_photos(seed: int, photos: int = 6) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(photos):
        boxes = grid(int(rng.integers(0, 180)))
        kept = boxes[rng.random(len(boxes)) < 0.85]
        kept = kept + rng.normal(0, 1.6, kept.shape).astype(np.float32)
        strays = rng.uniform(0, 500, (int(rng.integers(0, 200)), 2)).astype(np.float32)
        shown = np.concatenate([kept, np.concatenate([strays, strays + 20], axis=1)])
        truth.append(boxes)
        found.append((shown, rng.random(len(shown)).astype(np.float32)))
    return truth, found


def reference(truth, found):
    """What pycocotools says: AP, AP50, AP75, AR300 and the hits at IoU .5, best score first."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def coco(photos):
        dataset = COCO()
        rows = [
            (i, b, s) for i, (boxes, scores) in enumerate(photos) for b, s in zip(boxes, scores, strict=True)
        ]
        dataset.dataset = {
            "images": [{"id": i} for i in range(len(photos))],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": n + 1,
                    "image_id": i,
                    "category_id": 1,
                    "bbox": [float(v) for v in (b[0], b[1], b[2] - b[0], b[3] - b[1])],
                    "area": float((b[2] - b[0]) * (b[3] - b[1])),
                    "score": float(s),
                    "iscrowd": 0,
                }
                for n, (i, b, s) in enumerate(rows)
            ],
        }
        dataset.createIndex()
        return dataset

    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(coco([(boxes, ones(boxes)) for boxes in truth]), coco(found), "bbox")
        run.params.maxDets = list(MAX_DETECTIONS)
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    precision, recall = run.eval["precision"][:, :, 0, 0, 2], run.eval["recall"][:, 0, 0, 2]
    images = [image for image in run.evalImgs if image is not None]
    scores = np.concatenate([image["dtScores"] for image in images])
    hits = np.concatenate([image["dtMatches"][0] > 0 for image in images])[np.argsort(-scores, kind="stable")]
    return (precision.mean(), precision[0].mean(), precision[5].mean(), recall.mean()), hits


def test_perfect_detections_score_one():
    boxes = grid(40)
    result = score_detections([boxes, boxes[:3]], [(boxes, ones(boxes)), (boxes[:3], ones(boxes[:3]))])
    assert result.metrics() == pytest.approx({"ap": 1.0, "ap50": 1.0, "ap75": 1.0, "ar300": 1.0})
    assert (result.products, result.photos) == (43, 2)


def test_matches_a_value_computed_by_hand():
    """Two products, three detections: hit (.9), stray (.8), hit (.7).

    Precision is 1, 1/2, 2/3 at recall .5, .5, 1; interpolated it is 1 up to recall .5 and 2/3 beyond: with
    COCO's 101 recall points (51 * 1 + 50 * 2/3) / 101.
    """
    truth = grid(2)
    stray = np.array([[500, 500, 520, 520]], np.float32)
    found = np.concatenate([truth[:1], stray, truth[1:]])
    result = score_detections([truth], [(found, np.array([0.9, 0.8, 0.7], np.float32))])
    assert result.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.hits.tolist() == [True, False, True]


def test_iou_thresholds_decide_between_ap50_and_ap75():
    truth = np.array([[0, 0, 100, 100]], np.float32)
    shifted = truth + np.array([25, 0, 25, 0], np.float32)  # IoU 75 / 125 = .6
    result = score_detections([truth], [(shifted, ones(shifted))])
    assert (result.ap50, result.ap75) == (pytest.approx(1.0), 0.0)
    assert result.ap == pytest.approx(0.3)  # IoU .50, .55 and .60


def test_counts_more_than_cocos_100_boxes_and_stops_at_300():
    boxes = grid(320)
    scores = np.linspace(1, 0.1, 320).astype(np.float32)
    result = score_detections([boxes], [(boxes, scores)])
    assert result.ar300 == pytest.approx(300 / 320)
    assert len(result.scores) == 300


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_pycocotools(seed: int):
    truth, found = noisy_photos(seed)
    result = score_detections(truth, found)
    expected, hits = reference(truth, found)
    assert tuple(result.metrics().values()) == pytest.approx(expected, abs=1e-12)
    assert result.hits.tolist() == hits.tolist()


def test_photos_without_products_or_detections_count():
    boxes, empty = grid(10), np.zeros((0, 4), np.float32)
    result = score_detections(
        [boxes, empty, boxes], [(boxes, ones(boxes)), (boxes, 0.5 * ones(boxes)), (empty, ones(empty))]
    )
    precision, recall, f1 = result.over_threshold(np.array([0.4, 0.9]))
    assert precision.tolist() == [0.5, 1.0]
    assert recall.tolist() == [0.5, 0.5]
    assert f1 == pytest.approx([0.5, 2 / 3])


def test_nothing_detected_scores_zero():
    result = score_detections([grid(5)], [(np.zeros((0, 4)), np.zeros(0))])
    assert set(result.metrics().values()) == {0.0}
    assert result.over_threshold(np.array([0.5])) == (1.0, 0.0, 0.0)


def test_best_threshold_drops_the_strays():
    truth = grid(10)
    strays = truth + np.float32(3000)
    found = np.concatenate([truth, strays])
    scores = np.concatenate([np.full(10, 0.62), np.full(10, 0.33)]).astype(np.float32)
    threshold, f1 = score_detections([truth], [(found, scores)]).best_threshold()
    assert 0.33 < threshold <= 0.62
    assert f1 == 1.0


def test_refuses_what_cannot_be_scored():
    with pytest.raises(DataError, match="2 photos have true boxes and 1"):
        score_detections([grid(1), grid(1)], [(grid(1), np.ones(1))])
    with pytest.raises(DataError, match="none of the 1 photos has a product"):
        score_detections([np.zeros((0, 4))], [(grid(1), np.ones(1))])


def test_prints_nothing(capfd):
    score_detections([grid(3)], [(grid(3), np.ones(3))])
    assert capfd.readouterr() == ("", "")
