"""Paints the bin itself: its fabric inside, the lip with its tag and the elastic tapes in front."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stocktake.synthetic.bin_layout import BinSpace
from stocktake.synthetic.bin_settings import BinDrawSettings
from stocktake.synthetic.families import RGB
from stocktake.synthetic.scene import Canvas, scale_colour

Point = tuple[float, float]
_FABRICS: tuple[RGB, ...] = ((206, 178, 104), (196, 172, 112), (112, 124, 140), (88, 98, 112), (70, 70, 74))
_FABRIC_SHARES = (0.34, 0.28, 0.18, 0.14, 0.06)
_TAGS: tuple[RGB, ...] = ((62, 66, 120), (228, 120, 78), (226, 168, 176), (128, 172, 206), (120, 96, 84))
_INK, _PAPER = (34, 34, 40), (226, 222, 212)
_COARSE = 4  # light is computed on a coarser grid


@dataclass(frozen=True, slots=True)
class Tape:
    """An elastic tape across the mouth, woven of thin threads; heights in widths of the mouth."""

    height: float  # above the floor
    breadth: float
    threads: int
    cover: float  # how much it hides between its threads


@dataclass(frozen=True, slots=True)
class BinLook:
    """What a bin looks like, the same in all its photos."""

    fabric: RGB
    lip: tuple[float, float]  # thickness of the bin's own lip and of that of the bin above
    margin: tuple[float, float]  # left and right of the mouth; below zero the photo cuts it
    tapes: tuple[Tape, ...]
    tag: RGB
    place: str  # what its tag says
    tag_at: float  # x of the tag's left edge


@dataclass(frozen=True, slots=True)
class BinView:
    """A bin on its way to a photo: (x, y) of the bin is at `origin` + scale * (x, -y) px."""

    space: BinSpace
    canvas: Canvas
    origin: Point
    scale: float

    def pixel(self, point: Point) -> Point:
        """Where a point of the mouth's plane lies on the canvas."""
        return self.origin[0] + self.scale * point[0], self.origin[1] - self.scale * point[1]

    def corners(self, points: list[Point]) -> np.ndarray:
        """Points as a polygon on the canvas, (n, 2) int32."""
        return np.array([self.pixel(point) for point in points]).round().astype(np.int32)


def draw_look(rng: np.random.Generator, settings: BinDrawSettings, opening: float) -> BinLook:
    """Choose fabric, lips, tapes and tag of a bin whose mouth is `opening` widths high."""
    count = int(rng.integers(settings.bands[0], settings.bands[1] + 1))
    slots = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / max(count, 1)
    tapes = tuple(
        Tape(
            height=float(opening * (0.06 + 0.82 * slot)),
            breadth=float(rng.uniform(0.09, 0.2)),
            threads=int(rng.integers(5, 12)),
            cover=float(rng.uniform(*settings.band_cover)),
        )
        for slot in slots
    )
    fabric = _FABRICS[int(rng.choice(len(_FABRICS), p=_FABRIC_SHARES))]
    return BinLook(
        fabric,
        lip=(float(rng.uniform(0.05, 0.12)), float(rng.uniform(0.02, 0.08))),
        margin=(float(rng.uniform(-0.01, 0.05)), float(rng.uniform(-0.01, 0.05))),
        tapes=tapes,
        tag=_TAGS[int(rng.integers(len(_TAGS)))],
        place=f"{rng.integers(1, 6)}{'ABCDEFGHK'[int(rng.integers(9))]}",
        tag_at=float(rng.uniform(0.1, 0.6)),
    )


def paint_inside(rng: np.random.Generator, view: BinView, look: BinLook) -> None:
    """Cover the canvas with the fabric: floor, back and walls, dark in the corners and under the bin a"""
    pixels = view.canvas.pixels
    height, width = pixels.shape[:2]
    fabric = _weave(rng, look.fabric, (width, height))
    light = _light_inside(rng, view, (width, height))
    pixels[:] = cv2.multiply(fabric, cv2.merge([light] * 3), dtype=cv2.CV_8U)
    crease = scale_colour(look.fabric, 0.3).tolist()
    for x, y in ((0, 0), (1, 0), (0, view.space.opening), (1, view.space.opening)):
        seam = view.corners([(x, y), view.space.behind(x, y, 1)])
        cv2.polylines(pixels, [seam], False, crease, 1, cv2.LINE_AA)


