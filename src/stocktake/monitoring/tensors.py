"""Reads gradients and activations of a model in training: fused reductions that do not wait for the device.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stocktake.monitoring.recording import ABSENT

SPREAD_ELEMENTS = 4096  # of a gradient, evenly spaced, that its percentiles are of
LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


@dataclass(frozen=True, slots=True)
class Reading:
    """Values (n,) float32 that are still on the device, and their columns in a recording."""

    columns: list[int]
    values: torch.Tensor


class GradientReader:
    """Mean |gradient| and spread of each tensor that is trained, in the network's order."""

    def __init__(self, model: nn.Module):
        named = [(plain_name(name), p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.tensors = [p for _, p in named]
        self.is_weight = [p.ndim >= 2 for p in self.tensors]
        self._sizes = torch.tensor([p.numel() for p in self.tensors], dtype=torch.float32)

    def mean_abs(self, scale: float) -> Reading:
        """Mean |gradient| of each tensor.

        Args:
            scale: that the loss was multiplied by, and hence the gradients.
        """
        columns, gradients = self._present()
        if not columns:
            return Reading(columns, torch.empty(0))
        if gradients[0].is_cuda:  # a few fused kernels for all tensors
            sums = torch.stack([norm.float() for norm in torch._foreach_norm(gradients, 1)])
        else:  # there the norm is no vector code and takes twice as long
            sums = torch.stack([gradient.abs().sum(dtype=torch.float32) for gradient in gradients])
        self._sizes = self._sizes.to(sums.device)
        sizes = self._sizes if len(columns) == len(self.names) else self._sizes[columns]
        return Reading(columns, sums / (sizes * scale))

    def spread(self, scale: float) -> Reading:
        """95th - 5th percentile of each tensor's gradient."""
        columns, gradients = self._present()
        if not columns:
            return Reading(columns, torch.empty(0))
        ends = torch.tensor([0.05, 0.95], device=gradients[0].device)
        spans = torch.stack([torch.quantile(_some(gradient), ends).diff()[0] for gradient in gradients])
        return Reading(columns, spans / scale)

    def row(self, reading: Reading) -> list[float]:
        """A reading as a row of a recording; waits for the device."""
        row = [ABSENT] * len(self.names)
        for column, value in zip(reading.columns, reading.values.tolist(), strict=True):
            row[column] = value
        return row

    def _present(self) -> tuple[list[int], list[torch.Tensor]]:
        found = [(column, p.grad) for column, p in enumerate(self.tensors) if p.grad is not None]
        return [column for column, _ in found], [gradient for _, gradient in found]

    def identical(self) -> list[str]:
        """Names of weights whose units, all along the first dimension, are copies of one another."""
        weights = [
            (name, p.detach())
            for name, p, is_weight in zip(self.names, self.tensors, self.is_weight, strict=True)
            if is_weight and p.shape[0] > 1
        ]
        if not weights:
            return []
        alike = torch.stack([(p == p[:1]).all() for _, p in weights]).tolist()
        return [name for (name, _), same in zip(weights, alike, strict=True) if same]


class VarianceReader:
    """Variance of the outputs of linear and convolution layers, by forward hooks; `close` takes them off."""

    def __init__(self, model: nn.Module):
        self.latest: dict[str, torch.Tensor] = {}
        layers = [
            (plain_name(name), layer) for name, layer in model.named_modules() if isinstance(layer, LAYERS)
        ]
        self._hooks = [layer.register_forward_hook(self._hook(name)) for name, layer in layers]

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(layer: nn.Module, _inputs: Any, output: Any) -> None:
            if layer.training and isinstance(output, torch.Tensor):
                self.latest[name] = output.detach().float().var()

        return keep

    def take(self) -> dict[str, torch.Tensor]:
        """The variances of the step that has just run, scalars on the device, in the order of use."""
        taken, self.latest = self.latest, {}
        return taken

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def plain_name(name: str) -> str:
    """A tensor's name without the prefixes of wrappers: DDP's and torch.compile's."""
    return name.removeprefix("module.").removeprefix("_orig_mod.")


def _some(gradient: torch.Tensor) -> torch.Tensor:
    flat = gradient.detach().reshape(-1)
    return flat[:: -(-flat.numel() // SPREAD_ELEMENTS)].float()
