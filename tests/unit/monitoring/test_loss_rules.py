import math

import pytest

from stocktake.monitoring.loss_rules import LossNotDecreasing, Overfit, Overtraining
from stocktake.monitoring.results import State
from tests.recordings import with_epochs, with_losses


class TestOverfit:
    @pytest.mark.parametrize(("val", "state"), [(1.375, State.NO_ISSUES), (1.4, State.ISSUES)])
    def test_the_published_ratio(self, val: float, state: State) -> None:
        rule = Overfit(ratio_threshold=0.1)
        found = rule.check(with_epochs([1.25], [val]))
        assert found.state is state
        if state is State.ISSUES:
            assert found.where == "epoch 1"
            assert found.reason == "val loss 1.4 is 12% above train loss 1.25"
            assert found.details["gaps"] == {1: 0.12}

    def test_patience_counts_epochs_in_a_row(self) -> None:
        rule = Overfit(patience=2)
        assert rule.check(with_epochs([1.0] * 4, [2.0, 1.0, 2.0, 1.0])).state is State.NO_ISSUES
        found = rule.check(with_epochs([1.0] * 4, [1.0, 2.0, 1.5, 1.0]))
        assert found.where == "epoch 3"
        assert found.reason == "val loss 1.5 is 50% above train loss 1 for 2 epochs"
        assert (found.violations, found.datapoints) == (2, 4)

    def test_the_first_epochs_may_be_left_out(self) -> None:
        rule = Overfit(start_step=2)
        assert rule.check(with_epochs([1.0] * 3, [2.0, 2.0, 1.0])).state is State.NO_ISSUES
        assert rule.check(with_epochs([1.0] * 3, [1.0, 1.0, 2.0])).where == "epoch 3"
        assert rule.check(with_epochs([1.0] * 2, [2.0, 2.0])).state is State.INSUFFICIENT

    @pytest.mark.parametrize(
        ("last", "state"), [(2.0, State.NO_ISSUES), (2.2, State.NO_ISSUES), (2.3, State.ISSUES)]
    )
    def test_val_has_to_be_above_its_lowest(self, last: float, state: State) -> None:
        rule = Overfit(rise=0.125)
        assert rule.check(with_epochs([1.0, 1.0, 1.0], [4.0, 2.0, last])).state is state

    def test_a_tiny_train_loss_is_not_divided_by(self) -> None:
        seen = with_epochs([2.0, 0.001], [2.0, 0.1])
        assert Overfit().check(seen).state is State.ISSUES
        assert Overfit(floor=0.05).check(seen).state is State.NO_ISSUES
        assert Overfit(floor=0.025).check(seen).state is State.ISSUES
        assert Overfit(floor=0.025).check(seen).details["gaps"][2] == 1.0

    def test_a_train_loss_of_nought(self) -> None:
        assert Overfit().check(with_epochs([0.0], [0.5])).state is State.ISSUES
        assert Overfit().check(with_epochs([0.0], [0.0])).state is State.NO_ISSUES

    def test_the_train_loss_in_eval_mode_is_preferred_where_there_is_one(self) -> None:
        seen = with_epochs([2.0, 2.0], [1.0, 1.0], [0.5, None])
        plain, ours = Overfit().check(seen), Overfit(eval_mode=True).check(seen)
        assert plain.state is State.NO_ISSUES
        assert plain.details["train_loss"] == "of the training steps"
        assert ours.where == "epoch 1"
        assert ours.details["train_loss"] == "in eval mode"
        assert ours.details["gaps"] == {1: 1.0, 2: -0.5}
        none = Overfit(eval_mode=True).check(with_epochs([2.0], [1.0]))
        assert none.details["train_loss"] == "of the training steps"

    def test_says_the_gap_of_the_last_epoch_where_all_is_well(self) -> None:
        found = Overfit().check(with_epochs([1.0, 1.0], [1.02, 0.9]))
        assert found.reason == "val loss is -10% from train loss in the last epoch"
        assert found.datapoints == 2

    def test_epochs_without_a_finite_pair_are_left_out(self) -> None:
        seen = with_epochs([1.0, None, math.nan, 1.0], [1.0, 5.0, 5.0, 1.3])
        found = Overfit().check(seen)
        assert found.where == "epoch 4"
        assert found.datapoints == 2
        assert found.details["epochs_not_finite"] == 1

    def test_a_lost_val_loss_alone_leaves_its_epoch_out(self) -> None:
        found = Overfit().check(with_epochs([1.0, 1.0], [math.inf, 1.0]))
        assert found.state is State.NO_ISSUES
        assert found.datapoints == 1

    def test_states_without_enough_epochs(self) -> None:
        assert Overfit().check(with_epochs()).state is State.INSUFFICIENT
        assert Overfit().check(with_epochs([1.0, 1.0])).state is State.NOT_EVALUATED
        assert Overfit().check(with_epochs([], [1.0])).state is State.NOT_EVALUATED
        few = Overfit(patience=3).check(with_epochs([1.0] * 2, [9.0] * 2))
        assert few.reason == "2 epochs with train and val loss so far, 3 are needed"
        assert Overfit(patience=3).check(with_epochs([1.0] * 3, [9.0] * 3)).state is State.ISSUES


