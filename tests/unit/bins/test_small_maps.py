"""Small maps as matrix products: the same numbers and gradients, and only where they are small."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from stocktake.bins import small_maps
from stocktake.bins.small_maps import SMALL, SmallMapProducts

CONVOLUTIONS = [  # kernel, stride, padding, side of what goes in
    (1, 1, 0, 4),
    (1, 2, 0, 8),
    (3, 1, 1, 2),
    (3, 2, 1, 7),
    (3, 2, 1, 8),
    ((3, 2), (2, 1), (1, 0), 4),
]


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what was multiplied."""
    shapes: list[tuple[int, ...]] = []
    convolve = small_maps.convolve_by_product

    def watch(images: torch.Tensor, *rest: object) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return convolve(images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(small_maps, "convolve_by_product", watch)
    return shapes


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_answers_and_gradients_are_those_of_a_convolution(
    kernel: int, stride: int, padding: int, side: int, bias: bool, products: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 7, kernel, stride, padding, bias=bias, dtype=torch.float64)
    images = torch.randn(3, 5, side, side, dtype=torch.float64)
    found = []
    for mode in (nullcontext(), SmallMapProducts()):
        layer.zero_grad()
        given = images.clone().requires_grad_()
        with mode:
            made = layer(given)
        made.square().sum().backward()
        found.append([made, given.grad, *(weight.grad for weight in layer.parameters())])
    assert products == [tuple(images.shape)]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1),  # of a map that is not small
        nn.Conv2d(4, 4, 3, padding=0, dilation=2, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, stride=4, groups=2),
    ],
)
def test_other_convolutions_are_left_alone(layer: nn.Conv2d, products: list[tuple[int, ...]]) -> None:
    images = torch.randn(1, 4, SMALL + 1, SMALL + 1)
    with SmallMapProducts():
        made = layer(images)
    torch.testing.assert_close(made, layer(images), rtol=0, atol=0)
    assert not products
