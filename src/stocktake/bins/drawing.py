"""Paints a report below its photo."""

import cv2
import numpy as np

from stocktake.bins.counter import BinReport
from stocktake.images import Pixels

WIDTH = 640  # px of the picture
ROW = 30  # px of a line of text or a bar
PAPER, INK, FAINT = (250, 250, 250), (35, 35, 40), (190, 195, 205)  # RGB
COLOURS = {"accept": (40, 150, 80), "reject": (225, 30, 45), "ask": (235, 150, 0)}
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_report(photo: Pixels, report: BinReport) -> Pixels:
    """The photo, the count and the verdict in a sentence, and a bar for the probability of each count.

    Args:
        photo: (H, W, 3) uint8 RGB, upright.
        report: what a counter said about it.

    Returns:
        (H', 640, 3) uint8 RGB.
    """
    height = round(photo.shape[0] * WIDTH / photo.shape[1])
    rows = len(report.classes) + 2
    canvas = np.full((height + rows * ROW, WIDTH, 3), PAPER, np.uint8)
    canvas[:height] = cv2.resize(photo, (WIDTH, height), interpolation=cv2.INTER_AREA)
    colour = COLOURS.get(report.verdict or "", INK)
    _write(canvas, _sentence(report), 12, height + ROW, colour, 0.75)
    for row, (count, probability) in enumerate(zip(report.classes, report.probabilities, strict=True)):
        top = height + round((row + 1.5) * ROW)
        bar = colour if count == report.expected_quantity else INK if count == report.count else FAINT
        end = 50 + round(float(probability) * (WIDTH - 150))
        cv2.rectangle(canvas, (50, top + 4), (end, top + ROW - 6), bar, -1)
        _write(canvas, str(count), 20, top + ROW - 8, INK, 0.6)
        _write(canvas, f"{probability:.2f}", end + 8, top + ROW - 8, INK, 0.55)
    return canvas


def _sentence(report: BinReport) -> str:
    if report.verdict is None:
        return f"{report.count} items"
    return f"recorded {report.expected_quantity}, counted {report.count}: {report.verdict}"


def _write(
    canvas: Pixels, text: str, left: int, bottom: int, colour: tuple[int, int, int], scale: float
) -> None:
    cv2.putText(canvas, text, (left, bottom), FONT, scale, colour, 2 if scale > 0.7 else 1, cv2.LINE_AA)
