"""Draws packs: silhouette, artwork, shading. A pack is an (h, w, 4) uint8 RGBA sprite that fills its box."""

import cv2
import numpy as np

from stocktake.synthetic.artwork import print_label
from stocktake.synthetic.families import Family, Shape

_OVERSAMPLING = 2
_ROLL = 0.25  # a round pack shows a window of a wider texture: this share of its width may be turned away


def draw_packs(
    rng: np.random.Generator, family: Family, shape: Shape, width: int, height: int, variants: int
) -> list[np.ndarray]:
    """Sprites of one product: same artwork, each turned a little, as identical facings are on a shelf."""
    width, height = max(width, 4), max(height, 6)
    wide = round(width * (1 + _ROLL)) if shape.round else width
    artwork = _draw_artwork(rng, family, shape, (wide * _OVERSAMPLING, height * _OVERSAMPLING))
    texture = cv2.resize(artwork, (wide, height), interpolation=cv2.INTER_AREA)
    alpha = _silhouette(shape, width, height)
    shade, gloss = _shading(rng, shape, width, height)
    sprites = []
    for _ in range(variants):
        turn = int(rng.integers(0, wide - width + 1))
        lit = texture[:, turn : turn + width] * shade[..., None] + gloss[..., None]
        sprites.append(np.concatenate([np.clip(lit, 0, 255).astype(np.uint8), alpha[..., None]], axis=2))
    return sprites


def _silhouette(shape: Shape, width: int, height: int) -> np.ndarray:
    """Coverage 0..255 of each pixel, smooth at the outline."""
    y, half = np.array(shape.profile).T
    half_width = np.interp(np.linspace(0, 1, height), y, half) * width
    x = np.abs(np.arange(width) + 0.5 - width / 2)
    return (np.clip(half_width[:, None] - x[None, :] + 0.5, 0, 1) * 255).astype(np.uint8)


def _shading(
    rng: np.random.Generator, shape: Shape, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Light that the surface passes on (factor) and light that it mirrors (grey levels); float32 (h, w)."""
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = np.float32(rng.uniform(-0.4, 0.4))
    if shape.round:
        shade = 0.5 + 0.55 * np.sqrt(1 - (0.92 * x) ** 2) * (1 + 0.25 * light * x)
        gloss = np.float32(rng.uniform(10, 60)) * np.exp(-(((x - light) / 0.14) ** 2))
        return np.tile(shade, (height, 1)), np.tile(gloss, (height, 1))
    if not shape.pillow:
        edge = 1 - 0.25 * np.maximum(np.abs(x) ** 14, np.abs(y) ** 18)
        return edge * (1 + 0.12 * light * x), np.zeros((height, width), np.float32)
    creases = cv2.resize(
        rng.standard_normal((9, 5), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    bulge = 0.66 + 0.38 * np.sqrt(1 - (0.9 * x) ** 2) * np.sqrt(1.05 - y**2)
    return bulge * (1 + 0.08 * creases), 30 * np.clip(creases - 0.7, 0, 1)


def _draw_artwork(
    rng: np.random.Generator, family: Family, shape: Shape, size: tuple[int, int]
) -> np.ndarray:
    """The front of a pack before light falls on it, (h, w, 3) uint8 for size (w, h)."""
    w, h = size
    picks = rng.choice(len(family.palette), 3, replace=False)
    base, accent, third = (family.palette[i] for i in picks)
    if rng.random() < 0.25:  # much of what is sold comes in white
        base = family.inks[0]
    plain = shape.label != (0, 1) and rng.random() < 0.45
    body = family.inks[int(rng.integers(len(family.inks)))] if plain else base
    art = np.full((h, w, 3), body, np.uint8)
    top, bottom = (round(v * h) for v in shape.label)
    print_label(rng, family, art[top:bottom], (base, accent, third))
    if shape.cap > 0:
        art[: round(shape.cap * h)] = third
    elif shape.cap < 0:
        art[round((1 + shape.cap) * h) :] = third
    if shape.pillow:  # the crimped seam
        art[: round(0.05 * h) : 3] = (np.array(base) * 0.6).astype(np.uint8)
    return art
