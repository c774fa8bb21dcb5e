"""Paints price rails and their tags."""

import cv2
import numpy as np

from stocktake.synthetic.layout import Tier
from stocktake.synthetic.scene import Scene, scale_colour

_FONT = cv2.FONT_HERSHEY_DUPLEX
_PRINT = (20, 20, 24)


def paint_rail(scene: Scene, tier: Tier) -> None:
    """The price rail in front of a board; its tags stay where packs are missing."""
    plan, canvas, rng = scene.plan, scene.canvas, scene.rng
    rail = canvas.area(plan.left, tier.board, plan.right, tier.board + tier.rail)
    light = np.interp(np.linspace(0, 1, len(rail)), [0, 0.12, 0.2, 0.85, 1], [1.15, 1.1, 0.9, 0.95, 0.6])
    rail[:] = scale_colour(plan.rail_colour, light)
    for _, end in plan.bays[:-1]:
        joint = canvas.area(end - 1, tier.board, end + 1, tier.board + tier.rail)
        joint[:] = scale_colour(plan.rail_colour, 0.4)
    for block in tier.blocks:
        for column in block.columns[:: int(rng.integers(2, 5))]:
            _paint_tag(scene, tier, (column.left + column.right) / 2)


def _paint_tag(scene: Scene, tier: Tier, x: float) -> None:
    """A price tag, or now and then an offer; some hang over what stands below."""
    rng, colours = scene.rng, scene.family.tags
    hangs = rng.random() < scene.settings.clutter
    offer = hangs or rng.random() < 0.15
    colour = colours[int(rng.integers(1, len(colours)))] if offer else colours[0]
    height = tier.rail * (rng.uniform(1.2, 1.9) if hangs else rng.uniform(0.75, 0.95))
    half, top = tier.rail * rng.uniform(0.65, 1.0), tier.board + 0.06 * tier.rail
    tag = scene.canvas.area(x - half, top, x + half, top + height)
    h, w = tag.shape[:2]
    if min(h, w) < 5:
        return
    patch = np.full(tag.shape, colour, np.uint8)
    price = f"{rng.integers(0, 10)}.{rng.integers(10, 100)}"
    (text_w, text_h), _ = cv2.getTextSize(price, _FONT, 1, 1)
    scale = min(0.62 * w / text_w, 0.6 * h / text_h)
    origin = (int(w * 0.33), int(h * 0.55 + text_h * scale / 2))
    cv2.putText(patch, price, origin, _FONT, scale, _PRINT, 1, cv2.LINE_AA)
    for y, end in ((0.25, 0.28), (0.5, 0.22)):
        patch[int(h * y), int(w * 0.06) : int(w * end)] = 60
    tag[:] = patch
