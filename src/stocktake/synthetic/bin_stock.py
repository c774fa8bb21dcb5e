"""Paints the items of a bin, those at the back first, and keeps count of what can be seen of each."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stocktake.synthetic.bin_layout import Item, paint_order
from stocktake.synthetic.bin_products import Product
from stocktake.synthetic.bin_scenery import BinView
from stocktake.synthetic.packs import draw_packs
from stocktake.synthetic.scene import paste

_COARSE = 4  # soft shadows are computed on a coarser grid


def paint_items(rng: np.random.Generator, view: BinView, items: Sequence[Item]) -> np.ndarray:
    """Paint all items; returns the visible share of each, (n,) float64, tapes, lip and tag left aside."""
    owner = np.full(view.canvas.pixels.shape[:2], -1, np.int16)
    whole = np.ones(len(items))
    fronts: dict[str, np.ndarray] = {}
    for i in paint_order(items):
        product = items[i].product
        if product.asin not in fronts:
            fronts[product.asin] = _draw_front(product, view.scale)
        whole[i] = _paint_item(rng, view, items[i], fronts[product.asin], owner, i)
    seen = np.bincount(owner[owner >= 0], minlength=len(items))
    return np.minimum(seen / np.maximum(whole, 1), 1.0)


def _draw_front(product: Product, scale: float) -> np.ndarray:
    """The front of a product in the mouth, (h, w, 4) uint8 RGBA; the same for each of its items."""
    rng = np.random.default_rng(product.artwork)
    size = round(product.width * scale), round(product.height * scale)
    front = draw_packs(rng, product.family, product.kind.shape, *size, variants=1)[0]
    if product.wrapped:
        _wrap(rng, front)
    return front


def _wrap(rng: np.random.Generator, front: np.ndarray) -> None:
    """A clear plastic bag: haze, and bright creases where it mirrors the lamps."""
    height, width = front.shape[:2]
    creases = rng.standard_normal((7, 6), dtype=np.float32)
    field = cv2.resize(creases, (width, height), interpolation=cv2.INTER_CUBIC)
    glints = np.clip(1 - np.abs(field) * 9, 0, 1) * 70
    front[..., :3] = np.clip(front[..., :3] * 0.86 + 22 + glints[..., None], 0, 255)


def _paint_item(
    rng: np.random.Generator, view: BinView, item: Item, front: np.ndarray, owner: np.ndarray, number: int
) -> int:
    """Paint one item and enter it in `owner`; returns the px it would cover in front of all."""
    space, product = view.space, item.product
    near = 1 - space.depth * item.setback
    left, top = view.pixel(space.behind(item.left, item.top, item.setback))
    right, bottom = view.pixel(space.behind(item.right, item.base, item.setback))
    size = (max(round(right - left), 3), max(round(bottom - top), 3))
    sprite = cv2.resize(front, size, interpolation=cv2.INTER_AREA)
    light = _light_on(rng, view, item)
    if item.base == 0:
        _shade_floor(view, (left, right), bottom, near)
    covered = 0
    if item.lean:
        sprite = _lean(sprite, item.lean)
        left -= max(0.0, (sprite.shape[1] - size[0]) if item.lean < 0 else 0.0)
    elif product.stackable:
        covered = _paint_sides(view, item, sprite, light, owner, number)
    _cast_shadow(view, sprite[..., 3], (left, bottom), near)
    paste(view.canvas, sprite, left, bottom, light)
    x, y = round(left), round(bottom) - sprite.shape[0]
    under = owner[max(y, 0) : y + sprite.shape[0], max(x, 0) : x + sprite.shape[1]]
    front = sprite[max(-y, 0) :, max(-x, 0) :, 3][: under.shape[0], : under.shape[1]] > 127
    under[front] = number
    return covered + int(np.count_nonzero(front))


def _light_on(rng: np.random.Generator, view: BinView, item: Item) -> float:
    """Less light deep in the bin and under its ceiling."""
    drop = 1 - (item.base + item.product.height / 2) / view.space.opening
    return float(rng.uniform(0.92, 1.04) * (1 - 0.4 * item.setback) * (1 - 0.3 * np.exp(-drop / 0.3)))


def _shade_floor(view: BinView, sides: tuple[float, float], bottom: float, near: float) -> None:
    """The soft shadow that an item leaves on the fabric around its foot."""
    reach = 0.05 * view.scale * near
    area = view.canvas.area(sides[0] - reach, bottom - 2.4 * reach, sides[1] + reach, bottom + 0.5 * reach)
    if area.size:
        height, width = area.shape[:2]
        x = np.minimum(np.arange(width), np.arange(width)[::-1]) / max(reach, 1)
        y = np.minimum(np.arange(height) / 2, np.arange(height)[::-1]) / max(0.5 * reach, 1)
        dark = np.clip(x, 0, 1)[None, :] * np.clip(y, 0, 1)[:, None] * 0.5
        area[:] = area * (1 - dark[..., None])


def _cast_shadow(view: BinView, cover: np.ndarray, foot: tuple[float, float], near: float) -> None:
    """Darken what is behind an item with the silhouette `cover` (h, w) uint8 and its lower left at `foot`."""
    reach = max(round(0.035 * view.scale * near / _COARSE), 1) * _COARSE
    height, width = (-(-length // _COARSE) for length in cover.shape)
    small = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)
    edge = reach // _COARSE
    small = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=(0,))
    soft = cv2.GaussianBlur(small, (0, 0), edge / 2)
    dark = 1 - cv2.resize(soft, (small.shape[1] * _COARSE, small.shape[0] * _COARSE)) * np.float32(0.6 / 255)
    left, top = round(foot[0]) - reach, round(foot[1]) - cover.shape[0] - reach
    area = view.canvas.area(left, top, left + dark.shape[1], top + dark.shape[0])
    dark = dark[max(-top, 0) :, max(-left, 0) :][: area.shape[0], : area.shape[1]]
    area[:] = cv2.multiply(area, cv2.merge([dark] * 3), dtype=cv2.CV_8U) if area.size else area


def _lean(sprite: np.ndarray, degrees: float) -> np.ndarray:
    """A sprite turned about its foot, on a canvas that just holds it."""
    height, width = sprite.shape[:2]
    angle = np.deg2rad(abs(degrees))
    size = (
        round(width * np.cos(angle) + height * np.sin(angle)),
        round(height * np.cos(angle) + width * np.sin(angle)),
    )
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(sprite, turn, size, flags=cv2.INTER_LINEAR)


def _paint_sides(
    view: BinView, item: Item, sprite: np.ndarray, light: float, owner: np.ndarray, number: int
) -> int:
    """The flank and the upper face that run into the depth of the bin; returns the px that they cover."""
    space, rear = view.space, min(item.setback + item.product.depth, 1.0)
    colour = sprite[:, [0, -1], :3].mean((0, 1)) * light
    faces = []
    if item.top < space.eye[1]:
        faces.append(((item.left, item.top), (item.right, item.top), 0.8))
    if item.right < space.eye[0]:
        faces.append(((item.right, item.base), (item.right, item.top), 0.5))
    elif item.left > space.eye[0]:
        faces.append(((item.left, item.base), (item.left, item.top), 0.5))
    covered = 0.0
    for start, end, share in faces:
        near = [space.behind(*point, item.setback) for point in (start, end)]
        far = [space.behind(*point, rear) for point in (end, start)]
        corners = view.corners([*near, *far])
        cv2.fillConvexPoly(view.canvas.pixels, corners, (colour * share).tolist(), cv2.LINE_AA)
        cv2.fillConvexPoly(owner, corners, number)
        covered += cv2.contourArea(corners)
    return round(covered)
