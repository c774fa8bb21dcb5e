"""Paints a report onto its photo."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageText

from stocktake.shelf.report import ShelfReport, Void
from stocktake.void_kinds import LOW_STOCK

PRODUCT = (90, 220, 120)  # RGB
ALARM = (225, 30, 45)
LOW = (235, 150, 0)
WHITE = (255, 255, 255)
VEIL = 77  # how much of its colour a void takes, of 255

Rectangle = tuple[int, int, int, int]


def draw_report(photo: NDArray[np.uint8], report: ShelfReport) -> NDArray[np.uint8]:
    """A copy of `photo` with thin product boxes and bold, labelled voids.

    Lines and letters grow with the photo, so that they can be read at any size, and after it is scaled to a
    page. Voids are red, low stock is orange.

    Args:
        photo: (H, W, 3) uint8 RGB, upright: the frame of the report's boxes.
        report: what a detector said about it.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = Image.fromarray(photo)
    pen = ImageDraw.Draw(canvas, "RGBA")  # what is drawn may be seen through
    unit = max(canvas.size) / 1000  # px of the photo per thousandth of its long side
    for box in report.boxes:
        pen.rectangle(_pixels(box), outline=PRODUCT, width=max(1, round(1.2 * unit)))
    for void in report.voids:
        colour = _colour(void)
        pen.rectangle(_pixels(void.box), (*colour, VEIL), colour, max(2, round(3 * unit)))
    labels: list[Rectangle] = []
    for void in report.voids:  # above all boxes
        labels.append(_draw_label(pen, canvas.size, void, unit, labels))
    return np.array(canvas)


def _draw_label(
    pen: ImageDraw.ImageDraw, photo: tuple[int, int], void: Void, unit: float, taken: list[Rectangle]
) -> Rectangle:
    """Write tier, position and facings at a void of a photo (W, H) px. Returns the label's rectangle."""
    found = f"{void.facings} {'low' if void.kind == LOW_STOCK else 'missing'} {void.confidence:.0%}"
    letter = max(12, round(9 * unit))  # px of a capital's height, which is two thirds of the font's
    margin = round(letter * 0.4)
    font = ImageFont.load_default(1.5 * letter)
    text = ImageText.Text(f"tier {void.tier} pos {void.position}\n{found}", font, spacing=margin)
    text.stroke(letter / 40)  # bolder
    right, bottom = text.get_bbox((margin, margin))[2:]
    width, height = round(right + margin), round(bottom + margin)
    x, y = _place(photo, void, width, height, taken)
    pen.rectangle((x, y, x + width, y + height), _colour(void))
    pen.text((x + margin, y + margin), text, WHITE)
    return x, y, x + width, y + height


def _place(
    photo: tuple[int, int], void: Void, width: int, height: int, taken: list[Rectangle]
) -> tuple[int, int]:
    """Left and top of a label: over the void, or up to three labels lower where others are in the way."""
    x1, y1, x2, _ = _pixels(void.box)
    left = int(np.clip((x1 + x2 - width) // 2, 0, max(photo[0] - width, 0)))
    bottom = max(photo[1] - height, 0)
    first = int(np.clip(y1 - height, 0, bottom))
    for top in range(first, min(first + 3 * height, bottom) + 1, height):
        if not any(left < x and a < left + width and top < y and b < top + height for a, b, x, y in taken):
            return left, top
    return left, first


def _colour(void: Void) -> tuple[int, int, int]:
    return LOW if void.kind == LOW_STOCK else ALARM


def _pixels(box: NDArray[np.float32] | tuple[float, float, float, float]) -> Rectangle:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, x2, y2
