"""Paints a report onto its photo."""

import cv2
import numpy as np

from stocktake.images import Pixels
from stocktake.shelf.report import ShelfReport
from stocktake.shelf.voids import Void
from stocktake.void_kinds import LOW_STOCK

PRODUCT = (90, 220, 120)  # RGB
ALARM = (225, 30, 45)
LOW = (235, 150, 0)
WHITE = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX

Rectangle = tuple[int, int, int, int]


def draw_report(photo: Pixels, report: ShelfReport) -> Pixels:
    """A copy of `photo` with thin product boxes and bold, labelled voids.

    Lines and letters grow with the photo, so that they can be read at any size, and after it is scaled to a
    page. Voids are red, low stock is orange.

    Args:
        photo: (H, W, 3) uint8 RGB, upright: the frame of the report's boxes.
        report: what a detector said about it.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = photo.copy()
    unit = max(photo.shape[:2]) / 1000  # px of the photo per thousandth of its long side
    for box in report.boxes:
        x1, y1, x2, y2 = _pixels(box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), PRODUCT, max(1, round(1.2 * unit)))
    labels: list[Rectangle] = []
    for void in report.voids:
        x1, y1, x2, y2 = _pixels(void.box)
        colour = LOW if void.kind == LOW_STOCK else ALARM
        area = canvas[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        area[:] = (0.7 * area + 0.3 * np.array(colour)).astype(np.uint8)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, max(2, round(3 * unit)))
    for void in report.voids:  # above all boxes
        labels.append(_draw_label(canvas, void, unit, labels))
    return canvas


def _draw_label(canvas: Pixels, void: Void, unit: float, taken: list[Rectangle]) -> Rectangle:
    """Write tier, position and facings at a void. Returns the label's rectangle."""
    lines = [
        f"tier {void.tier} pos {void.position}",
        f"{void.facings} {'low' if void.kind == LOW_STOCK else 'missing'} {void.confidence:.0%}",
    ]
    letter = max(12, round(9 * unit))  # px of a capital's height; the font's is 21 at scale 1
    scale, stroke, margin = letter / 21, max(2, round(letter / 9)), round(letter * 0.4)
    width = max(cv2.getTextSize(line, FONT, scale, stroke)[0][0] for line in lines) + 2 * margin
    height = len(lines) * round(letter * 1.5) + margin
    left, top = _place(canvas, void, width, height, taken)
    colour = LOW if void.kind == LOW_STOCK else ALARM
    cv2.rectangle(canvas, (left, top), (left + width, top + height), colour, cv2.FILLED)
    for number, line in enumerate(lines, start=1):
        origin = (left + margin, top + number * round(letter * 1.5))
        cv2.putText(canvas, line, origin, FONT, scale, WHITE, stroke, cv2.LINE_AA)
    return left, top, left + width, top + height


def _place(canvas: Pixels, void: Void, width: int, height: int, taken: list[Rectangle]) -> tuple[int, int]:
    """Left and top of a label: over the void, or up to three labels lower where others are in the way."""
    x1, y1, x2, _ = _pixels(void.box)
    left = int(np.clip((x1 + x2 - width) // 2, 0, max(canvas.shape[1] - width, 0)))
    bottom = max(canvas.shape[0] - height, 0)
    first = int(np.clip(y1 - height, 0, bottom))
    for top in range(first, min(first + 3 * height, bottom) + 1, height):
        if not any(left < x and a < left + width and top < y and b < top + height for a, b, x, y in taken):
            return left, top
    return left, first


def _pixels(box: "np.ndarray | tuple[float, float, float, float]") -> Rectangle:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, x2, y2