class TestOvertraining:
    def test_the_published_patience_with_train_loss(self) -> None:
        rule = Overtraining()
        assert rule.check(with_epochs([2.0, 1.0] + [1.0] * 4)).state is State.NO_ISSUES
        found = rule.check(with_epochs([2.0, 1.0] + [1.0] * 6))
        assert found.state is State.ISSUES
        assert found.where == "epoch 7"
        assert (found.violations, found.datapoints) == (2, 8)
        assert found.reason == "train loss was lowest, 1, in epoch 2 and no better for 6 epochs"
        assert found.details["train"] == {"lowest": 1.0, "in_epoch": 2, "epochs_since": 6}

    def test_the_published_patience_with_val_loss(self) -> None:
        falling = [20.0 - epoch for epoch in range(12)]
        assert Overtraining().check(with_epochs(falling, [2.0] * 10 + [1.0] * 2)).state is State.NO_ISSUES
        found = Overtraining().check(with_epochs(falling, [2.0, *[1.0] * 11]))
        assert found.where == "epoch 12"
        assert found.reason.startswith("val loss was lowest, 1, in epoch 2")

    def test_both_are_told_and_the_first_is_where(self) -> None:
        found = Overtraining(patience_train=3, patience_validation=2).check(with_epochs([1.0] * 4, [1.0] * 4))
        assert found.reason.startswith("train loss")
        assert "; val loss" in found.reason
        assert found.where == "epoch 4"
        assert found.violations == 1 + 2

    @pytest.mark.parametrize(("loss", "stale"), [(3.5, 1), (3.375, 0)])
    def test_an_absolute_delta(self, loss: float, stale: int) -> None:
        found = Overtraining(delta=0.5).check(with_epochs([4.0, loss]))
        assert found.state is State.INSUFFICIENT
        details = Overtraining(delta=0.5, patience_train=1).check(with_epochs([4.0, loss])).details
        assert details["train"]["epochs_since"] == stale

    @pytest.mark.parametrize(("loss", "stale"), [(3.0, 1), (2.875, 0)])
    def test_a_relative_delta(self, loss: float, stale: int) -> None:
        rule = Overtraining(delta=0.25, relative=True, patience_train=1)
        assert rule.check(with_epochs([4.0, loss])).details["train"]["epochs_since"] == stale

    def test_small_steps_add_up_to_a_better_loss(self) -> None:
        found = Overtraining(delta=0.5, patience_train=3).check(with_epochs([2.0, 1.75, 1.5, 1.25, 1.0, 1.0]))
        assert found.details["train"]["in_epoch"] == 4
        assert found.details["train"]["epochs_since"] == 2
        assert found.state is State.NO_ISSUES

    def test_a_run_that_recovered_has_still_fired(self) -> None:
        found = Overtraining(patience_train=2).check(with_epochs([2.0, 2.0, 2.0, 1.0]))
        assert found.state is State.ISSUES
        assert found.where == "epoch 3"
        assert found.details["train"]["epochs_since"] == 0

    @pytest.mark.parametrize(("epochs", "state"), [(5, State.INSUFFICIENT), (6, State.NO_ISSUES)])
    def test_epochs_that_it_takes(self, epochs: int, state: State) -> None:
        found = Overtraining().check(with_epochs([9.0 - epoch for epoch in range(epochs)]))
        assert found.state is state
        if state is State.INSUFFICIENT:
            assert found.reason == "5 epochs so far, 6 are needed"
        else:
            assert found.reason == "the losses are still falling"
            assert found.datapoints == 6

    def test_val_needs_more_epochs(self) -> None:
        losses = [20.0 - epoch for epoch in range(11)]
        assert Overtraining().check(with_epochs(losses[:10], losses[:10])).state is State.INSUFFICIENT
        assert Overtraining().check(with_epochs(losses, losses)).state is State.NO_ISSUES

    def test_losses_that_are_not_finite_are_left_out(self) -> None:
        found = Overtraining(patience_train=1).check(with_epochs([math.nan, 2.0, math.inf, 1.0]))
        assert found.state is State.NO_ISSUES
        assert found.datapoints == 2

    def test_states_without_losses(self) -> None:
        assert Overtraining().check(with_epochs()).reason == "0 epochs so far, 6 are needed"
        assert Overtraining().check(with_epochs([None, None])).state is State.NOT_EVALUATED


