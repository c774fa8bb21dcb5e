"""Plans a bin: which item stands, lies or leans where. Numbers only, nothing is drawn here.

Lengths are in widths of the bin's mouth; x runs from its left edge, heights from its floor. An item's place
is that of its front, as if it stood in the mouth; `setback` is how deep in the bin it really stands, 0 in the
mouth and 1 at the back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stocktake.synthetic.bin_products import Product, draw_product
from stocktake.synthetic.bin_settings import BinDrawSettings
from stocktake.synthetic.camera import recede

_GRID = 72  # cells across the mouth when visible shares are counted
_TRIES = 24
_SHRINK = 0.94


@dataclass(frozen=True, slots=True)
class BinSpace:
    """The inside of a bin as the camera sees it."""

    opening: float  # height of the mouth
    eye: tuple[float, float]  # the point that lines into the depth run to; y is a height above the floor
    depth: float  # how far towards the eye the back seems to lie, share of the way

    def behind(self, x: float, y: float, setback: float) -> tuple[float, float]:
        """Where the point lies that is `setback` deep behind the point (x, y) of the mouth."""
        return recede((x, y), self.eye, self.depth * setback)


@dataclass(frozen=True, slots=True)
class Item:
    """One item in a bin; items with the same `pile` lie on top of each other."""

    product: Product
    left: float
    base: float  # height of what it stands on
    setback: float
    pile: int
    lean: float = 0.0  # degrees to the right

    @property
    def right(self) -> float:
        """Right edge of its front."""
        return self.left + self.product.width

    @property
    def top(self) -> float:
        """Height of its upper edge."""
        return self.base + self.product.height


def draw_space(rng: np.random.Generator, settings: BinDrawSettings) -> BinSpace:
    """A bin of some height, seen from about the middle of its mouth."""
    opening = float(rng.uniform(*settings.opening))
    eye = float(rng.uniform(0.35, 0.65)), float(opening * rng.uniform(0.45, 0.75))
    return BinSpace(opening, eye, float(rng.uniform(0.24, 0.36)))


def fill_bin(
    rng: np.random.Generator, settings: BinDrawSettings, space: BinSpace, count: int
) -> tuple[Item, ...]:
    """Put `count` items into an empty bin; if they don't fit, smaller ones."""
    products: list[Product] = []
    for _ in range(count):
        products.append(_next_product(rng, settings, space, products))
    items: tuple[Item, ...] = ()
    while len(items) < count:
        items = ()
        for product in products:
            filled = _put(rng, settings, space, items, product)
            if filled is None:
                products = [product.scaled(_SHRINK) for product in products]
                break
            items = filled
    return items


def stow_one(
    rng: np.random.Generator, settings: BinDrawSettings, space: BinSpace, items: tuple[Item, ...]
) -> tuple[Item, ...]:
    """Put one more item in; the others stay where they are, unless that leaves no room."""
    product = _next_product(rng, settings, space, [item.product for item in items])
    for attempt in range(1, 6):
        filled = _put(rng, settings, space, items, product)
        if filled is not None:
            return filled
        product = draw_product(rng, settings, space.opening).scaled(0.85**attempt)
    return fill_bin(rng, settings, space, len(items) + 1)


