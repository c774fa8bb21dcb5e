"""What drawn shelves are made of: two families that share no colour, no back and no pack.

Starter weights are trained on the family `starter`, the demo draws the family `demo`. As the two are
disjoint, a detector that works on the second has learnt what a pack on a shelf looks like, not which packs
there are.
"""

from dataclasses import dataclass

from stocktake.errors import SettingsError

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """Silhouette and build of a pack. All lengths are shares of the pack's own width or height."""

    name: str
    profile: tuple[tuple[float, float], ...]  # (y from the top 0..1, half width 0..0.5), widest point 0.5
    label: tuple[float, float]  # y-range that carries the artwork
    aspect: tuple[float, float]  # width / height
    round: bool  # shaded like a cylinder
    levels: int = 1  # how many may stand on top of each other
    cap: float = 0.0  # share of the height, from the top; below zero: from the bottom
    pillow: bool = False  # creased film, bulging in the middle

    @property
    def straight(self) -> bool:
        """Has flat flanks and a flat top."""
        return not (self.round or self.pillow) and self.profile[0][1] > 0.45


@dataclass(frozen=True, slots=True)
class Back:
    """The panel behind the products."""

    material: str  # panel | pegboard | slats | perforated | grain
    colour: RGB


@dataclass(frozen=True, slots=True)
class Family:
    """Everything a shelf of one family may be drawn from."""

    name: str
    palette: tuple[RGB, ...]
    inks: tuple[RGB, ...]  # caps, text and other neutral parts
    backs: tuple[Back, ...]
    rails: tuple[RGB, ...]
    tags: tuple[RGB, ...]
    floors: tuple[RGB, ...]
    shapes: tuple[Shape, ...]
    designs: tuple[str, ...]  # names of artwork.py
    pictures: tuple[str, ...]


_BOTTLE = Shape(
    "bottle",
    ((0, 0.17), (0.075, 0.17), (0.08, 0.14), (0.17, 0.15), (0.34, 0.46), (0.4, 0.5), (0.96, 0.5), (1, 0.44)),
    label=(0.42, 0.78),
    aspect=(0.29, 0.38),
    round=True,
    cap=0.08,
)
_CAN = Shape(
    "can",
    ((0, 0.42), (0.03, 0.42), (0.09, 0.5), (0.93, 0.5), (0.98, 0.43), (1, 0.43)),
    label=(0.07, 0.95),
    aspect=(0.5, 0.64),
    round=True,
    levels=2,
)
_BOX = Shape("box", ((0, 0.5), (1, 0.5)), label=(0, 1), aspect=(0.55, 0.98), round=False, levels=3)
_BAG = Shape(
    "bag",
    ((0, 0.46), (0.05, 0.45), (0.2, 0.5), (0.8, 0.5), (0.95, 0.45), (1, 0.47)),
    label=(0.06, 0.94),
    aspect=(0.62, 0.82),
    round=False,
    pillow=True,
)
_JAR = Shape(
    "jar",
    ((0, 0.4), (0.16, 0.4), (0.17, 0.37), (0.22, 0.4), (0.3, 0.5), (0.94, 0.5), (1, 0.42)),
    label=(0.36, 0.84),
    aspect=(0.6, 0.82),
    round=True,
    levels=2,
    cap=0.16,
)
_CARTON = Shape(
    "carton",
    ((0, 0.34), (0.05, 0.34), (0.06, 0.3), (0.2, 0.5), (1, 0.5)),
    label=(0.2, 1),
    aspect=(0.4, 0.52),
    round=False,
)
_PUMP = Shape(
    "pump",
    (
        (0, 0.3),
        (0.05, 0.3),
        (0.06, 0.08),
        (0.16, 0.08),
        (0.17, 0.2),
        (0.22, 0.2),
        (0.3, 0.44),
        (0.42, 0.5),
        (1, 0.47),
    ),
    label=(0.36, 0.92),
    aspect=(0.36, 0.46),
    round=True,
    cap=0.22,
)
_TUBE = Shape(
    "tube",
    ((0, 0.5), (0.04, 0.5), (0.3, 0.48), (0.82, 0.4), (0.85, 0.34), (1, 0.33)),
    label=(0.05, 0.8),
    aspect=(0.34, 0.46),
    round=True,
    cap=-0.15,
)
_TUB = Shape(
    "tub",
    ((0, 0.5), (0.17, 0.5), (0.18, 0.465), (1, 0.39)),
    label=(0.24, 0.94),
    aspect=(0.95, 1.35),
    round=True,
    levels=3,
    cap=0.17,
)
_POUCH = Shape(
    "pouch",
    ((0, 0.5), (0.1, 0.48), (0.55, 0.46), (0.88, 0.49), (0.96, 0.44), (1, 0.38)),
    label=(0.12, 0.9),
    aspect=(0.58, 0.76),
    round=False,
    pillow=True,
)
_BRICK = Shape(
    "brick",
    ((0, 0.46), (0.05, 0.5), (0.95, 0.5), (1, 0.46)),
    label=(0, 1),
    aspect=(1.05, 1.5),
    round=False,
    levels=4,
)

