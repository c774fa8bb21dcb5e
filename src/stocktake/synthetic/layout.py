"""Plans a stocked shelf: which packs stand where. Numbers only, nothing is drawn here.

Lengths are px in the shelf's plane, which has the photo's scale and origin at the photo's centre line.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from stocktake.synthetic.camera import recede
from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.families import RGB, Back, Family, Shape

State = Literal["full", "void", "set_back"]


@dataclass(slots=True)
class Column:
    """One facing: a pack, or a pile of packs, seen from the front."""

    left: float
    right: float
    setback: float = 0.0  # share of the board's depth that it stands behind the front edge
    state: State = "full"


@dataclass(slots=True)
class Block:
    """Identical facings side by side."""

    shape: Shape
    height: float  # of one pack
    levels: int
    back_row: bool
    columns: list[Column]

    @property
    def pile(self) -> float:
        """Height of the whole pile."""
        return self.height * self.levels


@dataclass(frozen=True, slots=True)
class Run:
    """Facings that are missing, or set back, next to each other; the box is xyxy in the shelf's plane."""

    box: tuple[float, float, float, float]
    kind: str  # one of VOID_KINDS
    columns: tuple[tuple[float, float], ...]  # x-range of each facing


@dataclass(slots=True)
class Tier:
    """One shelf: the opening from `top` to `board`, where the packs stand, and the price rail below."""

    top: float
    board: float
    rail: float
    blocks: list[Block] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


@dataclass(slots=True)
class ShelfPlan:
    """A whole fixture; tiers from top to bottom, bays as x-ranges between uprights."""

    left: float
    right: float
    top: float
    bottom: float
    bays: list[tuple[float, float]]
    upright: float
    tiers: list[Tier]
    back: Back
    rail_colour: RGB
    floor: RGB
    header: RGB
    eye: tuple[
        float, float
    ]  # the point that lines into the depth run to: height of the camera, opposite of it
    depth: float  # how far towards the eye the rear edge of a board seems to lie, share of the way

    def behind(self, x: float, y: float, share: float = 1.0) -> tuple[float, float]:
        """Where the point lies that is `share` of the board's depth behind the point (x, y) of the front."""
        return recede((x, y), self.eye, self.depth * share)


def plan_shelf(
    rng: np.random.Generator,
    settings: DrawSettings,
    family: Family,
    size: tuple[int, int],
    extent: tuple[float, float],
) -> ShelfPlan:
    """Plan a full fixture; the photo of `size` (width, height) shows the x-range `extent` of its plane."""
    plan = _plan_fixture(rng, settings, family, size, extent)
    for tier in plan.tiers:
        for bay in plan.bays:
            widest = settings.widest * min(size)
            tier.blocks += _fill_bay(rng, settings, family, tier.board - tier.top, bay, widest)
    return plan


def _plan_fixture(
    rng: np.random.Generator,
    settings: DrawSettings,
    family: Family,
    size: tuple[int, int],
    extent: tuple[float, float],
) -> ShelfPlan:
    width, height = size
    count = int(rng.integers(settings.tiers[0], settings.tiers[1] + 1))
    if width > height:
        count = max(1, round(count * 0.8))
    top, bottom = height * rng.uniform(-0.08, 0.1), height * rng.uniform(0.9, 1.06)
    shares = rng.uniform(0.8, 1.2, count) * np.linspace(0.94, 1.1, count)
    edges = top + (bottom - top) * np.concatenate([[0], np.cumsum(shares) / shares.sum()])
    rail = height * rng.uniform(0.016, 0.026)
    tiers = [Tier(a, b - rail, rail) for a, b in pairwise(edges)]
    left, right = extent[0] - 0.2 * width, extent[1] + 0.2 * width
    if rng.random() < 0.25:  # the end of the gondola is in the picture
        if rng.random() < 0.5:
            left = width * rng.uniform(0.03, 0.12)
        else:
            right = width * rng.uniform(0.88, 0.97)
    upright = width * rng.uniform(0.012, 0.024)
    cuts = _cut_bays(rng, settings, width, upright)
    ends = [left, *cuts, right]
    bays = [(a + upright / 4, b - upright / 4) for a, b in pairwise(ends)]
    eye = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.3, 0.6)
    return ShelfPlan(
        left, right, top, bottom, bays, upright, tiers,
        back=family.backs[int(rng.integers(len(family.backs)))],
        rail_colour=family.rails[int(rng.integers(len(family.rails)))],
        floor=family.floors[int(rng.integers(len(family.floors)))],
        header=family.palette[int(rng.integers(len(family.palette)))],
        eye=eye, depth=rng.uniform(*settings.depth),
    )  # fmt: skip


def _cut_bays(rng: np.random.Generator, settings: DrawSettings, width: int, upright: float) -> list[float]:
    bays = int(rng.integers(settings.bays[0], settings.bays[1] + 1))
    if bays == 1:
        return []
    step = width * rng.uniform(0.8, 1.1) / bays
    first = width * rng.uniform(0.25, 0.75) if bays == 2 else width * rng.uniform(0.15, 0.4)
    return [first + i * max(step, 4 * upright) for i in range(bays - 1)]


def _fill_bay(
    rng: np.random.Generator,
    settings: DrawSettings,
    family: Family,
    opening: float,
    bay: tuple[float, float],
    widest: float,
) -> list[Block]:
    """Blocks from the left to the right end of a bay, until no pack fits; what room is left is shared out."""
    blocks: list[Block] = []
    x, before = bay[0], 0.0
    while True:
        for index in rng.permutation(len(family.shapes)):
            shape = family.shapes[index]
            block = _plan_block(rng, settings, shape, opening, (x, bay[1]), before, widest)
            if block.columns:
                break
        else:
            break
        blocks.append(block)
        x, before = block.columns[-1].right, block.columns[-1].right - block.columns[-1].left
    room = bay[1] - max((block.columns[-1].right for block in blocks), default=bay[0])
    for number, block in enumerate(blocks, start=1):
        for column in block.columns:
            column.left += room * number / (len(blocks) + 1)
            column.right += room * number / (len(blocks) + 1)
    return blocks


def _plan_block(
    rng: np.random.Generator,
    settings: DrawSettings,
    shape: Shape,
    opening: float,
    span: tuple[float, float],
    before: float,
    widest: float,
) -> Block:
    """As many facings as were wanted and fit into `span`, beside a pack `before` px wide; possibly none."""
    levels = 1
    if shape.levels > 1 and rng.random() < settings.stacked:
        levels = int(rng.integers(2, shape.levels + 1))
    height = opening * rng.uniform(0.55, 0.9) / levels
    if shape.levels > 1 and levels == 1:
        height *= rng.uniform(0.6, 1)
    width = height * rng.uniform(*shape.aspect)
    if width > widest:
        height, width = height * widest / width, widest
    pitch = width * (1 + rng.uniform(*settings.spacing))
    left = span[0] + min(before, width) * max(rng.uniform(*settings.block_gap), 0.02)
    wanted = int(rng.integers(settings.facings[0], settings.facings[1] + 1))
    count = max(min(wanted, int((span[1] - left + pitch - width) // pitch)), 0)
    setback = rng.uniform(0, 0.12) * (rng.random() < 0.4)
    columns = [
        Column(left + i * pitch, left + i * pitch + width, setback + rng.uniform(0, 0.03))
        for i in range(count)
    ]
    return Block(shape, height, levels, bool(rng.random() < settings.back_rows), columns)
