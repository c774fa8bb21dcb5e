"""Draws packs: silhouette, artwork, shading. A pack is an (h, w, 4) uint8 RGBA sprite that fills its rectangle."""

import cv2
import numpy as np

from stocktake.synthetic.families import RGB, Family, Shape

_OVERSAMPLING = 2
_ROLL = 0.25  # a round pack shows a window of a wider texture: this share of its width may be turned away
_CONSONANTS, _VOWELS = "BCDFGKLMNPRSTVZ", "AEIOU"
_FONTS = (
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
)


def draw_packs(
    rng: np.random.Generator, family: Family, shape: Shape, width: int, height: int, variants: int
) -> list[np.ndarray]:
    """Sprites of one product: same artwork, each turned a little, as identical facings are on a shelf."""
    size = (max(width, 6) * _OVERSAMPLING, max(height, 8) * _OVERSAMPLING)
    wide = (round(size[0] * (1 + _ROLL)), size[1]) if shape.round else size
    texture = _draw_artwork(rng, family, shape, wide)
    mask = _silhouette(shape, size)
    shading, gloss = _shading(rng, shape, size)
    sprites = []
    for _ in range(variants):
        turn = int(rng.integers(0, wide[0] - size[0] + 1))
        lit = texture[:, turn : turn + size[0]].astype(np.float32) * shading[..., None] + gloss[..., None]
        rgba = np.dstack([np.clip(lit, 0, 255), mask * 255.0]).astype(np.uint8)
        sprites.append(cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA))
    return sprites


def _silhouette(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    y, half = np.array(shape.profile).T
    half_width = np.interp(np.linspace(0, 1, size[1]), y, half)
    x = (np.arange(size[0]) + 0.5) / size[0] - 0.5
    return np.abs(x)[None, :] <= half_width[:, None]


def _shading(rng: np.random.Generator, shape: Shape, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1])
    light = rng.uniform(-0.4, 0.4)
    if shape.round:
        shade = 0.5 + 0.55 * np.sqrt(np.clip(1 - (0.92 * x) ** 2, 0, 1)) * (1 + 0.25 * light * x)
        gloss = rng.uniform(10, 60) * np.exp(-(((x - light) / 0.14) ** 2))
        return np.tile(shade, (size[1], 1)), np.tile(gloss, (size[1], 1))
    edge = 1 - 0.22 * np.maximum(np.abs(x)[None, :] ** 12, np.abs(y)[:, None] ** 16)
    shade, gloss = edge * (1 + 0.12 * light * x)[None, :], np.zeros((size[1], size[0]))
    if shape.pillow:
        shade = (
            0.7 + 0.36 * np.sqrt(np.clip(1 - (0.9 * x) ** 2, 0, 1))[None, :] * np.sqrt(1.05 - y**2)[:, None]
        )
        creases = cv2.resize(rng.normal(0, 1, (9, 5)), size, interpolation=cv2.INTER_CUBIC)
        shade = shade * (1 + 0.07 * creases)
        gloss = 26 * np.clip(creases - 0.7, 0, 1)
    return shade, gloss


def _draw_artwork(
    rng: np.random.Generator, family: Family, shape: Shape, size: tuple[int, int]
) -> np.ndarray:
    w, h = size
    base, accent, third = (family.palette[i] for i in rng.choice(len(family.palette), 3, replace=False))
    ink = family.inks[int(rng.integers(len(family.inks)))]
    body = base if rng.random() < 0.6 or shape.label == (0, 1) else ink
    art = np.full((h, w, 3), body, np.uint8)
    top, bottom = (round(v * h) for v in shape.label)
    label = art[top:bottom]
    label[:] = base
    design = family.designs[int(rng.integers(len(family.designs)))]
    _DESIGNS[design](label, rng, accent, third)
    _print_brand(label, rng, accent if design in _TEXT_ON_ACCENT else base, family.inks)
    if shape.cap > 0:
        art[: round(shape.cap * h)] = third
    elif shape.cap < 0:
        art[round((1 + shape.cap) * h) :] = third
    if shape.pillow:
        art[: round(0.05 * h) : 3] = (np.array(base) * 0.6).astype(np.uint8)
    return art


