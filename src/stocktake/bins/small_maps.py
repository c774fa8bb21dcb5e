"""Convolutions of small feature maps as matrix products, which CPUs train faster. Imports torch."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SMALL = 4  # px a side of what comes out; found by benchmarks/bins_training.py: larger maps gain nothing


class SmallMapProducts(TorchFunctionMode):
    """While this is entered, `torch.conv2d` of a small map is a matrix product: the same but for rounding.

    A ResNet50 that sees 64 px spends half of a step on the weights' gradients of maps of 2 and 4 px, where
    oneDNN's convolutions leave most of a CPU's matrix units idle.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """As torch asks for."""
        if func is torch.conv2d and not kwargs:
            images, weight, bias, stride, padding, dilation, groups = args  # as nn.Conv2d calls it
            sides = output_sides(images, weight, stride, padding)
            if max(sides) <= SMALL and tuple(dilation) == (1, 1) and groups == 1:
                return convolve_by_product(images, weight, bias, stride, padding)
        return func(*args, **(kwargs or {}))


def output_sides(
    images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int]:
    """Height and width in px of what a convolution without dilation returns."""
    high, wide = (
        (images.shape[axis + 2] + 2 * padding[axis] - weight.shape[axis + 2]) // stride[axis] + 1
        for axis in (0, 1)
    )
    return high, wide


def convolve_by_product(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """`torch.conv2d` as one matrix product: of the windows under the kernel, and the weights (im2col).

    Args:
        images: (N, C, H, W); fastest in channels_last.
        weight: (K, C, R, S).
        bias: (K,) or None.
        stride, padding: px, down and across.

    Returns:
        (N, K, H', W') in channels_last.
    """
    high, wide = output_sides(images, weight, stride, padding)
    down, across = stride
    top, left = padding
    rows = functional.pad(images.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    windows = [
        rows[:, y : y + down * (high - 1) + 1 : down, x : x + across * (wide - 1) + 1 : across]
        for y in range(weight.shape[2])
        for x in range(weight.shape[3])
    ]
    filters = weight.permute(0, 2, 3, 1).flatten(1)
    return functional.linear(torch.cat(windows, dim=3), filters, bias).permute(0, 3, 1, 2)
