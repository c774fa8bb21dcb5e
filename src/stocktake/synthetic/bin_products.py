"""What drawn bins hold: cartons, books, bottles, bags, mailers; each product has its own size and artwork."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stocktake.synthetic.artwork import made_up_word
from stocktake.synthetic.bin_settings import BinDrawSettings
from stocktake.synthetic.families import DEMO, STARTER, Family, Shape

BIN_INCHES = 18.0  # width of a bin's mouth
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of product: how it is built, how it is printed, which way it stands."""

    noun: str
    share: float  # of all products
    shape: Shape
    prints: tuple[str, ...]
    aspects: tuple[float, float]  # width / height of its front as it stands in the bin
    scale: float = 1.0  # of its front, beside settings.item_size


@dataclass(frozen=True, slots=True)
class Product:
    """A product (SKU). Lengths are in widths of the bin's mouth, the depth as a share of the bin's depth."""

    asin: str
    name: str
    kind: Kind
    family: Family
    width: float
    height: float
    depth: float
    wrapped: bool
    artwork: int  # seed of what is printed on it

    @property
    def stackable(self) -> bool:
        """Lies flat and carries others."""
        return self.kind.shape.straight

    @property
    def slim(self) -> bool:
        """Would lean when nothing holds it."""
        return self.kind.shape.straight and self.width < 0.45 * self.height

    def scaled(self, factor: float) -> Product:
        """The same product, smaller or larger."""
        return replace(
            self, width=self.width * factor, height=self.height * factor, depth=self.depth * factor
        )


_PRINTED = replace(
    DEMO,
    name="printed",
    palette=DEMO.palette + STARTER.palette,
    designs=DEMO.designs + STARTER.designs,
    pictures=DEMO.pictures + STARTER.pictures,
)
_CARDBOARD = replace(
    _PRINTED,
    name="cardboard",
    palette=((158, 120, 84), (150, 112, 76), (166, 130, 94), (140, 104, 72), (172, 138, 104)),
    inks=((160, 122, 86), (54, 44, 40), (30, 60, 110), (140, 40, 36)),
    designs=("banner", "halves", "frame"),
    pictures=("rings", "burst"),
)
_DARK = replace(
    _PRINTED,
    name="dark",
    palette=((34, 34, 38), (46, 44, 50), (28, 32, 46), (60, 56, 56), (40, 30, 30)),
    inks=((38, 38, 42), (228, 228, 224), (190, 60, 50), (120, 150, 190)),
)
_FILM = replace(
    _PRINTED,
    name="film",
    palette=((208, 206, 200), (190, 190, 188), (222, 218, 206), (176, 180, 186)),
    inks=((214, 212, 206), (70, 72, 78), (36, 60, 120), (200, 196, 188)),
    designs=("banner", "halves", "waves"),
)
_PRINTS = {family.name: family for family in (_PRINTED, _CARDBOARD, _DARK, _FILM)}
_SHAPES = {shape.name: shape for shape in DEMO.shapes + STARTER.shapes}

KINDS = (
    Kind("box", 0.22, _SHAPES["box"], ("printed", "printed", "dark", "film"), (0.5, 1.5)),
    Kind("carton", 0.14, _SHAPES["box"], ("cardboard",), (0.6, 1.9), 1.15),
    Kind("flat box", 0.1, _SHAPES["box"], ("printed", "cardboard", "dark"), (1.8, 3.2), 0.9),
    Kind("book", 0.1, _SHAPES["box"], ("printed", "dark", "film"), (0.22, 0.4), 0.85),
    Kind("bottle", 0.07, _SHAPES["bottle"], ("printed", "dark"), (0.29, 0.38), 0.8),
    Kind("pump bottle", 0.04, _SHAPES["pump"], ("printed", "film"), (0.36, 0.46), 0.8),
    Kind("jar", 0.05, _SHAPES["jar"], ("printed", "dark"), (0.6, 0.82), 0.8),
    Kind("can", 0.05, _SHAPES["can"], ("printed", "dark"), (0.5, 0.64), 0.8),
    Kind("bag", 0.12, _SHAPES["bag"], ("printed", "film", "dark"), (0.75, 1.5)),
    Kind("pouch", 0.06, _SHAPES["pouch"], ("printed", "film"), (0.6, 0.9)),
    Kind("mailer", 0.05, _SHAPES["bag"], ("film", "cardboard"), (1.2, 2.0), 1.1),
)


def draw_product(rng: np.random.Generator, settings: BinDrawSettings, opening: float) -> Product:
    """Make a product up that fits a bin whose mouth is `opening` widths high."""
    kind = KINDS[int(rng.choice(len(KINDS), p=[kind.share for kind in KINDS]))]
    size = rng.uniform(*settings.item_size) * kind.scale
    stretch = np.sqrt(rng.uniform(*kind.aspects))
    width, height = size * stretch, size / stretch
    fit = min(1.0, 0.9 / width, 0.88 * opening / height)
    words = " ".join(made_up_word(rng).title() for _ in range(2))
    return Product(
        asin="B0" + "".join(_LETTERS[i] for i in rng.integers(len(_LETTERS), size=8)),
        name=f"{words} {kind.noun.title()}, {rng.integers(1, 25)} Count",
        kind=kind,
        family=_PRINTS[kind.prints[int(rng.integers(len(kind.prints)))]],
        width=width * fit,
        height=height * fit,
        depth=float(width * fit if kind.shape.round else rng.uniform(0.2, 0.55)),
        wrapped=bool(rng.random() < settings.wrapped),
        artwork=int(rng.integers(2**31)),
    )
