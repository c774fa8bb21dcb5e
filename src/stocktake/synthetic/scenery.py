"""Paints a planned shelf on a canvas: panel, boards, packs, rails, tags and their shadows."""

from dataclasses import dataclass

import cv2
import numpy as np

from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.families import RGB, Back, Family
from stocktake.synthetic.layout import Block, Column, ShelfPlan, Tier
from stocktake.synthetic.packs import draw_packs

_REAR, _MIDDLE = 0.85, 0.45  # rows behind the front one, as shares of the board's depth


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture of a part of the shelf's plane: pixel (0, 0) lies at `origin` of the plane."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    origin: tuple[float, float]

    def rows(self, top: float, bottom: float) -> slice:
        """The rows between two heights of the plane, cut at the canvas's border."""
        a, b = (round(v - self.origin[1]) for v in (top, bottom))
        return slice(max(a, 0), max(min(b, len(self.pixels)), 0))

    def columns(self, left: float, right: float) -> slice:
        """The columns between two x of the plane, cut at the canvas's border."""
        a, b = (round(v - self.origin[0]) for v in (left, right))
        return slice(max(a, 0), max(min(b, self.pixels.shape[1]), 0))

    def area(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """A view on the pixels of a rectangle of the plane; may be empty."""
        return self.pixels[self.rows(top, bottom), self.columns(left, right)]


def paint_shelf(
    rng: np.random.Generator, settings: DrawSettings, family: Family, plan: ShelfPlan, canvas: Canvas
) -> np.ndarray:
    """Paint everything; returns the boxes of the front packs, (n, 4) float64 xyxy in the plane."""
    _paint_surroundings(rng, plan, canvas)
    strength = rng.uniform(*settings.shadow)
    light = rng.uniform(0.65, 1.0)
    boxes: list[tuple[float, float, float, float]] = []
    for tier in plan.tiers:
        _shade_opening(canvas, plan, tier, strength, light)
        _cast_shadows(canvas, tier)
        boxes += _paint_stock(rng, family, canvas, plan, tier)
    for tier in plan.tiers:
        _paint_rail(rng, settings, family, canvas, plan, tier)
    return np.array(boxes, float).reshape(-1, 4)


def _paint_surroundings(rng: np.random.Generator, plan: ShelfPlan, canvas: Canvas) -> None:
    height, width = canvas.pixels.shape[:2]
    aisle = rng.integers(70, 190, (5, 7, 1)) + rng.integers(-15, 16, (5, 7, 3))
    canvas.pixels[:] = cv2.resize(aisle.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    far = 1e6
    canvas.area(-far, plan.bottom, far, far)[:] = plan.floor
    panel = canvas.area(plan.left, plan.top, plan.right, plan.bottom)
    panel[:] = paint_back(rng, plan.back, panel.shape[0], panel.shape[1])
    if plan.top > 0:
        header = canvas.area(plan.left, -far, plan.right, plan.top)
        header[:] = plan.header if rng.random() < 0.5 else plan.back.colour
    kick = canvas.area(plan.left, plan.bottom, plan.right, plan.bottom + 0.05 * height)
    kick[:] = (np.array(plan.rail_colour) * 0.35).astype(np.uint8)
    steel = (np.array(plan.back.colour) * 0.55 + 30).astype(np.uint8)
    for x in [plan.bays[0][0] - plan.upright / 2, *(right + plan.upright / 2 for _, right in plan.bays)]:
        post = canvas.area(x - plan.upright / 2, plan.top, x + plan.upright / 2, plan.bottom)
        post[:] = steel
        slot = canvas.area(x - plan.upright * 0.12, plan.top, x + plan.upright * 0.12, plan.bottom)
        slot[np.arange(len(slot)) % 14 < 8] = steel // 3


def paint_back(rng: np.random.Generator, back: Back, height: int, width: int) -> np.ndarray:
    """A back panel, (height, width, 3) uint8: its material's pattern and some unevenness."""
    shade = cv2.resize(rng.uniform(0.95, 1.05, (4, 4)).astype(np.float32), (max(width, 1), max(height, 1)))[
        :height, :width
    ]
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    if back.material in ("pegboard", "perforated"):
        step = int(rng.integers(16, 26))
        tall = 1 if back.material == "pegboard" else 3
        hole = ((x % step - step / 2) ** 2 + ((y % step - step / 2) / tall) ** 2) < (0.11 * step) ** 2
        shade = shade * np.where(hole, 0.72, 1)
    elif back.material == "slats":
        step = int(rng.integers(34, 52))
        shade = shade * np.where(y % step < 3, 0.72, 1)
    elif back.material == "grain":
        grain = cv2.resize(
            rng.normal(0, 0.035, (1, max(width // 3, 1))).astype(np.float32), (max(width, 1), 1)
        )
        shade = shade * (1 + grain[:, :width])
    return np.clip(shade[..., None] * np.array(back.colour), 0, 255).astype(np.uint8)


def _shade_opening(canvas: Canvas, plan: ShelfPlan, tier: Tier, strength: float, light: float) -> None:
    """Darken the panel, most under the shelf above, and lay boards in front: their under or their upper side."""
    opening = canvas.area(plan.left, tier.top, plan.right, tier.board)
    y = np.linspace(0, 1, len(opening), dtype=np.float32)
    shade = light * (1 - strength * np.exp(-y / 0.35))
    opening[:] = (opening * shade[:, None, None]).astype(np.uint8)
    colour = np.array(plan.rail_colour, np.float32)
    above = canvas.area(plan.left, tier.top, plan.right, plan.behind(0, tier.top)[1])
    above[:] = (np.linspace(0.3, 0.18, len(above))[:, None, None] * colour).astype(np.uint8)
    board = canvas.area(plan.left, plan.behind(0, tier.board)[1], plan.right, tier.board)
    board[:] = (np.linspace(0.5, 0.85, len(board))[:, None, None] * light * colour).astype(np.uint8)


def _cast_shadows(canvas: Canvas, tier: Tier) -> None:
    """Soft shadows of the packs on panel and board."""
    rows = canvas.rows(tier.top, tier.board)
    area = canvas.pixels[rows]
    if area.size == 0:
        return
    small = np.zeros((max(len(area) // 4, 1), max(area.shape[1] // 4, 1)), np.float32)
    for block in tier.blocks:
        top = round((tier.board - block.pile - canvas.origin[1] - rows.start) / 4)
        for column in block.columns:
            if column.state != "void":
                left, right = (round((v - canvas.origin[0]) / 4) for v in (column.left, column.right))
                small[max(top, 0) :, max(left, 0) : max(right, 0)] = 1
    soft = cv2.GaussianBlur(small, (0, 0), 3.5)
    shade = 1 - 0.45 * cv2.resize(soft, (area.shape[1], area.shape[0]))
    area[:] = (area * shade[..., None]).astype(np.uint8)


def _paint_stock(
    rng: np.random.Generator, family: Family, canvas: Canvas, plan: ShelfPlan, tier: Tier
) -> list[tuple[float, float, float, float]]:
    """Paint the packs of a tier, the rear ones first; returns the boxes of the front ones."""
    prints = []
    for block in tier.blocks:
        width = block.columns[0].right - block.columns[0].left
        prints.append(draw_packs(rng, family, block.shape, round(width), round(block.height), variants=3))
    for share in (_REAR, _MIDDLE):
        for block, sprites in zip(tier.blocks, prints, strict=True):
            for column in block.columns:
                if share in _rows_behind(block, column):
                    _paint_pile(rng, canvas, plan, tier, block, column, sprites, share)
    for block, sprites in zip(tier.blocks, prints, strict=True):
        if not block.shape.round and not block.shape.pillow:
            for column in block.columns:
                if column.state == "full":
                    _paint_sides(canvas, plan, tier, block, column, sprites[0])
    boxes = []
    for block, sprites in zip(tier.blocks, prints, strict=True):
        for column in block.columns:
            if column.state == "full":
                boxes += _paint_pile(rng, canvas, plan, tier, block, column, sprites, column.setback)
    return boxes


def _rows_behind(block: Block, column: Column) -> tuple[float, ...]:
    """How deep in the shelf the packs behind a facing stand."""
    if column.state == "low_stock":
        return (_REAR,)
    return (_REAR, _MIDDLE) if block.back_row and column.state == "full" else ()


def _paint_pile(
    rng: np.random.Generator,
    canvas: Canvas,
    plan: ShelfPlan,
    tier: Tier,
    block: Block,
    column: Column,
    sprites: list[np.ndarray],
    share: float,
) -> list[tuple[float, float, float, float]]:
    """Packs on top of each other, `share` of the board's depth behind its front edge."""
    scale = 1 - plan.depth * share
    centre, board = plan.behind((column.left + column.right) / 2, tier.board, share)
    boxes = []
    for level in range(block.levels):
        sprite = sprites[int(rng.integers(len(sprites)))]
        if share > 0.2:
            sprite = cv2.resize(sprite, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        bottom = board - level * sprite.shape[0]
        height = (bottom - sprite.shape[0] / 2 - tier.top) / (tier.board - tier.top)
        light = rng.uniform(0.93, 1.04) * (1 - 0.25 * np.exp(-max(height, 0) / 0.25)) * (1 - 0.75 * share)
        x1, y1, x2, y2 = _paste(canvas, sprite, centre - sprite.shape[1] / 2, bottom, light)
        boxes.append((x1, y1, x2, min(y2, tier.board)))
    return boxes


def _paint_sides(
    canvas: Canvas, plan: ShelfPlan, tier: Tier, block: Block, column: Column, sprite: np.ndarray
) -> None:
    """The flank and the top of a straight-sided pile that run into the depth of the shelf."""
    top = tier.board - block.pile
    share = 0.9 if block.back_row else 0.5
    edge = column.right if column.right < plan.eye[0] else column.left
    colour = sprite[:, :: max(sprite.shape[1] - 1, 1), :3].mean((0, 1))
    flank = [
        (edge, tier.board),
        (edge, top),
        plan.behind(edge, top, share),
        plan.behind(edge, tier.board, share),
    ]
    cover = [
        (column.left, top), (column.right, top),
        plan.behind(column.right, top, share), plan.behind(column.left, top, share),
    ]  # fmt: skip
    for face, light in ((flank, 0.35), (cover, 0.7)):
        if face is flank or top > plan.eye[1]:
            corners = (np.array(face) - canvas.origin).round().astype(int)
            cv2.fillConvexPoly(canvas.pixels, corners, (colour * light).tolist(), cv2.LINE_AA)


def _paste(
    canvas: Canvas, sprite: np.ndarray, left: float, bottom: float, light: float
) -> tuple[float, float, float, float]:
    height, width = sprite.shape[:2]
    x, y = round(left - canvas.origin[0]), round(bottom - canvas.origin[1]) - height
    box = (
        x + canvas.origin[0],
        y + canvas.origin[1],
        x + width + canvas.origin[0],
        y + height + canvas.origin[1],
    )
    x0, y0 = max(-x, 0), max(-y, 0)
    under = canvas.pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    over = sprite[y0 : y0 + under.shape[0], x0 : x0 + under.shape[1]].astype(np.float32)
    if over.size:
        alpha = over[..., 3:] / 255
        under[:] = np.clip(under * (1 - alpha) + over[..., :3] * (alpha * light), 0, 255).astype(np.uint8)
    return box


def _paint_rail(
    rng: np.random.Generator,
    settings: DrawSettings,
    family: Family,
    canvas: Canvas,
    plan: ShelfPlan,
    tier: Tier,
) -> None:
    rail = canvas.area(plan.left, tier.board, plan.right, tier.board + tier.rail)
    light = np.interp(np.linspace(0, 1, len(rail)), [0, 0.12, 0.2, 0.85, 1], [1.15, 1.1, 0.9, 0.95, 0.6])
    rail[:] = np.clip(light[:, None, None] * np.array(plan.rail_colour), 0, 255).astype(np.uint8)
    for block in tier.blocks:
        for column in block.columns[:: int(rng.integers(1, 4))]:
            hangs = rng.random() < settings.clutter
            _paint_tag(rng, family.tags, canvas, tier, (column.left + column.right) / 2, hangs)


def _paint_tag(
    rng: np.random.Generator, colours: tuple[RGB, ...], canvas: Canvas, tier: Tier, x: float, hangs: bool
) -> None:
    colour = colours[0] if not hangs and rng.random() < 0.75 else colours[int(rng.integers(1, len(colours)))]
    height = tier.rail * (rng.uniform(1.1, 1.7) if hangs else rng.uniform(0.72, 0.95))
    width = tier.rail * rng.uniform(1.2, 2.0)
    tag = canvas.area(
        x - width / 2, tier.board + 0.06 * tier.rail, x + width / 2, tier.board + 0.06 * tier.rail + height
    )
    if min(tag.shape[:2]) < 5:
        return
    patch = np.full(tag.shape, colour, np.uint8)
    h, w = patch.shape[:2]
    price = f"{rng.integers(0, 10)}.{rng.integers(10, 100)}"
    cv2.putText(
        patch,
        price,
        (int(w * 0.3), int(h * 0.78)),
        cv2.FONT_HERSHEY_DUPLEX,
        h / 45,
        (20, 20, 24),
        1,
        cv2.LINE_AA,
    )
    patch[int(h * 0.25) : int(h * 0.25) + 1, int(w * 0.06) : int(w * 0.26)] = 60
    patch[int(h * 0.55) : int(h * 0.55) + 1, int(w * 0.06) : int(w * 0.22)] = 60
    tag[:] = patch
