"""What all painters of a drawn shelf share: the canvas, and what is to be painted on it."""

from dataclasses import dataclass

import numpy as np

from stocktake.synthetic.draw_settings import DrawSettings
from stocktake.synthetic.families import Family
from stocktake.synthetic.layout import ShelfPlan

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture of a part of the shelf's plane: pixel (0, 0) lies at `origin` of the plane."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    origin: tuple[float, float]

    def rows(self, top: float, bottom: float) -> slice:
        """The rows between two heights of the plane, cut at the canvas's border."""
        first, last = (round(v - self.origin[1]) for v in (top, bottom))
        return slice(max(first, 0), max(min(last, len(self.pixels)), 0))

    def columns(self, left: float, right: float) -> slice:
        """The columns between two x of the plane, cut at the canvas's border."""
        first, last = (round(v - self.origin[0]) for v in (left, right))
        return slice(max(first, 0), max(min(last, self.pixels.shape[1]), 0))

    def area(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """A view on the pixels of a rectangle of the plane; may be empty."""
        return self.pixels[self.rows(top, bottom), self.columns(left, right)]


@dataclass(frozen=True, slots=True)
class Scene:
    """A planned shelf on its way to a picture."""

    rng: np.random.Generator
    settings: DrawSettings
    family: Family
    plan: ShelfPlan
    canvas: Canvas


def paste(canvas: Canvas, sprite: np.ndarray, left: float, bottom: float, light: float) -> Box:
    """Lay an RGBA sprite on the canvas; returns where it lies in the plane, also where it is cut."""
    height, width = sprite.shape[:2]
    x, y = round(left - canvas.origin[0]), round(bottom - canvas.origin[1]) - height
    under = canvas.pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if under.size:
        shown = slice(max(-y, 0), max(-y, 0) + len(under)), slice(max(-x, 0), max(-x, 0) + under.shape[1])
        over = sprite[shown].astype(np.float32)
        alpha = over[..., 3:] * np.float32(1 / 255)
        under[:] = np.minimum(under * (1 - alpha) + over[..., :3] * (alpha * np.float32(light)), 255)
    left, top = x + canvas.origin[0], y + canvas.origin[1]
    return left, top, left + width, top + height


def scale_colour(colour: tuple[int, int, int], factor: np.ndarray | float) -> np.ndarray:
    """A colour made darker or brighter, uint8; factors (n,) give a column of n pixels, (n, 1, 3)."""
    factors = np.asarray(factor, np.float32)
    if factors.ndim:
        factors = factors[:, None, None]
    return np.clip(factors * np.array(colour, np.float32), 0, 255).astype(np.uint8)
