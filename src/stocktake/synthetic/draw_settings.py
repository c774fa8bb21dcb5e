"""The knobs of drawn shelves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stocktake.errors import SettingsError
from stocktake.synthetic.families import get_family
from stocktake.synthetic.knobs import Range, apply_preset, check_knobs


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """What drawn photos look like; every range is (lowest, highest) and drawn from uniformly per photo.

    The defaults are the difficulty `default`; `DrawSettings.preset` gives the others.
    """

    family: str = "demo"
    width: int = 960
    height: int = 1280
    landscape: float = 0.25  # share of photos with width and height swapped
    tiers: tuple[int, int] = (5, 7)
    bays: tuple[int, int] = (1, 2)
    voids: tuple[int, int] = (1, 5)  # runs of missing facings per photo, low stock included
    void_facings: tuple[float, ...] = (0.4, 0.3, 0.18, 0.12)  # chance that a run is 1, 2, 3, 4 facings
    low_stock: float = 0.2  # share of runs with stock set back on the shelf
    edge_voids: float = 0.15  # share of runs put at the end of a bay or at the photo's border
    empty_tier: float = 0.08  # share of photos with one tier sold out
    stacked: float = 0.35  # share of stackable blocks that are stacked
    back_rows: float = 0.5  # share of blocks with a visible second row
    facings: tuple[int, int] = (2, 7)  # identical facings side by side
    widest: float = 0.13  # widest pack, share of the photo's shorter side
    spacing: Range = (0.0, 0.06)  # between facings, in pack widths
    block_gap: Range = (0.0, 0.25)  # between blocks, in pack widths
    tilt: float = 2.5  # degrees, either way
    keystone: float = 0.07  # change of scale across the photo, either way
    depth: Range = (0.07, 0.15)  # of the boards, as the share by which their rear edge seems shorter
    shadow: Range = (0.35, 0.8)  # under the shelf above
    panel_light: Range = (0.4, 0.95)  # what of the light reaches the panel behind the packs
    lighting: float = 0.2  # unevenness across the photo, and cast of colour
    blur: Range = (0.0, 1.1)  # px
    noise: Range = (1.0, 6.0)  # grey levels
    jpeg_quality: tuple[int, int] = (62, 93)
    clutter: float = 0.15  # share of tags that hang over the products below

    def __post_init__(self) -> None:
        get_family(self.family)
        check_knobs(self)
        if min(self.width, self.height) < 160:
            raise SettingsError(
                f"width x height is {self.width}x{self.height}; shelves need at least 160 px each way"
            )
        if self.tiers[0] < 1 or self.bays[0] < 1 or self.facings[0] < 1:
            raise SettingsError("tiers, bays and facings must be at least 1")

    @classmethod
    def preset(cls, difficulty: str = "default", **changes: Any) -> DrawSettings:
        """Settings of a difficulty (easy, default, hard), with single settings changed."""
        return apply_preset(cls(), DIFFICULTIES, difficulty, changes)


DIFFICULTIES: dict[str, dict[str, Any]] = {
    "easy": {
        "tiers": (4, 5), "void_facings": (0.2, 0.4, 0.25, 0.15), "low_stock": 0.0, "edge_voids": 0.0,
        "empty_tier": 0.0, "stacked": 0.15, "back_rows": 0.2, "spacing": (0.0, 0.03),
        "block_gap": (0.0, 0.08), "tilt": 0.5, "keystone": 0.01, "lighting": 0.08, "blur": (0.0, 0.5),
        "noise": (0.5, 2.0), "jpeg_quality": (85, 95), "clutter": 0.0,
    },
    "default": {},
    "hard": {
        "tiers": (5, 8), "bays": (1, 3), "void_facings": (0.55, 0.25, 0.12, 0.08), "low_stock": 0.35,
        "edge_voids": 0.25, "empty_tier": 0.15, "stacked": 0.5, "back_rows": 0.8, "facings": (1, 6),
        "spacing": (-0.02, 0.12), "block_gap": (0.0, 0.4), "tilt": 8.0, "keystone": 0.18,
        "shadow": (0.4, 0.95), "lighting": 0.4, "blur": (0.3, 2.0), "noise": (3.0, 12.0),
        "jpeg_quality": (35, 80), "clutter": 0.35,
    },
}  # fmt: skip