def pick_one(rng: np.random.Generator, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Take an item out that nothing lies on."""
    free = [i for i, item in enumerate(items) if item.top >= max(o.top for o in items if o.pile == item.pile)]
    taken = free[int(rng.integers(len(free)))]
    return items[:taken] + items[taken + 1 :]


def paint_order(items: Sequence[Item]) -> list[int]:
    """Indexes of the items, those at the back first, those below before those on them."""
    return sorted(range(len(items)), key=lambda i: (-items[i].setback, items[i].base))


def _next_product(
    rng: np.random.Generator, settings: BinDrawSettings, space: BinSpace, products: Sequence[Product]
) -> Product:
    if products and rng.random() < settings.repeated:
        return products[int(rng.integers(len(products)))]
    return draw_product(rng, settings, space.opening)


def _put(
    rng: np.random.Generator,
    settings: BinDrawSettings,
    space: BinSpace,
    items: tuple[Item, ...],
    product: Product,
) -> tuple[Item, ...] | None:
    for item in _places(rng, settings, items, product):
        if _is_free(space, items, item):
            filled = (*items, item)
            if visible_shares(space, filled).min() >= settings.visible:
                return filled
    return None


def _places(
    rng: np.random.Generator,
    settings: BinDrawSettings,
    items: tuple[Item, ...],
    product: Product,
) -> Iterator[Item]:
    """Places to try, the likeliest ones first."""
    pile = max((item.pile for item in items), default=-1) + 1
    if product.stackable and rng.random() < settings.stacked:
        for below in _tops(items):
            if below.product.stackable and below.lean == 0 and product.width < 1.15 * below.product.width:
                shift = rng.uniform(-0.1, 0.1) * product.width
                left = (below.left + below.right - product.width) / 2 + shift
                yield Item(product, left, below.top, below.setback, below.pile)
    for _ in range(_TRIES):
        lean = 0.0
        if product.slim and rng.random() < settings.leaning:
            lean = float(rng.choice((-1, 1)) * rng.uniform(3, 14))
        left, setback = rng.uniform(0, 1 - product.width), rng.uniform(0, max(1 - product.depth, 0))
        if items and rng.random() < settings.beside:
            other = items[int(rng.integers(len(items)))]
            gap = rng.uniform(0.0, 0.02)
            left = other.right + gap if rng.random() < 0.5 else other.left - gap - product.width
            setback = min(max(other.setback + rng.uniform(-0.06, 0.06), 0.0), max(1 - product.depth, 0.0))
        yield Item(product, float(left), 0.0, float(setback), pile, lean)


def _tops(items: tuple[Item, ...]) -> list[Item]:
    return [
        item for item in items if item.top >= max(other.top for other in items if other.pile == item.pile)
    ]


def _is_free(space: BinSpace, items: tuple[Item, ...], new: Item) -> bool:
    """Whether an item is within the bin and in no other one."""
    reach = abs(np.sin(np.deg2rad(new.lean))) * new.product.height
    left, right = new.left - (reach if new.lean < 0 else 0), new.right + (reach if new.lean > 0 else 0)
    if left < 0 or right > 1 or new.top > 0.97 * space.opening:
        return False
    for other in items:
        if other.pile == new.pile:
            continue
        beside = right <= other.left + 0.01 or left >= other.right - 0.01
        rear, front = (new, other) if new.setback > other.setback else (other, new)
        if not beside and rear.setback < front.setback + front.product.depth:
            return False
    return True


def visible_shares(space: BinSpace, items: Sequence[Item]) -> np.ndarray:
    """Share of each item's front that no other item hides, (n,) float64; on a grid, lean left aside."""
    owner = np.full((int(space.opening * _GRID) + 1, _GRID), -1, np.int16)
    fronts = [_cells(space, item, item.setback) for item in items]
    for i in paint_order(items):
        rows, columns = fronts[i]
        owner[rows, columns] = i
        if items[i].product.stackable:  # its flank hides, too
            _, rear = _cells(space, items[i], min(items[i].setback + items[i].product.depth, 1.0))
            owner[rows, rear.start : columns.start] = i
            owner[rows, columns.stop : rear.stop] = i
    seen = [np.count_nonzero(owner[front] == i) / owner[front].size for i, front in enumerate(fronts)]
    return np.array(seen)


def _cells(space: BinSpace, item: Item, setback: float) -> tuple[slice, slice]:
    """Rows and columns of the grid that an item's front covers, were it `setback` deep; at least one cell."""
    left, bottom = space.behind(item.left, item.base, setback)
    right, top = space.behind(item.right, item.top, setback)
    x, y = max(int(left * _GRID), 0), int(bottom * _GRID)
    return slice(y, max(round(top * _GRID), y + 1)), slice(x, max(round(right * _GRID), x + 1))


def jitter(rng: np.random.Generator, items: Sequence[Item]) -> tuple[Item, ...]:
    """The items a touch displaced, as a hand in the bin leaves them; piles move as one."""
    shifts = rng.uniform(-0.006, 0.006, 1 + max((item.pile for item in items), default=0))
    return tuple(replace(item, left=float(item.left + shifts[item.pile])) for item in items)