DEMO = Family(
    name="demo",
    palette=(
        (200, 22, 36), (228, 92, 28), (242, 182, 24), (30, 122, 58), (122, 184, 48), (18, 74, 158),
        (46, 146, 214), (98, 40, 130), (84, 46, 26), (30, 32, 38), (238, 236, 230), (216, 60, 120),
        (20, 128, 128), (176, 138, 70),
    ),
    inks=((250, 250, 248), (22, 22, 26), (186, 26, 32), (198, 202, 206)),
    backs=(
        Back("panel", (236, 236, 232)),
        Back("panel", (52, 54, 58)),
        Back("panel", (150, 156, 160)),
        Back("pegboard", (214, 206, 188)),
        Back("pegboard", (128, 134, 142)),
        Back("pegboard", (62, 58, 56)),
    ),
    rails=((226, 228, 228), (60, 66, 74), (196, 30, 38), (176, 180, 184)),
    tags=((252, 252, 250), (252, 222, 40), (236, 70, 40)),
    floors=((170, 160, 142), (196, 198, 196), (120, 118, 114)),
    shapes=(_BOTTLE, _CAN, _BOX, _BAG, _JAR),
    designs=("banner", "roundel", "diagonal", "halves"),
    pictures=("cluster", "burst"),
)  # fmt: skip
STARTER = Family(
    name="starter",
    palette=(
        (148, 16, 72), (250, 128, 96), (214, 152, 12), (64, 88, 30), (168, 214, 150), (44, 52, 112),
        (142, 196, 232), (158, 108, 190), (128, 88, 64), (66, 70, 80), (252, 248, 214), (250, 176, 198),
        (0, 98, 92), (226, 206, 164),
    ),
    inks=((240, 244, 236), (44, 40, 60), (12, 104, 140), (168, 160, 148)),
    backs=(
        Back("grain", (190, 160, 124)),
        Back("grain", (92, 66, 46)),
        Back("slats", (206, 214, 218)),
        Back("slats", (30, 30, 34)),
        Back("perforated", (168, 178, 172)),
        Back("perforated", (82, 92, 104)),
    ),
    rails=((246, 244, 232), (24, 60, 110), (128, 120, 108), (44, 108, 62)),
    tags=((238, 246, 252), (170, 226, 110), (255, 170, 60)),
    floors=((142, 120, 98), (216, 208, 196), (92, 98, 106)),
    shapes=(_CARTON, _PUMP, _TUBE, _TUB, _POUCH, _BRICK),
    designs=("column", "frame", "waves", "dots"),
    pictures=("leaf", "rings"),
)  # fmt: skip

FAMILIES = {family.name: family for family in (DEMO, STARTER)}


def get_family(name: str) -> Family:
    """Look a family up; raises SettingsError when there is none of that name."""
    if name not in FAMILIES:
        raise SettingsError(f"family is {name!r}; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
