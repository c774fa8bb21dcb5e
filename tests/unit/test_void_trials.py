"""Scenes on one hand-made shelf: two tiers of ten products each, one of which is missing."""

import numpy as np
import pytest

from stocktake.dataset import Photo, TruthVoid
from stocktake.shelf.evaluation_scores import calibrate, score_scenes
from stocktake.shelf.void_scoring import VoidSet
from stocktake.shelf.void_trials import (
    ANY_CONFIDENCE,
    HOLD_OUT,
    MISSING,
    OURS,
    PIXELS,
    SLIDING,
    TILTED,
    TILTED_HOLD_OUT,
    TILTED_TRUE_BOXES,
    TRUE_BOXES,
    Trial,
    try_annotated,
    try_tilted,
    void_finders,
    void_truth,
)
from stocktake.shelf.voids import VoidSettings

GAP = (200.0, 60.0, 240.0, 120.0)


def shelf(known: bool = True) -> tuple[Photo, np.ndarray]:
    places = [(40 * n, y, 40 * n + 40, y + 60) for y in (60, 180) for n in range(10)]
    boxes = np.array([place for place in places if place != GAP], np.float32)
    pixels = np.full((300, 400, 3), 40, np.uint8)
    texture = np.random.default_rng(0).integers(0, 255, pixels.shape, np.uint8)
    for x1, y1, x2, y2 in boxes.astype(int):
        pixels[y1:y2, x1:x2] = texture[y1:y2, x1:x2]
    voids = (
        (TruthVoid(GAP, 2, 1, "gap"), TruthVoid((0.0, 0.0, 40.0, 40.0), 2, 1, "low_stock")) if known else None
    )
    return Photo("s.jpg", "s.jpg", 1, "0", 400, 300, "test", "g", boxes, None, voids), pixels


def names(trials: list[Trial]) -> set[tuple[str, str]]:
    return {(trial.scene, trial.method) for trial in trials}


def test_every_scene_has_both_methods():
    photo, pixels = shelf()
    trials = try_annotated(photo, pixels, void_finders(VoidSettings()), 0)
    assert names(trials) == {
        (scene, who) for scene in (TRUE_BOXES, HOLD_OUT, MISSING) for who in (OURS, SLIDING)
    }
    watch = {OURS: VoidSet.of_boxes([]), SLIDING: VoidSet.of_boxes([])}
    tilted = try_tilted(photo, pixels, lambda _: watch, void_finders(VoidSettings()), 0)
    scenes = (TILTED, TILTED_TRUE_BOXES, TILTED_HOLD_OUT)
    assert names(tilted) == {(scene, who) for scene in scenes for who in (OURS, SLIDING)}
    assert len(tilted) == 2 * len(names(tilted))  # to both sides


def test_without_known_voids_only_scenes_that_make_their_own_are_left():
    photo, pixels = shelf(known=False)
    finders = void_finders(VoidSettings())
    assert {scene for scene, _ in names(try_annotated(photo, pixels, finders, 0))} == {HOLD_OUT, MISSING}

    def must_not_look(_: np.ndarray) -> dict[str, VoidSet]:
        raise AssertionError("a detector was run for nothing")

    tilted = try_tilted(photo, pixels, must_not_look, finders, 0)
    assert {scene for scene, _ in names(tilted)} == {TILTED_HOLD_OUT}


def test_the_void_is_found_with_true_boxes():
    photo, pixels = shelf()
    scores = score_scenes(try_annotated(photo, pixels, void_finders(VoidSettings()), 0))
    ours = scores[TRUE_BOXES][OURS].iou30
    assert (ours.known, ours.hits) == (1, 1)  # low stock is not asked for


def test_both_methods_face_the_same_removals():
    photo, pixels = shelf()
    trials = try_annotated(photo, pixels, void_finders(VoidSettings()), 3)
    ours, sliding = (
        next(t for t in trials if (t.scene, t.method) == (HOLD_OUT, who)) for who in (OURS, SLIDING)
    )
    assert len(ours.truth) > 0
    assert ours.truth.boxes.tolist() == sliding.truth.boxes.tolist()


def test_truth_is_none_only_where_it_is_not_known():
    assert void_truth(shelf(known=False)[0]) is None
    assert void_truth(shelf()[0]).ignored.tolist() == [False, True]


def test_scores_know_the_difference_between_iou_thresholds():
    """Half of the gap, IoU .5: a hit at .3 and at .5; a third of it only at .3."""
    truth = VoidSet.of_boxes([GAP])
    half = Trial(PIXELS, OURS, VoidSet.of_boxes([(200, 60, 220, 120)]), truth)
    third = Trial(PIXELS, OURS, VoidSet.of_boxes([(200, 60, 214, 120)]), truth)
    metrics = score_scenes([half, third])[PIXELS][OURS].metrics()
    assert (metrics["f1_iou30"], metrics["f1_iou50"]) == (1.0, 0.5)
    assert metrics["false_per_photo"] == 0
    assert metrics["facing_error"] == 0


def test_a_score_without_a_value_is_left_out():
    trial = Trial(PIXELS, OURS, VoidSet.of_boxes([]), VoidSet.of_boxes([GAP]))
    metrics = score_scenes([trial])[PIXELS][OURS].metrics()
    assert "facing_error" not in metrics
    assert metrics["recall_iou30"] == 0


def test_calibration_sees_voids_of_every_confidence_but_not_low_stock():
    found = VoidSet(
        np.array([GAP, (0, 180, 40, 240), (0, 0, 40, 40)], np.float32),
        np.ones(3, np.int64),
        np.array([0.9, 0.05, 0.5], np.float32),
        np.zeros(3, bool),
    )
    calibration = calibrate([Trial(ANY_CONFIDENCE, OURS, found, void_truth(shelf()[0]))])
    assert calibration is not None
    assert calibration.confidence == pytest.approx([0.9, 0.05])
    assert calibration.hit.tolist() == [True, False]
    assert calibration.curve.f1 == pytest.approx([1.0, 2 / 3])


def test_nothing_found_has_no_calibration():
    assert calibrate([]) is None
    assert calibrate([Trial(ANY_CONFIDENCE, OURS, VoidSet.of_boxes([]), VoidSet.of_boxes([GAP]))]) is None
