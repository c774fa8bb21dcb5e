"""Decides what is missing from a planned shelf: voids, and stock that is set back."""

import numpy as np

from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.layout import Block, Column, Run, ShelfPlan, Tier
from stocktake.void_kinds import EDGE, EMPTY_TIER, GAP, LOW_STOCK


def take_away(
    rng: np.random.Generator, settings: DrawSettings, plan: ShelfPlan, size: tuple[int, int]
) -> None:
    """Take packs off the shelf, on tiers that a photo of `size` (width, height) shows well."""
    width, height = size
    usable = [
        tier
        for tier in plan.tiers
        if tier.blocks and tier.top > -0.35 * (tier.board - tier.top) and tier.board < height
    ]
    if usable and rng.random() < settings.empty_tier:
        _empty_tier(usable.pop(int(rng.integers(len(usable)))))
    if not usable:
        return
    for _ in range(int(rng.integers(settings.voids[0], settings.voids[1] + 1))):
        tier = usable[int(rng.integers(len(usable)))]
        bay = plan.bays[int(rng.integers(len(plan.bays)))]
        _take_run(rng, settings, tier, bay, width)


def _empty_tier(tier: Tier) -> None:
    columns = [column for block in tier.blocks for column in block.columns]
    for column in columns:
        column.state = "void"
    pile = max(block.pile for block in tier.blocks)
    tier.runs.append(_make_run(columns, tier, pile, EMPTY_TIER))


def _take_run(
    rng: np.random.Generator, settings: DrawSettings, tier: Tier, bay: tuple[float, float], width: int
) -> None:
    """Take up to four facings of one block away, or set them back, at two facings' distance from others."""
    blocks = [b for b in tier.blocks if bay[0] <= b.columns[0].left and b.columns[-1].right <= bay[1]]
    columns = [column for block in blocks for column in block.columns]
    weights = np.array(settings.void_facings)
    wanted = 1 + int(rng.choice(len(weights), p=weights / weights.sum()))
    at_edge, low = rng.random() < settings.edge_voids, bool(rng.random() < settings.low_stock)
    choices = []
    for block in blocks:
        for first in range(max(len(block.columns) - wanted, 0) + 1):
            run = block.columns[first : first + wanted]
            ends = run[0] is columns[0] or run[-1] is columns[-1] or run[0].left < 0 or run[-1].right > width
            seen = run[-1].right > 0.02 * width and run[0].left < 0.98 * width
            if seen and ends == at_edge and _is_apart(run, columns) and _shows(run, block, blocks):
                choices.append((block, run))
    if choices:
        block, run = choices[int(rng.integers(len(choices)))]
        for column in run:
            column.state = "set_back" if low else "void"
        kind = LOW_STOCK if low else EDGE if at_edge else GAP
        tier.runs.append(_make_run(run, tier, _missing_height(blocks, block), kind))


def _is_apart(run: list[Column], columns: list[Column]) -> bool:
    reach = 2 * (run[0].right - run[0].left)
    left, right = run[0].left - reach, run[-1].right + reach
    return all(c.state == "full" for c in columns if c.left < right and c.right > left)


def _shows(run: list[Column], block: Block, blocks: list[Block]) -> bool:
    """Whether a person would see that something is gone: a lone slim pack between wide ones is not missed."""
    if len(run) < len(block.columns):
        return True
    beside = [b.columns[0].right - b.columns[0].left for b in _neighbours(blocks, block)]
    return bool(beside) and run[-1].right - run[0].left >= 0.9 * max(beside)


def _neighbours(blocks: list[Block], block: Block) -> list[Block]:
    index = blocks.index(block)
    return [b for b in blocks[max(index - 1, 0) : index + 2] if b is not block]


def _missing_height(blocks: list[Block], block: Block) -> float:
    """Height of what is missing; with nothing left of it to go by, that of its neighbours."""
    if any(column.state == "full" for column in block.columns):
        return block.pile
    return max((b.pile for b in _neighbours(blocks, block)), default=block.pile)


def _make_run(columns: list[Column], tier: Tier, height: float, kind: str) -> Run:
    box = (columns[0].left, tier.board - height, columns[-1].right, tier.board)
    return Run(box, kind, tuple((column.left, column.right) for column in columns))
