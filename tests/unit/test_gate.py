import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.errors import ModelError
from stocktake.gate import Criterion, compare_with_baseline, compare_with_champion, criteria_of

AP = Criterion("detector/ap50", tolerance=0.01)
F1 = Criterion("voids/f1_iou30", tolerance=0.02, baseline="sliding_box/f1_iou30")
share = st.floats(0, 1, allow_nan=False)


def figures(ap, f1, heuristic=0.3):
    return {"detector/ap50": ap, "voids/f1_iou30": f1, "sliding_box/f1_iou30": heuristic}


def test_better_in_one_and_within_tolerance_in_the_other_passes():
    result = compare_with_champion(figures(0.895, 0.75), figures(0.90, 0.70), [AP, F1])
    assert result.passed
    assert "voids/f1_iou30 0.7500 against 0.7000" in result.reason
    assert [row.verdict for row in result.rows] == ["not worse", "better"]


def test_a_gain_does_not_make_up_for_a_loss_beyond_tolerance():
    result = compare_with_champion(figures(0.88, 0.99), figures(0.90, 0.70), [AP, F1])
    assert not result.passed
    assert "worse than the champion" in result.reason
    assert "detector/ap50 0.8800 against 0.9000" in result.reason
    assert "voids" not in result.reason


def test_equal_figures_do_not_pass():
    result = compare_with_champion(figures(0.9, 0.7), figures(0.9, 0.7), [AP, F1])
    assert not result.passed
    assert "no better than the champion" in result.reason


def test_first_model_must_beat_the_baseline():
    assert compare_with_baseline(figures(0.1, 0.31, heuristic=0.3), [AP, F1]).passed
    lost = compare_with_baseline(figures(0.9, 0.3, heuristic=0.3), [AP, F1])
    assert not lost.passed
    assert "voids/f1_iou30 0.3000 against 0.3000" in lost.reason


def test_tolerance_does_not_help_against_the_baseline():
    assert not compare_with_baseline(figures(0.9, 0.29, heuristic=0.3), [AP, F1]).passed


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_an_error(value):
    with pytest.raises(ModelError, match="voids/f1_iou30"):
        compare_with_champion(figures(0.9, value), figures(0.9, 0.7), [AP, F1])


def test_missing_figures_are_named():
    with pytest.raises(ModelError, match=r"champion has no metric 'voids/f1_iou30'.*found detector/ap50"):
        compare_with_champion(figures(0.9, 0.7), {"detector/ap50": 0.9}, [AP, F1])
    with pytest.raises(ModelError, match="no criterion names a baseline"):
        compare_with_baseline(figures(0.9, 0.7), [AP])


ERROR = Criterion("count/rmse", tolerance=0.1, baseline="constant/count/rmse", lower_is_better=True)


@pytest.mark.parametrize(
    ("challenger", "champion", "verdict"),
    [(0.5, 1.0, "better"), (1.05, 1.0, "not worse"), (1.2, 1.0, "worse")],
)
def test_a_smaller_error_is_better(challenger, champion, verdict):
    result = compare_with_champion({"count/rmse": challenger}, {"count/rmse": champion}, [ERROR])
    assert [row.verdict for row in result.rows] == [verdict]
    assert result.passed == (verdict == "better")


def test_an_error_must_be_below_that_of_the_baseline():
    assert compare_with_baseline({"count/rmse": 1.2, "constant/count/rmse": 1.3}, [ERROR]).passed
    assert not compare_with_baseline({"count/rmse": 1.35, "constant/count/rmse": 1.3}, [ERROR]).passed


def test_what_counts_follows_from_the_task():
    assert criteria_of("shelf-detector", {})[0].metric == "detector/ap50"
    assert [rule.lower_is_better for rule in criteria_of("bin-counter", {})] == [False, True, False]
    with pytest.raises(ModelError, match="a better trolley-finder; there are criteria for shelf-detector"):
        criteria_of("trolley-finder", {})


@given(share, share, share, share)
def test_whatever_passes_is_somewhere_better_and_nowhere_much_worse(ap, f1, champion_ap, champion_f1):
    result = compare_with_champion(figures(ap, f1), figures(champion_ap, champion_f1), [AP, F1])
    pairs = [(ap, champion_ap, AP.tolerance), (f1, champion_f1, F1.tolerance)]
    somewhere_better = any(new > old for new, old, _ in pairs)
    nowhere_worse = all(new >= old - tolerance for new, old, tolerance in pairs)
    assert result.passed == (somewhere_better and nowhere_worse)


@given(share, share, share, share)
def test_two_models_never_replace_each_other(ap, f1, other_ap, other_f1):
    strict = [Criterion("detector/ap50"), Criterion("voids/f1_iou30")]
    one, other = figures(ap, f1), figures(other_ap, other_f1)
    assert not (
        compare_with_champion(one, other, strict).passed and compare_with_champion(other, one, strict).passed
    )
