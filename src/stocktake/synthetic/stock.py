"""Paints what stands on a tier: rows behind, flanks and tops, the front row, and the shadows of all that."""

import cv2
import numpy as np

from stocktake.synthetic.layout import Block, Column, Tier
from stocktake.synthetic.packs import draw_packs
from stocktake.synthetic.scene import Box, Canvas, Scene, paste

_REAR, _MIDDLE = 0.85, 0.45  # rows behind the front one, as shares of the board's depth
_SHADOW_SCALE = 4  # soft shadows are computed on a coarser grid


def cast_shadows(canvas: Canvas, tier: Tier) -> None:
    """Soft shadows of the packs on panel and board."""
    rows = canvas.rows(tier.top, tier.board)
    area = canvas.pixels[rows]
    height, width = (length // _SHADOW_SCALE for length in area.shape[:2])
    if min(height, width) < 1:
        return
    shade = np.ones((height, width), np.float32)
    for block in tier.blocks:
        top = max(round((tier.board - block.pile - canvas.origin[1] - rows.start) / _SHADOW_SCALE), 0)
        for column in block.columns:
            if column.state != "void":
                span = canvas.columns(column.left, column.right)
                shade[top:, span.start // _SHADOW_SCALE : span.stop // _SHADOW_SCALE] = 0.55
    soft = cv2.resize(cv2.GaussianBlur(shade, (0, 0), 3.5), (area.shape[1], area.shape[0]))
    area[:] = cv2.multiply(area, cv2.merge([soft] * 3), dtype=cv2.CV_8U)


def paint_stock(scene: Scene, tier: Tier) -> list[Box]:
    """Paint the packs of a tier, the rear ones first; returns the boxes of the front ones in the plane."""
    stock = []
    for block in tier.blocks:
        size = round(block.columns[0].right - block.columns[0].left), round(block.height)
        sprites = draw_packs(scene.rng, scene.family, block.shape, *size, variants=3)
        stock += [(block, column, sprites) for column in block.columns if column.state != "void"]
    for share in (_REAR, _MIDDLE):
        for block, column, sprites in stock:
            if share in _rows_behind(block, column):
                _paint_pile(scene, tier, block, column, sprites, share)
    for block, column, sprites in stock:
        if column.state == "full" and block.shape.straight:
            _paint_sides(scene, tier, block, column, sprites[0])
    boxes = []
    for block, column, sprites in stock:
        if column.state == "full":
            boxes += _paint_pile(scene, tier, block, column, sprites, column.setback)
    return boxes


def _rows_behind(block: Block, column: Column) -> tuple[float, ...]:
    """How deep in the shelf the packs behind a facing stand."""
    if column.state == "set_back":
        return (_REAR,)
    return (_REAR, _MIDDLE) if block.back_row else ()


def _paint_pile(
    scene: Scene, tier: Tier, block: Block, column: Column, sprites: list[np.ndarray], share: float
) -> list[Box]:
    """Packs on top of each other, `share` of the board's depth behind its front edge, in its growing dark."""
    rng, plan = scene.rng, scene.plan
    centre, bottom = plan.behind((column.left + column.right) / 2, tier.board, share)
    scale = 1 - plan.depth * share
    boxes = []
    for _ in range(block.levels):
        sprite = sprites[int(rng.integers(len(sprites)))]
        if share >= _MIDDLE:
            sprite = cv2.resize(sprite, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = sprite.shape[:2]
        drop = (bottom - height / 2 - tier.top) / (tier.board - tier.top)  # how far below the shelf above
        light = rng.uniform(0.93, 1.04) * (1 - 0.25 * np.exp(-max(drop, 0) / 0.25)) * (1 - 0.75 * share)
        x1, y1, x2, y2 = paste(scene.canvas, sprite, centre - width / 2, bottom, light)
        boxes.append((x1, y1, x2, min(y2, tier.board)))
        bottom -= height
    return boxes


def _paint_sides(scene: Scene, tier: Tier, block: Block, column: Column, sprite: np.ndarray) -> None:
    """The flank and the top of a straight-sided pile that run into the depth of the shelf."""
    plan, top, board = scene.plan, tier.board - block.pile, tier.board
    share = 0.9 if block.back_row else 0.5
    edge = column.right if column.right < plan.eye[0] else column.left
    flank = [(edge, board), (edge, top), plan.behind(edge, top, share), plan.behind(edge, board, share)]
    rear = [plan.behind(column.right, top, share), plan.behind(column.left, top, share)]
    cover = [(column.left, top), (column.right, top), *rear]
    colour = sprite[:, [0, -1], :3].mean((0, 1))
    faces = [(flank, 0.35), (cover, 0.7)] if top > plan.eye[1] else [(flank, 0.35)]
    for face, light in faces:
        corners = (np.array(face) - scene.canvas.origin).round().astype(int)
        cv2.fillConvexPoly(scene.canvas.pixels, corners, (colour * light).tolist(), cv2.LINE_AA)