def _banner(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h = len(label)
    top = int(h * rng.uniform(0.2, 0.35))
    label[top : top + int(h * 0.32)] = accent
    label[-int(h * rng.uniform(0.08, 0.18)) :] = third


def _roundel(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h, w = label.shape[:2]
    centre = (w // 2, int(h * 0.4))
    cv2.ellipse(
        label, centre, (int(w * 0.42), int(h * rng.uniform(0.2, 0.32))), 0, 0, 360, third, -1, cv2.LINE_AA
    )
    cv2.ellipse(label, centre, (int(w * 0.38), int(h * 0.18)), 0, 0, 360, accent, -1, cv2.LINE_AA)


def _diagonal(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h, w = label.shape[:2]
    slope, start = int(w * rng.uniform(0.5, 1.1)), int(h * rng.uniform(0.15, 0.4))
    for offset, thick, colour in ((0, 0.34, accent), (0.42, 0.1, third)):
        y = start + int(offset * h)
        band = np.array(
            [
                (0, y + slope // 2),
                (w, y - slope // 2),
                (w, y - slope // 2 + int(thick * h)),
                (0, y + slope // 2 + int(thick * h)),
            ]
        )
        cv2.fillPoly(label, [band], colour, cv2.LINE_AA)


def _halves(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h, w = label.shape[:2]
    label[: int(h * rng.uniform(0.4, 0.6))] = accent
    cv2.circle(
        label, (int(w * rng.uniform(0.3, 0.7)), int(h * 0.72)), int(min(w, h) * 0.2), third, -1, cv2.LINE_AA
    )


def _column(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    w = label.shape[1]
    left = int(w * rng.uniform(0.1, 0.3))
    label[:, left : left + int(w * 0.45)] = accent
    label[:, left + int(w * 0.48) : left + int(w * 0.55)] = third


def _frame(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h, w = label.shape[:2]
    pad = int(min(w, h) * rng.uniform(0.08, 0.14))
    label[pad : h - pad, pad : w - pad] = accent
    cv2.rectangle(label, (2 * pad, int(h * 0.62)), (w - 2 * pad, h - 2 * pad), third, -1)


def _waves(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h, w = label.shape[:2]
    x = np.arange(w)
    wave = np.sin(x / w * rng.uniform(5, 9) + rng.uniform(0, 6)) * h * 0.06
    rows = np.arange(h)[:, None]
    label[rows > h * 0.5 + wave] = accent
    label[rows > h * 0.78 - wave] = third


def _dots(label: np.ndarray, rng: np.random.Generator, accent: RGB, third: RGB) -> None:
    h, w = label.shape[:2]
    step = max(int(w * rng.uniform(0.2, 0.34)), 6)
    for row, y in enumerate(range(step // 2, h, step)):
        for x in range(step // 2 + (row % 2) * step // 2, w, step):
            cv2.circle(label, (x, y), int(step * 0.26), third, -1, cv2.LINE_AA)
    label[int(h * 0.24) : int(h * 0.54)] = accent


_DESIGNS = {
    "banner": _banner, "roundel": _roundel, "diagonal": _diagonal, "halves": _halves,
    "column": _column, "frame": _frame, "waves": _waves, "dots": _dots,
}  # fmt: skip
_TEXT_ON_ACCENT = {"banner", "roundel", "diagonal", "halves", "frame", "dots"}


def _print_brand(label: np.ndarray, rng: np.random.Generator, behind: RGB, inks: tuple[RGB, ...]) -> None:
    """Print a made-up brand name, a few lines that read as small text, and sometimes a bar code."""
    h, w = label.shape[:2]
    ink = max(inks, key=lambda colour: float(np.abs(np.subtract(colour, behind)).sum()))
    syllables = int(rng.integers(2, 4))
    word = "".join(rng.choice(list(_CONSONANTS)) + rng.choice(list(_VOWELS)) for _ in range(syllables))
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    (text_w, text_h), _ = cv2.getTextSize(word, font, 1, 2)
    scale = min(0.84 * w / text_w, 0.22 * h / text_h)
    origin = (int((w - text_w * scale) / 2), int(h * rng.uniform(0.36, 0.46) + text_h * scale / 2))
    cv2.putText(label, word, origin, font, scale, ink, max(1, round(scale * 3)), cv2.LINE_AA)
    for i in range(int(rng.integers(2, 5))):
        y = int(h * (0.6 + 0.08 * i))
        x = int(w * rng.uniform(0.12, 0.3))
        cv2.line(label, (x, y), (int(x + w * rng.uniform(0.25, 0.5)), y), ink, max(1, h // 70))
