"""Optimizer, learning rate and average of weights of a training. Imports torch."""

import copy
import math
from typing import Any

import torch

from stocktake.bins.network import BinNetwork
from stocktake.bins.train_settings import BinTrainSettings

FINAL_SHARE = 0.01  # of lr, at the end of the cosine
MOMENTUM = 0.9


def make_optimizer(network: BinNetwork, settings: BinTrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) or SGD with Nesterov momentum; only matrices and kernels decay."""
    learnt = [weight for weight in network.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in learnt if weight.ndim > 1], "weight_decay": settings.decay},
        {"params": [weight for weight in learnt if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    lr = settings.peak_lr
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    return torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True, fused=True)


def lr_factor(step: int, steps: int, warmup_steps: int) -> float:
    """What `lr` is multiplied with at `step` (from 0) of `steps`: a linear rise, then half a cosine."""
    warmup_steps = min(warmup_steps, steps // 2)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    share = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * share)) / 2


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group of the optimizer this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


class WeightAverage:
    """The exponential moving average of a network's weights and running statistics.

    Early on it forgets faster, so that a short training is not measured by the weights that it began with:
    the decay is at most (1 + steps) / (10 + steps), as in TensorFlow's ExponentialMovingAverage.

    Attributes:
        network: with the averaged weights; the network itself where the decay is 0.
        steps: updates so far.
    """

    def __init__(self, network: BinNetwork, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.source = network
        self.network = copy.deepcopy(network).requires_grad_(False) if decay else network
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        self._pairs = [pair for pair in pairs if pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's weights of this step into the average."""
        if not self.decay:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averaged, current = map(list, zip(*self._pairs, strict=True))
        torch._foreach_lerp_(averaged, current, 1 - decay)
