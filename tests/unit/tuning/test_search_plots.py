"""Plots are tested by what stands in them: lines, points, bars and labels."""

import pytest

from stocktake.report import figure_uri
from stocktake.tuning import plots
from stocktake.tuning.search_report import readable, trial_rows
from stocktake.tuning.search_space import load
from stocktake.tuning.study import TrialRow


def row(number: int, state: str, value: float | None, lr: float, batch_size: int, epochs: int, **more):
    parameters = {"lr": lr, "batch_size": batch_size, "epochs": epochs}
    return TrialRow(number, state, value, parameters, **more)


ROWS = [
    row(0, "complete", 0.5, 0.001, 32, 2, curve={1: 0.4, 2: 0.5}),
    row(1, "complete", 0.4, 0.1, 512, 10, curve={1: 0.1, 2: 0.4}),
    row(2, "pruned", 0.2, 0.01, 64, 6, curve={1: 0.2}),
    row(3, "failed", None, 0.01, 512, 6, reason="no memory"),
    row(5, "complete", 0.7, 0.01, 128, 6, curve={1: 0.5, 2: 0.7}, continues=(4,)),
]


def heights(axes) -> list[list[float]]:
    """Of the lines that cross the axes of a parallel plot, in the order they are drawn."""
    return [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == 4]


def test_history_and_curves():
    history, curves = plots.history_figure(ROWS, load("bins")).axes
    complete, pruned, best = history.lines
    assert list(complete.get_xydata().ravel()) == [0, 0.5, 1, 0.4, 5, 0.7]
    assert list(pruned.get_xydata().ravel()) == [2, 0.2]
    assert list(best.get_ydata()) == [0.5, 0.5, 0.7]
    assert [list(line.get_ydata()) for line in curves.lines] == [
        [0.4, 0.5],
        [0.1, 0.4],
        [0.2],
        [],
        [0.5, 0.7],
    ]


def test_where_less_is_better_the_best_so_far_falls(write_space):
    history, _ = plots.history_figure(ROWS, load(write_space())).axes
    assert list(history.lines[2].get_ydata()) == [0.5, 0.4, 0.4]


def test_parameters_stand_on_the_scale_they_were_searched_on():
    (axes,) = plots.parallel_figure(ROWS, load("bins")).axes
    low, middle, best = heights(axes)
    assert low == pytest.approx([1, 1, 1, 0])
    assert middle == pytest.approx([0, 0, 0, 1 / 3])
    assert best == pytest.approx([0.5, 0.5, 0.5, 1])
    assert axes.lines[2].get_color() == plots.BEST
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "lr",
        "batch_size",
        "epochs",
        "val/accuracy",
    ]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0.001", "0.1", "32", "64", "128", "256", "512", "2", "10", "0.4", "0.7"]


def test_where_less_is_better_the_best_line_ends_at_the_bottom(write_space):
    (axes,) = plots.parallel_figure(
        ROWS,
        load(
            write_space(
                parameters={
                    "lr": {"low": 0.001, "high": 0.1},
                    "batch_size": {"choices": [32, 64, 128, 512]},
                    "epochs": {"low": 2, "high": 10},
                },
                fixed={},
            )
        ),
    ).axes
    assert heights(axes)[-1][-1] == 0
    assert axes.lines[2].get_color() == plots.BEST


def test_one_complete_trial_is_enough():
    figure = plots.parallel_figure(ROWS[:1], load("bins"))
    assert len(heights(figure.axes[0])) == 1
    assert figure_uri(figure).startswith("data:image/png")


def test_importances_are_bars_in_their_order():
    (axes,) = plots.importance_figure({"lr": 0.7, "epochs": 0.1, "batch_size": 0.2}).axes
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]


def test_the_table_keeps_small_numbers():
    found = [readable(line) for line in trial_rows(ROWS, load("bins"))]
    assert list(found[0].values()) == [0, "complete", "0.5", "0.001", 32, 2, 2, None, ""]
    assert [line["remark"] for line in found] == ["", "", "", "no memory", "continues 4"]
    assert readable({"lr": 0.00123456, "note": "x", "epochs": 3}) == {
        "lr": "0.00123",
        "note": "x",
        "epochs": 3,
    }
