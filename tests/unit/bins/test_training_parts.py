"""What a training is made of: rates, averages, figures, progress."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stocktake.bins import checkpoints, measuring
from stocktake.bins.checkpoints import Progress
from stocktake.bins.loading import Batch, PhotoSet
from stocktake.bins.measuring import Passes, measure
from stocktake.bins.network import BinNetwork
from stocktake.bins.optimization import FINAL_SHARE, WeightAverage, lr_factor, make_optimizer
from stocktake.bins.train_settings import BinTrainSettings


@pytest.fixture(scope="module")
def resnet() -> BinNetwork:
    return BinNetwork((1, 2, 3), "ordinal")


class TestLearningRate:
    @given(st.integers(1, 500), st.integers(0, 800))
    def test_rises_then_falls_and_is_never_zero(self, steps: int, warmup: int) -> None:
        rates = [lr_factor(step, steps, warmup) for step in range(steps)]
        assert min(rates) > 0
        assert max(rates) <= 1
        top = rates.index(max(rates))
        assert rates[:top] == sorted(rates[:top])
        assert rates[top:] == sorted(rates[top:], reverse=True)
        assert top <= min(warmup, steps // 2)

    def test_ends_near_its_final_share(self) -> None:
        assert lr_factor(999, 1000, 10) == pytest.approx(FINAL_SHARE, abs=1e-4)
        assert lr_factor(10, 1000, 10) == 1.0


class TestOptimizer:
    @pytest.mark.parametrize("name", ["adamw", "sgd"])
    def test_only_matrices_and_kernels_decay(self, resnet: BinNetwork, name: Any) -> None:
        decayed, plain = make_optimizer(
            resnet, BinTrainSettings(optimizer=name, weight_decay=0.1)
        ).param_groups
        assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
        assert {weight.ndim for weight in decayed["params"]} == {2, 4}
        assert {weight.ndim for weight in plain["params"]} == {0, 1}
        assert len(decayed["params"]) + len(plain["params"]) == len(list(resnet.parameters()))

    def test_a_frozen_body_has_no_part(self, resnet: BinNetwork) -> None:
        frozen = copy.deepcopy(resnet)
        frozen.freeze_body()
        groups = make_optimizer(frozen, BinTrainSettings()).param_groups
        assert sum(len(group["params"]) for group in groups) == len(list(frozen.head.parameters()))


class TestAverage:
    def learn(self, network: nn.Module) -> None:
        with torch.no_grad():
            for weight in network.parameters():
                weight += 1.0
        network(torch.randn(8, 3))

    @pytest.fixture
    def network(self) -> Any:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).train()

    def test_follows_weights_and_statistics_faster_at_first(self, network: Any) -> None:
        average = WeightAverage(network, 0.5)
        expected = {name: value.clone() for name, value in network.state_dict().items()}
        for step in range(1, 15):
            self.learn(network)
            average.update()
            decay = min(0.5, (1 + step) / (10 + step))
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    expected[name] = decay * expected[name] + (1 - decay) * value
        for name, value in average.network.state_dict().items():
            if value.is_floating_point():
                assert torch.allclose(value, expected[name], atol=1e-5), name
        assert not any(weight.requires_grad for weight in average.network.parameters())

    def test_none_is_the_network_itself(self, network: Any) -> None:
        average = WeightAverage(network, 0.0)
        self.learn(network)
        average.update()
        assert average.network is network


class Dots:
    """Squares that are as bright as their row says."""

    def read(self, row: int) -> Any:
        return np.full((32, 32, 3), 20 * row, np.uint8)


class Brightness(nn.Module):
    """A counter of known answers: the class is the brightness, in steps of 20."""

    classes = (1, 3, 4)

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = images.mean((1, 2, 3))[:, None] * 255 / 20
        return -self.steepness * (level - torch.arange(3)).square()

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, targets)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(1)


class TestFigures:
    photos = PhotoSet(Dots(), ("a", "b", "c", "d"), np.array([0, 1, 0, 2]))  # answers 0, 1, 2, 2

    @pytest.mark.parametrize("batch_size", [1, 3, 100])
    def test_are_of_the_most_probable_count(self, batch_size: int) -> None:
        network: Any = Brightness()
        found = measure(network, self.photos, 4, batch_size, Passes("cpu"), 1)
        assert found["accuracy"] == 0.75
        assert found["mae"] == pytest.approx(3 / 4)  # a 1 that was taken for a 4
        assert found["rmse"] == pytest.approx((9 / 4) ** 0.5)
        images = torch.stack([torch.full((3, 32, 32), 20 * row / 255) for row in range(4)])
        expected = network.loss(network(images), torch.from_numpy(self.photos.targets)).item()
        assert found["loss"] == pytest.approx(expected, rel=1e-5)

    def test_may_be_of_the_first_photos_alone(self) -> None:
        network: Any = Brightness()
        assert measure(network, self.photos, 2, 8, Passes("cpu"), 1)["accuracy"] == 1.0

    def test_a_rank_without_photos_adds_nothing(self, monkeypatch: Any) -> None:
        network: Any = Brightness()
        whole = measure(network, self.photos, 4, 8, Passes("cpu"), 1)
        sums: list[torch.Tensor] = []

        def gather(mine: torch.Tensor, _: Any) -> torch.Tensor:
            sums.append(mine)
            return torch.stack(sums).sum(0)

        monkeypatch.setattr(measuring, "sum_over_ranks", gather)
        for rank in range(6):
            monkeypatch.setattr(measuring, "my_part", lambda rank=rank: (rank, 6))
            last = measure(network, self.photos, 4, 8, Passes("cpu"), 1)
        assert last == pytest.approx(whole)
        assert [float(part[0]) for part in sums] == [1, 1, 1, 1, 0, 0]

    def test_batches_arrive_in_channels_last_between_0_and_1(self) -> None:
        pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
        images, targets = Passes("cpu").load(Batch(0, np.arange(2), pixels, np.array([1, 0])))
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
        assert targets.tolist() == [1, 0]


class TestProgress:
    def test_the_best_epoch_is_the_most_accurate_then_the_surest(self) -> None:
        progress = Progress()
        figures = [(0.5, 1.0), (0.5, 0.9), (0.5, 0.9), (0.4, 0.1), (0.6, 2.0)]
        best = [
            progress.take(epoch, {"val/accuracy": accuracy, "val/loss": loss})
            for epoch, (accuracy, loss) in enumerate(figures, 1)
        ]
        assert best == [True, True, False, False, True]
        assert (progress.epoch, progress.best_epoch) == (5, 5)

    def test_an_epoch_without_a_loss_is_not_the_best(self) -> None:
        progress = Progress()
        progress.take(1, {"val/accuracy": 0.2, "val/loss": 1.0})
        assert not progress.take(2, {"val/accuracy": 0.9, "val/loss": float("nan")})

    @pytest.mark.parametrize(("stopped", "expected"), [("", (2, 9)), ("Overfit: so", (2, 2))])
    def test_is_read_from_a_checkpoint(self, tmp_path: Any, stopped: str, expected: tuple[int, int]) -> None:
        network: Any = Brightness()
        network.head_name = "softmax"
        training = {"progress": {"epoch": 2, "stopped": stopped}, "epochs": 9, "optimizer": torch.ones(5)}
        checkpoints.save(tmp_path / "last.pt", network, 32, 2, {}, training=training)
        assert checkpoints.read_progress(tmp_path / "last.pt") == expected
        checkpoints.strip(tmp_path / "last.pt")
        assert checkpoints.read_progress(tmp_path / "last.pt") == expected
        assert "optimizer" not in torch.load(tmp_path / "last.pt")["training"]
        before = (tmp_path / "last.pt").stat().st_mtime_ns
        checkpoints.strip(tmp_path / "last.pt")
        assert (tmp_path / "last.pt").stat().st_mtime_ns == before
