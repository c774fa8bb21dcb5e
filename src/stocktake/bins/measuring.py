"""Batches through a network, and how well it counts over the photos of a split. Imports torch."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stocktake.bins.loading import Batch, PhotoSet, make_batch, read_ahead
from stocktake.bins.network import BinNetwork
from stocktake.bins.ranks import my_part, sum_over_ranks
from stocktake.bins.small_maps import SmallMapProducts

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Passes:
    """How batches reach a device, and networks answer there: in channels_last, in mixed precision, and on a
    CPU with small maps as matrix products.

    Attributes:
        device: of networks and batches.
    """

    def __init__(self, device: str, amp: str = "") -> None:
        self.device = torch.device(device)
        self._type = AMP_TYPES.get(amp)
        self._products = SmallMapProducts() if self.device.type == "cpu" else nullcontext()

    def load(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images (n, 3, S, S) float32 RGB in 0..1, and targets (n,) int64, on the device."""
        images, targets = torch.from_numpy(batch.images), torch.from_numpy(batch.targets)
        if self.device.type == "cuda":
            images, targets = images.pin_memory(), targets.pin_memory()
        images = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return images.float().div_(255), targets.to(self.device, non_blocking=True)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """The model's answer as float32."""
        with self._products, torch.autocast(self.device.type, self._type, enabled=self._type is not None):
            logits: Tensor = model(images)
        return logits.float()


@torch.inference_mode()
def measure(
    network: BinNetwork, photos: PhotoSet, most: int, batch_size: int, passes: Passes, threads: int
) -> dict[str, float]:
    """Figures over the first `most` photos, the same on every rank, each of which looks at a part.

    Args:
        network: in eval mode.
        photos: of a split.
        most: photos to look at.
        batch_size: photos at once on this rank.
        passes: where the network is.
        threads: that read photos.

    Returns:
        loss; accuracy 0..1, mae and rmse in items, of the most probable count.
    """
    rank, ranks = my_part()
    mine = np.arange(rank, min(most, len(photos)), ranks)  # none where there are fewer photos than ranks
    rows = [mine[first : first + batch_size] for first in range(0, len(mine), batch_size)]
    counts = torch.tensor(network.classes, dtype=torch.float64)
    sums = torch.zeros(5, dtype=torch.float64)  # photos, loss, right, |error|, error²
    for batch in read_ahead(lambda number: make_batch(photos, number, rows[number]), len(rows), threads):
        images, targets = passes.load(batch)
        logits = passes.logits(network, images)
        error = counts[network.probabilities(logits).argmax(1).cpu()] - counts[batch.targets]
        loss = float(network.loss(logits, targets)) * len(targets)
        figures: list[Any] = [len(targets), loss, error.eq(0).sum(), error.abs().sum(), error.square().sum()]
        sums += torch.tensor([float(figure) for figure in figures], dtype=torch.float64)
    sums = sum_over_ranks(sums, passes.device)
    _, loss, accuracy, mae, mse = (sums / sums[0]).tolist()
    return {"loss": loss, "accuracy": accuracy, "mae": mae, "rmse": mse**0.5}
