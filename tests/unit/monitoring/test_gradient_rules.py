import math

import numpy as np
import pytest

from stocktake.monitoring.gradient_rules import PoorWeightInitialization, VanishingGradient
from stocktake.monitoring.recording import ABSENT
from stocktake.monitoring.results import State
from stocktake.monitoring.rule import run_lengths
from tests.recordings import with_first_steps, with_gradients


def test_run_lengths_count_rows_in_a_row_for_each_column() -> None:
    held = np.array([[True, False], [True, True], [False, True], [True, True]])
    assert run_lengths(held).tolist() == [[1, 0], [2, 1], [0, 2], [1, 3]]
    assert run_lengths(np.array([True, True, False, True])).tolist() == [1, 2, 0, 1]


class TestVanishingGradient:
    @pytest.mark.parametrize(("mean", "state"), [(9.9e-8, State.ISSUES), (1e-7, State.NO_ISSUES)])
    def test_the_published_threshold(self, mean: float, state: State) -> None:
        assert VanishingGradient().check(with_gradients([[1e-3, mean]])).state is state

    @pytest.mark.parametrize(("mean", "state"), [(2e-3, State.ISSUES), (2.1e-3, State.NO_ISSUES)])
    def test_a_share_of_the_largest_of_all_tensors(self, mean: float, state: State) -> None:
        rule = VanishingGradient(threshold=0, relative=1e-3, weights_only=True)
        assert rule.check(with_gradients([[mean, 2.0]], [True, False])).state is state

    def test_patience_counts_looks_in_a_row(self) -> None:
        rule = VanishingGradient(patience=2)
        assert rule.check(with_gradients([[0.0], [1.0], [0.0], [1.0]])).state is State.NO_ISSUES
        found = rule.check(with_gradients([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))
        assert found.state is State.ISSUES
        assert found.where == "t1 at step 20"
        assert (found.violations, found.datapoints) == (2, 8)
        assert found.reason == "1 of 2 tensors get next to no gradient; the smallest mean is 0.0e+00"
        assert found.details["tensors"] == [{"tensor": "t1", "smallest": 0.0, "looks": 2}]

    def test_names_the_first_tensor_of_the_first_look_that_fires(self) -> None:
        found = VanishingGradient().check(
            with_gradients([[1.0, 1.0, 1.0], [1.0, 0.0, 5e-8], [0.0, 0.0, 0.0]])
        )
        assert found.where == "t1 at step 10"
        assert [row["tensor"] for row in found.details["tensors"]] == ["t0", "t1", "t2"]
        assert [row["looks"] for row in found.details["tensors"]] == [1, 2, 2]

    def test_lists_ten_tensors_at_most(self) -> None:
        found = VanishingGradient().check(with_gradients([[0.0] * 12]))
        assert len(found.details["tensors"]) == 10
        assert found.reason.startswith("12 of 12 ")

    @pytest.mark.parametrize(("small", "state"), [(1, State.NO_ISSUES), (2, State.ISSUES)])
    def test_a_share_of_the_tensors_has_to_vanish_at_once(self, small: int, state: State) -> None:
        rule = VanishingGradient(share=0.2)
        seen = with_gradients([[0.0] * small + [1.0] * (10 - small)])
        found = rule.check(seen)
        assert found.state is state
        assert found.violations == (small if state is State.ISSUES else 0)

    def test_leaves_out_biases_on_request_and_tensors_without_gradient_always(self) -> None:
        seen = with_gradients([[0.0, 1.0, ABSENT]], [False, True, True])
        assert VanishingGradient(weights_only=True).check(seen).state is State.NO_ISSUES
        assert VanishingGradient(weights_only=True).check(seen).datapoints == 1
        assert VanishingGradient().check(seen).where == "t0 at step 0"
        assert VanishingGradient().check(seen).datapoints == 2

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_rows_that_are_not_finite_are_counted_and_left_out(self, bad: float) -> None:
        rule = VanishingGradient(relative=1e-5)
        found = rule.check(with_gradients([[bad, 1.0], [1.0, 1.0], [1.0, 0.0]]))
        assert found.details["rows_not_finite"] == 1
        assert found.where == "t1 at step 20"
        assert rule.check(with_gradients([[bad, 1.0]])).state is State.INSUFFICIENT

    def test_too_few_looks(self) -> None:
        found = VanishingGradient(patience=3).check(with_gradients([[0.0], [0.0]]))
        assert found.state is State.INSUFFICIENT
        assert found.reason == "2 looks at the gradients so far, 3 are needed"
        assert found.datapoints == 2
        assert VanishingGradient(patience=2).check(with_gradients([[0.0], [0.0]])).state is State.ISSUES

    def test_nothing_to_look_at(self) -> None:
        assert VanishingGradient().check(with_gradients([])).state is State.NOT_EVALUATED
        biases = with_gradients([[0.0]], [False])
        assert VanishingGradient(weights_only=True).check(biases).state is State.NOT_EVALUATED

    def test_says_how_small_the_smallest_is_where_all_is_well(self) -> None:
        seen = with_gradients([[3e-4, 2.0, ABSENT], [2e-4, 1.0, ABSENT]])
        assert VanishingGradient().check(seen).reason == "mean |gradient| is at least 2.0e-04"


WIDE = [[1.0, 1.0]] * 10  # spreads without fault
FALLING = [1.0 - 0.01 * step for step in range(10)]


class TestPoorWeightInitialization:
    RULE = PoorWeightInitialization()
    LASTING = PoorWeightInitialization(lasting=True, patience=0)

    @pytest.mark.parametrize(("largest", "state"), [(10.0, State.NO_ISSUES), (10.1, State.ISSUES)])
    def test_the_published_ratio_of_variances(self, largest: float, state: State) -> None:
        seen = with_first_steps([[1.0, 1.0, 2.0]] * 4 + [[1.0, 5.0, largest]] * 6, WIDE, FALLING)
        found = self.RULE.check(seen)
        assert found.state is state
        if state is State.ISSUES:
            assert found.reason == "the outputs of l2 vary 1.0e+01 times as much as those of l0"
            assert found.where == "the first 10 steps"
            assert (found.violations, found.datapoints) == (1, 10)
            assert found.details["findings"] == [found.reason]

    def test_a_single_step_is_enough_unless_it_has_to_last(self) -> None:
        once = with_first_steps([[1.0, 1.0]] * 9 + [[1.0, 20.0]], WIDE, FALLING)
        always = with_first_steps([[1.0, 20.0]] * 10, WIDE, FALLING)
        assert self.RULE.check(once).state is State.ISSUES
        assert self.LASTING.check(once).state is State.NO_ISSUES
        assert self.LASTING.check(always).state is State.ISSUES

    def test_steps_after_the_first_are_not_its_matter(self) -> None:
        seen = with_first_steps(
            [[1.0, 1.0]] * 10 + [[1.0, 99.0]], [*WIDE, [0.0, 1.0]], [*FALLING, *[9.0] * 9]
        )
        assert self.RULE.check(seen).state is State.NO_ISSUES

    def test_a_layer_without_any_variance_and_layers_without_all(self) -> None:
        assert self.RULE.check(with_first_steps([[0.0, 1.0]] * 10, WIDE, FALLING)).state is State.ISSUES
        assert self.RULE.check(with_first_steps([[0.0, 0.0]] * 10, WIDE, FALLING)).state is State.NO_ISSUES

    def test_one_layer_alone_is_not_compared(self) -> None:
        assert self.RULE.check(with_first_steps([[0.0]] * 10, WIDE, FALLING)).state is State.NO_ISSUES
        assert self.RULE.check(with_first_steps([], WIDE, FALLING)).state is State.NO_ISSUES

    def test_outputs_that_are_not_finite(self) -> None:
        seen = with_first_steps([[1.0, 1.0]] * 9 + [[1.0, math.inf]], WIDE, FALLING)
        assert self.LASTING.check(seen).reason == "the output of l1 is not finite"

    @pytest.mark.parametrize(("spread", "state"), [(0.00099, State.ISSUES), (0.001, State.NO_ISSUES)])
    def test_the_published_range_of_gradients(self, spread: float, state: State) -> None:
        seen = with_first_steps([], [[1.0, 1.0]] * 9 + [[1.0, spread]], FALLING)
        found = self.RULE.check(seen)
        assert found.state is state
        if state is State.ISSUES:
            assert found.reason == "the gradients of t1 spread over 9.9e-04 only"

    @pytest.mark.parametrize(("spread", "state"), [(0.19, State.ISSUES), (0.2, State.NO_ISSUES)])
    def test_a_range_relative_to_the_largest(self, spread: float, state: State) -> None:
        rule = PoorWeightInitialization(distribution_range=0.1, relative=True, patience=0)
        assert rule.check(with_first_steps([], [[2.0, spread]] * 10, FALLING)).state is state

    def test_the_published_range_is_absolute(self) -> None:
        assert self.RULE.check(with_first_steps([], [[50.0, 0.004]] * 10, FALLING)).state is State.NO_ISSUES

    def test_a_range_that_has_to_last(self) -> None:
        assert (
            self.LASTING.check(with_first_steps([], [[1.0, 0.0], *WIDE[1:]], FALLING)).state
            is State.NO_ISSUES
        )
        assert self.LASTING.check(with_first_steps([], [[1.0, 0.0]] * 10, FALLING)).state is State.ISSUES

    @pytest.mark.parametrize(("narrow", "state"), [(1, State.NO_ISSUES), (2, State.ISSUES)])
    def test_a_share_of_the_weights_has_to_be_narrow(self, narrow: int, state: State) -> None:
        rule = PoorWeightInitialization(share=0.5, patience=0)
        row = [0.0] * narrow + [1.0] * (4 - narrow) + [0.0] * 5  # the last five are biases
        seen = with_first_steps([], [row] * 10, FALLING, weights=[True] * 4 + [False] * 5)
        assert rule.check(seen).state is state

    def test_names_the_narrowest_tensor_of_the_first_such_step(self) -> None:
        rows = [[1.0, 1.0, 1.0]] * 3 + [[1.0, 5e-4, 4e-4]] + [[0.0, 0.0, 0.0]] * 6
        found = self.RULE.check(with_first_steps([], rows, FALLING))
        assert found.reason == "the gradients of t2 spread over 4.0e-04 only"

    def test_tensors_without_gradient_or_with_a_lost_one_are_left_out(self) -> None:
        seen = with_first_steps([], [[1.0, ABSENT, math.nan]] * 10, FALLING)
        assert self.RULE.check(seen).state is State.NO_ISSUES

    @pytest.mark.parametrize(("flat", "state"), [(4, State.NO_ISSUES), (5, State.ISSUES)])
    def test_the_published_patience_with_the_loss(self, flat: int, state: State) -> None:
        losses = [2.0, 1.0] + [1.0] * flat + [0.5] * (8 - flat)
        if flat == 4:
            losses[-3:] = [0.4, 0.3, 0.2]
        found = self.RULE.check(with_first_steps([], WIDE, losses))
        assert found.state is state
        if state is State.ISSUES:
            assert found.reason == "the loss has not fallen for 5 steps"

    def test_a_patience_of_nought_does_not_look_at_the_loss(self) -> None:
        assert self.LASTING.check(with_first_steps([], WIDE, [1.0] * 10)).state is State.NO_ISSUES

    def test_copies_count_where_symmetry_is_looked_for(self) -> None:
        seen = with_first_steps([], WIDE, FALLING, identical=["t1", "t0"])
        assert self.RULE.check(seen).state is State.NO_ISSUES
        found = PoorWeightInitialization(symmetry=True).check(seen)
        assert found.reason == "the units of t1 are copies of one another"
        assert found.details["identical"] == ["t1", "t0"]
        untouched = with_first_steps([], WIDE, FALLING)
        assert PoorWeightInitialization(symmetry=True).check(untouched).state is State.NO_ISSUES

    def test_several_findings_are_all_told(self) -> None:
        found = self.RULE.check(with_first_steps([[1.0, 99.0]] * 10, [[1.0, 0.0]] * 10, [1.0] * 10))
        assert found.violations == 3
        assert found.reason.count(";") == 2

    @pytest.mark.parametrize(("steps", "losses"), [(9, 10), (10, 9)])
    def test_too_few_steps(self, steps: int, losses: int) -> None:
        found = self.RULE.check(with_first_steps([], WIDE[:steps], FALLING[:losses]))
        assert found.state is State.INSUFFICIENT
        assert found.reason == "9 steps so far, 10 are needed"

    def test_nothing_is_trained(self) -> None:
        assert self.RULE.check(with_gradients([])).state is State.NOT_EVALUATED
