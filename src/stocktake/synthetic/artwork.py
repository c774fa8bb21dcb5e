"""What is printed on packs: a design in three colours, a picture, a made-up brand, small print."""

from collections.abc import Callable

import cv2
import numpy as np

from stocktake.synthetic.families import RGB, Family

Colours = tuple[RGB, RGB, RGB]  # base, accent, third
Place = tuple[RGB, float]  # colour behind the brand name, and its height as a share of the label's
_CONSONANTS, _VOWELS = "BCDFGKLMNPRSTVZ", "AEIOU"
_FONTS = (
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
)


def print_label(rng: np.random.Generator, family: Family, label: np.ndarray, colours: Colours) -> None:
    """Print a label, (h, w, 3) uint8, in place."""
    label[:] = colours[0]
    design = family.designs[int(rng.integers(len(family.designs)))]
    behind, height = _DESIGNS[design](rng, label, colours)
    picture = family.pictures[int(rng.integers(len(family.pictures)))]
    other = family.palette[int(rng.integers(len(family.palette)))]
    _PICTURES[picture](rng, label, (colours[1], colours[2], other), 0.76 if height < 0.6 else 0.25)
    ink = max(family.inks, key=lambda colour: float(np.abs(np.subtract(colour, behind)).sum()))
    _print_brand(rng, label, ink, height)
    _print_lines(rng, label, ink, min(height + 0.14, 0.9))
    if rng.random() < 0.5:
        _print_lines(rng, label, ink, 0.9)


def made_up_word(rng: np.random.Generator) -> str:
    """A name of two or three syllables."""
    pairs = zip(rng.integers(len(_CONSONANTS), size=3), rng.integers(len(_VOWELS), size=3), strict=True)
    syllables = [_CONSONANTS[c] + _VOWELS[v] for c, v in pairs]
    return "".join(syllables[: int(rng.integers(2, 4))])


def _print_brand(rng: np.random.Generator, label: np.ndarray, ink: RGB, height: float) -> None:
    upright = label.shape[0] > 2.3 * label.shape[1] and rng.random() < 0.4
    panel = np.ascontiguousarray(np.rot90(label, -1)) if upright else label
    h, w = panel.shape[:2]
    if upright:
        height = 0.5
    word = made_up_word(rng)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    (text_w, text_h), _ = cv2.getTextSize(word, font, 1, 2)
    scale = min(rng.uniform(0.6, 0.86) * w / text_w, (0.4 if upright else 0.2) * h / text_h)
    origin = (int((w - text_w * scale) / 2), int(h * height + text_h * scale / 2))
    cv2.putText(panel, word, origin, font, scale, ink, max(1, round(scale * 3)), cv2.LINE_AA)
    if upright:
        label[:] = np.rot90(panel)