def _weave(rng: np.random.Generator, colour: RGB, size: tuple[int, int]) -> np.ndarray:
    grain = cv2.GaussianBlur(rng.normal(1, 0.07, (64, 96)).astype(np.float32), (0, 0), 0.7)
    tile = np.clip(grain[..., None] * np.array(colour, np.float32), 0, 255).astype(np.uint8)
    return np.tile(tile, (size[1] // 64 + 1, size[0] // 96 + 1, 1))[: size[1], : size[0]]


def _light_inside(rng: np.random.Generator, view: BinView, size: tuple[int, int]) -> np.ndarray:
    space, top = view.space, view.space.opening
    light = np.full((size[1] // _COARSE + 1, size[0] // _COARSE + 1), 0.75, np.float32)
    front = [(0.0, 0.0), (1.0, 0.0), (1.0, top), (0.0, top)]
    rear = [space.behind(*corner, 1) for corner in front]
    faces = rng.uniform(0.9, 1.1, 5) * (0.78, 0.5, 0.28, 0.55, 0.52)  # floor, right, ceiling, left, back
    for side in range(4):
        ends = side, (side + 1) % 4
        quad = [front[ends[0]], front[ends[1]], rear[ends[1]], rear[ends[0]]]
        cv2.fillConvexPoly(light, view.corners(quad) // _COARSE, float(faces[side]))
    cv2.fillConvexPoly(light, view.corners(rear) // _COARSE, float(faces[4]))
    rows = (view.origin[1] - _COARSE * np.arange(len(light), dtype=np.float32)) / view.scale / top
    light *= (1 - 0.35 * np.exp(-np.clip(1 - rows, 0, 1) / 0.25))[:, None]
    soft = cv2.GaussianBlur(light, (0, 0), 0.012 * view.scale / _COARSE + 0.6)
    return cv2.resize(soft, (soft.shape[1] * _COARSE, soft.shape[0] * _COARSE))[: size[1], : size[0]]


def paint_front(rng: np.random.Generator, view: BinView, look: BinLook) -> None:
    """Stretch the tapes, then lay the lips of this bin and of the one above over them."""
    for tape in look.tapes:
        _paint_tape(rng, view, tape)
    sag = rng.uniform(0.0, 0.03)
    _paint_lip(rng, view, look, (0.012, -1.0), sag)
    _paint_lip(rng, view, look, (view.space.opening + 1.0, view.space.opening - 0.01), -sag)
    _paint_walls(view, look)
    _paint_tag(rng, view, look, -0.2 * look.lip[0], 0.75 * look.lip[0])
    _paint_tag(rng, view, look, view.space.opening + look.lip[1] * 0.9, 0.75 * look.lip[0])


def _paint_tape(rng: np.random.Generator, view: BinView, tape: Tape) -> None:
    pixels = view.canvas.pixels
    height, width = pixels.shape[:2]
    shift = tape.height + rng.uniform(-0.015, 0.015), rng.uniform(-0.04, 0.04), rng.uniform(-0.03, 0.02)
    x = (np.arange(width) - view.origin[0]) / view.scale - 0.5
    edge = view.pixel((0, shift[0] + tape.breadth))[1] - view.scale * (
        shift[1] * x - shift[2] * (4 * x**2 - 1)
    )
    breadth = tape.breadth * view.scale
    first, last = max(int(edge.min()), 0), min(int(edge.max() + breadth) + 1, height)
    if first >= last:
        return
    down = np.arange(first, last, dtype=np.float32)[:, None]
    across = (down - edge[None, :].astype(np.float32)) * np.float32(254 / breadth)  # 0..254 in the tape
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * tape.threads * np.linspace(0, 1, 254, dtype=np.float32))
    table = np.pad((tape.cover + 0.45 * wave**3).astype(np.float32), 1)  # 0 beside the tape
    hidden = table[np.clip(across + 1, 0, 255).astype(np.uint8)]
    area = pixels[first:last]
    colour = np.array((176, 170, 158), np.float32) * np.float32(rng.uniform(0.75, 1.05))
    area[:] = area + (colour - area) * hidden[..., None]


def _paint_lip(
    rng: np.random.Generator, view: BinView, look: BinLook, rows: tuple[float, float], sag: float
) -> None:
    """A band of fabric across the photo between two heights, its edge towards the mouth curved by `sag`."""
    inner = rows[0] if sag >= 0 else rows[1]
    x = np.linspace(-0.3, 1.3, 25)
    curve = [(float(v), float(inner + sag * ((2 * v - 1) ** 2 - 0.6))) for v in x]
    outer = rows[1] if sag >= 0 else rows[0]
    band = view.corners([*curve, (1.3, outer), (-0.3, outer)])
    light = rng.uniform(0.95, 1.12)
    pixels = view.canvas.pixels
    cv2.fillPoly(pixels, [band], scale_colour(look.fabric, light).tolist(), cv2.LINE_AA)
    edge = view.corners(curve)
    stitches = edge + np.array((0, round((0.016 if sag >= 0 else -0.016) * view.scale)))
    thick = max(1, round(0.006 * view.scale))
    cv2.polylines(pixels, [edge], False, scale_colour(look.fabric, 0.5).tolist(), thick, cv2.LINE_AA)
    thread = scale_colour(look.fabric, 0.82 * light).tolist()
    cv2.polylines(pixels, [stitches], False, thread, 1, cv2.LINE_AA)


def _paint_walls(view: BinView, look: BinLook) -> None:
    """The front edges of the walls beside the mouth."""
    low, high = view.pixel((0, 0.0))[1], view.pixel((0, view.space.opening))[1]
    for near, far in ((0.0, -1.0), (1.0, 2.0)):
        x1, x2 = sorted((view.pixel((near, 0))[0], view.pixel((far, 0))[0]))
        wall = view.canvas.area(x1, high, x2, low)
        wall[:] = scale_colour(look.fabric, 0.92)
        seam = view.pixel((near + (0.008 if near else -0.008), 0))[0]
        view.canvas.area(seam - 1, high, seam + 1, low)[:] = scale_colour(look.fabric, 0.55)


def _paint_tag(rng: np.random.Generator, view: BinView, look: BinLook, top: float, height: float) -> None:
    """A coloured tag with the bin's place and a square code, under a clear sleeve."""
    tall = round(height * view.scale)
    if tall < 8:
        return
    tag = np.full((tall, round(tall * 3.4), 3), look.tag, np.uint8)
    pad = max(1, tall // 9)
    cv2.rectangle(tag, (pad, pad), (round(tall * 2.1), tall - pad - 1), _PAPER, -1)
    scale = tall / 36
    cv2.putText(
        tag, look.place, (2 * pad, round(tall * 0.8)), cv2.FONT_HERSHEY_DUPLEX, scale, _INK,
        max(1, round(2.4 * scale)), cv2.LINE_AA,
    )  # fmt: skip
    side = tall - 2 * pad
    code = np.where(rng.random((10, 10, 1)) < 0.5, np.uint8(40), np.uint8(220)).repeat(3, 2)
    left = round(tall * 2.3)
    tag[pad : pad + side, left : left + side] = cv2.resize(
        code, (side, side), interpolation=cv2.INTER_NEAREST
    )
    x, y = (round(v) for v in view.pixel((look.tag_at, top)))
    pixels = view.canvas.pixels
    rows, columns = slice(max(y, 0), max(y + tall, 0)), slice(max(x, 0), max(x + tag.shape[1], 0))
    under = pixels[rows, columns]
    under[:] = tag[max(-y, 0) :, max(-x, 0) :][: under.shape[0], : under.shape[1]]
