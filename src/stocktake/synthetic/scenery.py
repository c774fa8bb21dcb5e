"""Paints a planned shelf: aisle, header, back panel, uprights, boards; then stock and price rails."""

import cv2
import numpy as np

from stocktake.synthetic.artwork import made_up_word
from stocktake.synthetic.families import Back
from stocktake.synthetic.layout import Tier
from stocktake.synthetic.rails import paint_rail
from stocktake.synthetic.scene import Scene, scale_colour
from stocktake.synthetic.stock import cast_shadows, paint_stock

_FAR = 1e6


def paint_shelf(scene: Scene) -> np.ndarray:
    """Paint everything; returns the boxes of the front packs, (n, 4) float64 xyxy in the shelf's plane."""
    rng, plan = scene.rng, scene.plan
    _paint_aisle(scene)
    _paint_fixture(scene)
    shadow, light = rng.uniform(*scene.settings.shadow), rng.uniform(*scene.settings.panel_light)
    boxes = []
    for tier in plan.tiers:
        _paint_opening(scene, tier, shadow, light)
        cast_shadows(scene.canvas, tier)
        boxes += paint_stock(scene, tier)
    for tier in plan.tiers:
        paint_rail(scene, tier)
    return np.array(boxes, float).reshape(-1, 4)


def _paint_aisle(scene: Scene) -> None:
    """What can be seen beside, above and below the fixture."""
    rng, plan, canvas = scene.rng, scene.plan, scene.canvas
    height, width = canvas.pixels.shape[:2]
    aisle = rng.integers(70, 190, (5, 7, 1)) + rng.integers(-15, 16, (5, 7, 3))
    canvas.pixels[:] = cv2.resize(aisle.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    floor = canvas.area(-_FAR, plan.bottom, _FAR, _FAR)
    floor[:] = plan.floor
    joint = scale_colour(plan.floor, 0.75).tolist()
    rows = np.cumsum(np.geomspace(12, 60, 8)).astype(int)  # tiles grow towards the camera
    for y in rows:
        floor[y : y + 2] = joint
    centre = round(plan.eye[0] - canvas.origin[0])
    for step in range(-8, 9):
        ends = (centre + step * 130, 0), (centre + step * 260, int(rows[-1]))
        cv2.line(floor, *ends, joint, 2, cv2.LINE_AA)


def _paint_fixture(scene: Scene) -> None:
    """Back panel with its uprights, header above, kick plate below."""
    rng, plan, canvas = scene.rng, scene.plan, scene.canvas
    panel = canvas.area(plan.left, plan.top, plan.right, plan.bottom)
    panel[:] = paint_back(rng, plan.back, panel.shape[0], panel.shape[1])
    if plan.top > canvas.origin[1]:
        _paint_header(scene)
    kick = canvas.area(plan.left, plan.bottom, plan.right, plan.bottom + 0.05 * len(canvas.pixels))
    kick[:] = scale_colour(plan.rail_colour, 0.35)
    red, green, blue = (int(0.55 * v + 30) for v in plan.back.colour)
    steel = (red, green, blue)
    for x in [
        plan.left + plan.upright / 2,
        *(right for _, right in plan.bays[:-1]),
        plan.right - plan.upright / 2,
    ]:
        rear = plan.behind(x, 0)[0]
        canvas.area(rear - plan.upright / 2, plan.top, rear + plan.upright / 2, plan.bottom)[:] = steel
        slots = canvas.area(rear - plan.upright * 0.12, plan.top, rear + plan.upright * 0.12, plan.bottom)
        slots[np.arange(len(slots)) % 14 < 8] = scale_colour(steel, 0.35)


def _paint_header(scene: Scene) -> None:
    plan, canvas = scene.plan, scene.canvas
    colour = plan.header if scene.rng.random() < 0.5 else plan.back.colour
    top = plan.top - 0.12 * len(canvas.pixels)
    header = canvas.area(plan.left, top, plan.right, plan.top)
    header[:] = colour
    ink = max(scene.family.inks, key=lambda ink: abs(sum(ink) - sum(colour)))
    size = len(header) / 60
    origin = (int(header.shape[1] * scene.rng.uniform(0.1, 0.5)), int(len(header) * 0.75))
    cv2.putText(
        header,
        made_up_word(scene.rng),
        origin,
        cv2.FONT_HERSHEY_DUPLEX,
        size,
        ink,
        max(1, round(2 * size)),
        cv2.LINE_AA,
    )


def paint_back(rng: np.random.Generator, back: Back, height: int, width: int) -> np.ndarray:
    """A back panel, (height, width, 3) uint8: its material's pattern and some unevenness."""
    size = (max(width, 1), max(height, 1))
    shade = cv2.resize(rng.uniform(0.95, 1.05, (4, 4)).astype(np.float32), size)
    tile = np.ones((1, 1), np.float32)
    if back.material in ("pegboard", "perforated"):
        step = int(rng.integers(16, 26))
        y, x = np.mgrid[:step, :step] - step / 2
        tall = 1 if back.material == "pegboard" else 3
        tile = np.where(x**2 + (y / tall) ** 2 < (0.11 * step) ** 2, 0.72, 1).astype(np.float32)
    elif back.material == "slats":
        tile = np.ones((int(rng.integers(34, 52)), 1), np.float32)
        tile[:3] = 0.72
    elif back.material == "grain":
        tile = cv2.resize(rng.normal(1, 0.035, (1, 200)).astype(np.float32), (600, 1))
    repeats = (-(-size[1] // tile.shape[0]), -(-size[0] // tile.shape[1]))
    shade = shade * np.tile(tile, repeats)[: size[1], : size[0]]
    painted = shade[..., None] * np.array(back.colour, np.float32)
    return np.minimum(painted, 255).astype(np.uint8)[:height, :width]


def _paint_opening(scene: Scene, tier: Tier, shadow: float, light: float) -> None:
    """Darken the panel, most under the shelf above; lay that shelf's under side, the board's upper side."""
    plan, canvas = scene.plan, scene.canvas
    opening = canvas.area(plan.left, tier.top, plan.right, tier.board)
    y = np.linspace(0, 1, len(opening), dtype=np.float32)
    shade = light * (1 - shadow * np.exp(-y / 0.35))
    opening[:] = (opening * shade[:, None, None]).astype(np.uint8)
    above = canvas.area(plan.left, tier.top, plan.right, plan.behind(0, tier.top)[1])
    above[:] = scale_colour(plan.rail_colour, np.linspace(0.3, 0.18, len(above)))
    board = canvas.area(plan.left, plan.behind(0, tier.board)[1], plan.right, tier.board)
    board[:] = scale_colour(plan.rail_colour, light * np.linspace(0.5, 0.85, len(board)))