def _print_lines(rng: np.random.Generator, label: np.ndarray, ink: RGB, top: float) -> None:
    """A few lines of small print: words are dashes."""
    h, w = label.shape[:2]
    pitch, letter = max(4, h // 26), max(2, w // 24)
    left, right = int(w * rng.uniform(0.1, 0.25)), int(w * rng.uniform(0.6, 0.9))
    for y in range(int(h * top), min(int(h * top) + pitch * int(rng.integers(1, 4)), h - pitch), pitch):
        dashes = np.repeat(rng.random((right - left) // letter + 1) < 0.75, letter)[: right - left]
        line = label[y : y + max(1, pitch // 2), left:right]
        line[:, dashes] = ink


def _banner(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    h = len(label)
    top = rng.uniform(0.14, 0.34)
    label[int(h * top) : int(h * (top + 0.3))] = colours[1]
    label[-int(h * rng.uniform(0.08, 0.18)) :] = colours[2]
    return colours[1], top + 0.15


def _roundel(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    h, w = label.shape[:2]
    height = rng.uniform(0.34, 0.5)
    centre, tall = (w // 2, int(h * height)), int(min(h * rng.uniform(0.18, 0.28), w))
    cv2.ellipse(label, centre, (int(w * 0.46), tall), 0, 0, 360, colours[2], -1, cv2.LINE_AA)
    cv2.ellipse(label, centre, (int(w * 0.41), int(tall * 0.85)), 0, 0, 360, colours[1], -1, cv2.LINE_AA)
    return colours[1], height


def _diagonal(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    h, w = label.shape[:2]
    rise, start = w * rng.uniform(-0.5, 0.5), rng.uniform(0.12, 0.3)
    for offset, thick, colour in ((start, 0.34, colours[1]), (start + 0.4, 0.09, colours[2])):
        top, bottom = h * offset, h * (offset + thick)
        corners = [(0, top + rise), (w, top - rise), (w, bottom - rise), (0, bottom + rise)]
        cv2.fillPoly(label, [np.array(corners).astype(int)], colour, cv2.LINE_AA)
    return colours[1], start + 0.17


def _halves(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    edge = rng.uniform(0.4, 0.6)
    label[: int(len(label) * edge)] = colours[1]
    label[int(len(label) * edge) : int(len(label) * (edge + 0.05))] = colours[2]
    return colours[1], edge * 0.55


def _column(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    w = label.shape[1]
    left = int(w * rng.uniform(0.04, 0.2))
    label[:, left : left + int(w * 0.55)] = colours[1]
    label[:, left + int(w * 0.6) : left + int(w * 0.68)] = colours[2]
    return colours[1], rng.uniform(0.3, 0.6)


def _frame(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    h, w = label.shape[:2]
    pad = int(min(w, h) * rng.uniform(0.06, 0.12))
    label[pad : h - pad, pad : w - pad] = colours[1]
    cv2.rectangle(label, (2 * pad, int(h * 0.62)), (w - 2 * pad, h - 2 * pad), colours[2], -1)
    return colours[1], rng.uniform(0.26, 0.46)


def _waves(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    h, w = label.shape[:2]
    wave = np.sin(np.linspace(0, rng.uniform(4, 9), w) + rng.uniform(0, 6)) * h * 0.06
    rows = np.arange(h)[:, None]
    label[rows > h * 0.5 + wave] = colours[1]
    label[rows > h * 0.78 - wave] = colours[2]
    return colours[0], rng.uniform(0.2, 0.36)


def _dots(rng: np.random.Generator, label: np.ndarray, colours: Colours) -> Place:
    h, w = label.shape[:2]
    step = max(int(w * rng.uniform(0.2, 0.34)), 6)
    for row, y in enumerate(range(step // 2, h, step)):
        for x in range(step // 2 + (row % 2) * step // 2, w, step):
            cv2.circle(label, (x, y), int(step * 0.26), colours[2], -1, cv2.LINE_AA)
    top = rng.uniform(0.2, 0.5)
    label[int(h * top) : int(h * (top + 0.3))] = colours[1]
    return colours[1], top + 0.15


def _cluster(rng: np.random.Generator, label: np.ndarray, colours: Colours, height: float) -> None:
    """A heap of fruit."""
    h, w = label.shape[:2]
    size = min(w, h) * rng.uniform(0.1, 0.16)
    for _ in range(int(rng.integers(3, 7))):
        x, y = w * rng.uniform(0.25, 0.75), h * height + size * rng.uniform(-1, 1)
        colour = colours[int(rng.integers(len(colours)))]
        cv2.circle(label, (int(x), int(y)), int(size), colour, -1, cv2.LINE_AA)
        glint = (int(x - size * 0.3), int(y - size * 0.35))
        cv2.circle(label, glint, max(1, int(size * 0.25)), (250, 250, 248), -1, cv2.LINE_AA)


def _burst(rng: np.random.Generator, label: np.ndarray, colours: Colours, height: float) -> None:
    """A star that shouts an offer."""
    h, w = label.shape[:2]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = min(w, h) * rng.uniform(0.16, 0.26) * np.where(np.arange(24) % 2, 0.72, 1)
    centre = np.array([w * rng.uniform(0.25, 0.75), h * height])
    star = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(label, [star.astype(int)], colours[2], cv2.LINE_AA)


def _leaf(rng: np.random.Generator, label: np.ndarray, colours: Colours, height: float) -> None:
    """Leaves on a stem."""
    h, w = label.shape[:2]
    size, x = min(w, h) * rng.uniform(0.14, 0.22), w * rng.uniform(0.35, 0.65)
    for side in (-1, 1):
        for step in range(2):
            centre = (int(x + side * size * 0.8), int(h * height + (step - 0.5) * size))
            axes = (int(size), int(size * 0.4))
            cv2.ellipse(label, centre, axes, -side * 35, 0, 360, colours[step + 1], -1, cv2.LINE_AA)


def _rings(rng: np.random.Generator, label: np.ndarray, colours: Colours, height: float) -> None:
    """Rings within each other."""
    h, w = label.shape[:2]
    size, centre = min(w, h) * rng.uniform(0.2, 0.3), (int(w * rng.uniform(0.3, 0.7)), int(h * height))
    for share, colour in zip((1, 0.7, 0.35), (colours[2], colours[1], colours[2]), strict=True):
        cv2.circle(label, centre, max(1, int(size * share)), colour, -1, cv2.LINE_AA)


_DESIGNS: dict[str, Callable[[np.random.Generator, np.ndarray, Colours], Place]] = {
    "banner": _banner, "roundel": _roundel, "diagonal": _diagonal, "halves": _halves,
    "column": _column, "frame": _frame, "waves": _waves, "dots": _dots,
}  # fmt: skip
_PICTURES: dict[str, Callable[[np.random.Generator, np.ndarray, Colours, float], None]] = {
    "cluster": _cluster, "burst": _burst, "leaf": _leaf, "rings": _rings,
}  # fmt: skip
