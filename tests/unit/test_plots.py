"""Plots are tested by what stands in them: lines, points, bars and labels."""

import numpy as np
import pytest

from stocktake.report import figure_uri
from stocktake.shelf import plots
from stocktake.shelf.average_precision import score_detections
from stocktake.shelf.void_scoring import VoidSet, void_curve


@pytest.fixture
def detection():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    found = np.concatenate([boxes[:1], boxes[:1] + 100])
    return score_detections([boxes], [(found, np.array([0.9, 0.4], np.float32))])


def line(axes, label: str):
    (found,) = (drawn for drawn in axes.lines if drawn.get_label().startswith(label))
    return found


def test_detection_curves(detection):
    curve, thresholds = plots.detection_figure({"this model": detection, "before": detection}, 0.25).axes
    assert [drawn.get_label() for drawn in curve.lines] == [
        "this model, IoU .5",
        "this model, IoU .75",
        "before, IoU .5",
    ]
    assert line(curve, "this model, IoU .5").get_ydata() == pytest.approx(detection.precision50)
    x, recall = line(thresholds, "recall").get_data()
    assert set(recall[x < 0.895]) == {0.5}
    assert set(recall[x > 0.905]) == {0.0}
    assert line(thresholds, "served").get_xdata() == [0.25, 0.25]


def test_void_curves_mark_what_is_served_and_the_heuristic():
    found = VoidSet.of_boxes([(0, 0, 10, 10), (50, 50, 60, 60), (20, 0, 30, 10)], [0.9, 0.6, 0.3])
    truth = VoidSet.of_boxes([(0, 0, 10, 10), (20, 0, 30, 10)])
    curve, _ = plots.void_figure(void_curve([found], [truth]), (0.4, 0.2), 0.5).axes
    assert line(curve, "served").get_xydata().tolist() == [[0.5, 0.5]]
    assert line(curve, "sliding-box").get_xydata().tolist() == [[0.4, 0.2]]


def test_nothing_is_marked_where_nothing_is_served():
    found = VoidSet.of_boxes([(0, 0, 10, 10)], [0.2])
    curve, _ = plots.void_figure(void_curve([found], [found]), None, 0.5).axes
    assert [drawn.get_label() for drawn in curve.lines] == ["stocktake"]


def test_scenes_are_bars_side_by_side():
    (axes,) = plots.scene_figure(["From pixels", "Hold-out"], [0.7, 0.9], [0.2, 0.4]).axes
    ours, sliding = axes.containers
    assert [bar.get_width() for bar in ours] == [0.7, 0.9]
    assert [bar.get_width() for bar in sliding] == [0.2, 0.4]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["From pixels", "Hold-out"]


def test_calibration_compares_what_was_said_with_what_was_true():
    confidence = np.array([0.05, 0.91, 0.93, 0.95, 1.0])
    hit = np.array([False, True, True, True, False])
    axes, counts = plots.calibration_figure(confidence, hit).axes
    assert line(axes, "stocktake").get_xydata() == pytest.approx(np.array([[0.05, 0.0], [0.9475, 0.75]]))
    total, real = counts.containers
    assert [bar.get_height() for bar in total] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 4]
    assert [bar.get_height() for bar in real] == [0] * 9 + [3]


def test_figures_can_be_drawn(detection):
    assert figure_uri(plots.detection_figure({"m": detection}, 0.5)).startswith("data:image/png;base64,")