class TestLossNotDecreasing:
    @pytest.mark.parametrize(("last", "state"), [(0.999, State.NO_ISSUES), (1.0, State.ISSUES)])
    def test_the_published_rule_compares_single_steps(self, last: float, state: State) -> None:
        found = LossNotDecreasing().check(with_losses([1.0, *[0.1] * 9, last]))
        assert found.state is state
        if state is State.ISSUES:
            assert found.where == "step 10"
            assert found.reason == "the loss is 1, not lower than 1"
            assert (found.violations, found.datapoints) == (1, 1)

    def test_it_compares_with_the_check_before(self) -> None:
        losses = [3.0] * 10 + [1.0] * 10 + [2.0] * 10
        found = LossNotDecreasing().check(with_losses(losses))
        assert found.where == "step 20"
        assert found.reason == "the loss is 2, not lower than 1"

    @pytest.mark.parametrize(("last", "state"), [(0.75, State.ISSUES), (0.7, State.NO_ISSUES)])
    def test_a_difference_in_percent(self, last: float, state: State) -> None:
        rule = LossNotDecreasing(diff_percent=25.0)
        assert rule.check(with_losses([1.0] * 10 + [last])).state is state

    @pytest.mark.parametrize(("steps", "state"), [(10, State.INSUFFICIENT), (11, State.ISSUES)])
    def test_steps_that_it_takes(self, steps: int, state: State) -> None:
        found = LossNotDecreasing().check(with_losses([1.0] * steps))
        assert found.state is state
        if state is State.INSUFFICIENT:
            assert found.reason == "10 steps so far, 11 are needed"

    WINDOWS = LossNotDecreasing(num_steps=4, diff_percent=10.0, patience=2, windows=True)

    def test_windows_are_compared_with_the_first_one(self) -> None:
        assert self.WINDOWS.check(with_losses([2.0] * 4 + [1.0] * 12)).state is State.NO_ISSUES
        found = self.WINDOWS.check(with_losses([2.0] * 4 + [1.0] * 4 + [2.0] * 8))
        assert found.state is State.ISSUES
        assert found.where == "step 15"
        assert found.reason == "the loss is 2, not lower than 2"
        assert found.details == {"first": 2.0, "lowest": 1.0, "last": 2.0}
        assert (found.violations, found.datapoints) == (2, 3)

    def test_windows_are_means(self) -> None:
        noisy = [3.0, 1.0, 3.0, 1.0] + [3.0, 0.0, 3.0, 0.0] * 2
        assert self.WINDOWS.check(with_losses(noisy)).state is State.NO_ISSUES
        found = self.WINDOWS.check(with_losses([3.0, 1.0, 3.0, 1.0] + [4.0, 0.0, 4.0, 0.0] * 2))
        assert found.state is State.ISSUES

    @pytest.mark.parametrize(("steps", "state"), [(11, State.INSUFFICIENT), (12, State.ISSUES)])
    def test_windows_have_to_be_whole(self, steps: int, state: State) -> None:
        found = self.WINDOWS.check(with_losses([1.0] * steps))
        assert found.state is state
        if state is State.INSUFFICIENT:
            assert found.reason == "11 steps so far, 12 are needed"

    @pytest.mark.parametrize(("risen", "state"), [(1.5, State.NO_ISSUES), (1.6, State.ISSUES)])
    def test_a_rise_above_the_lowest_window(self, risen: float, state: State) -> None:
        rule = LossNotDecreasing(num_steps=2, patience=3, windows=True, rise_percent=50.0)
        found = rule.check(
            with_losses([4.0] * 2 + [1.0] * 2 + [2.0 if risen > 1.5 else 1.5] * 2 + [risen] * 2)
        )
        assert found.state is state
        if state is State.ISSUES:
            assert found.reason == "the loss rose from 1 to 2"
            assert found.where == "step 5"
            assert found.violations == 2

    def test_no_rise_is_looked_for_unless_asked(self) -> None:
        rule = LossNotDecreasing(num_steps=2, patience=3, windows=True)
        assert rule.check(with_losses([4.0] * 2 + [1.0] * 2 + [3.0] * 4)).state is State.NO_ISSUES

    def test_the_loss_is_no_number(self) -> None:
        found = self.WINDOWS.check(with_losses([1.0, 0.5, math.nan, math.inf]))
        assert found.state is State.ISSUES
        assert found.reason == "the loss is nan"
        assert found.where == "step 2"
        assert (found.violations, found.datapoints) == (2, 4)

    def test_says_how_far_it_came_where_all_is_well(self) -> None:
        found = self.WINDOWS.check(with_losses([2.0] * 4 + [1.0] * 8))
        assert found.reason == "the loss went from 2 to 1"
        assert found.datapoints == 2
