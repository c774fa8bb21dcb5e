"""The knobs of drawn bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stocktake.errors import SettingsError
from stocktake.synthetic.knobs import Range, apply_preset, check_knobs

MOST_ITEMS = 10
# Chances of 0, 1, 2 ... 10 items. The first are for training a counter of 1 to 5; a few bins that it must
# leave out are among them. The second are the first 999 bins of ABID, with those of 10 and more at 10.
TRAINING_COUNTS = (0.01, 0.19, 0.19, 0.19, 0.19, 0.19, 0.008, 0.008, 0.008, 0.008, 0.008)
ABID_COUNTS = (0.012, 0.08, 0.131, 0.147, 0.144, 0.125, 0.107, 0.067, 0.048, 0.028, 0.11)


@dataclass(frozen=True, slots=True)
class BinDrawSettings:
    """What drawn bins look like; every range is (lowest, highest) and drawn from uniformly.

    The defaults are the difficulty `default`; `BinDrawSettings.preset` gives the others.
    """

    counts: tuple[float, ...] = TRAINING_COUNTS  # relative chance of 0, 1, 2 ... items
    again: float = 0.4  # chance that a photo shows the bin of the photo before it, after a pick or a stow
    repeated: float = 0.42  # chance that an item is one more of a product that is there already
    width: tuple[int, int] = (315, 715)  # of the photo, px
    opening: Range = (0.5, 0.9)  # height of the bin's mouth, in its widths
    item_size: Range = (0.24, 0.4)  # square root of width x height, in widths of the mouth
    visible: float = 0.75  # at least this share of an item's front is in sight (bands and tag left aside)
    stacked: float = 0.4  # chance that an item lies on another one of its kind
    beside: float = 0.6  # chance that an item stands close to another one
    leaning: float = 0.25  # share of slim items that lean
    wrapped: float = 0.2  # share of products in a clear plastic bag
    bands: tuple[int, int] = (1, 2)  # elastic tapes across the mouth
    band_cover: Range = (0.06, 0.2)  # how much a tape hides between its threads
    light: Range = (0.9, 1.3)  # exposure
    haze: Range = (0.05, 0.18)  # what is lost of the contrast
    tilt: float = 2.0  # degrees, either way
    keystone: float = 0.05  # change of scale across the photo, either way
    lighting: float = 0.2  # unevenness across the photo, and cast of colour
    blur: Range = (0.3, 1.1)  # px
    noise: Range = (1.0, 5.0)  # grey levels
    jpeg_quality: tuple[int, int] = (62, 93)

    def __post_init__(self) -> None:
        check_knobs(self)
        if not 0 < len(self.counts) <= MOST_ITEMS + 1 or min(self.counts) < 0 or sum(self.counts) <= 0:
            raise SettingsError(
                f"counts is {self.counts}; it holds the chances of 0 to at most {MOST_ITEMS} items, "
                "none below 0 and one above"
            )
        if self.width[0] < 160:
            raise SettingsError(f"width is {self.width}; bins need at least 160 px")
        if not 0 <= self.visible <= 0.9:
            raise SettingsError(f"visible is {self.visible}; choose a share from 0 to 0.9")

    @classmethod
    def preset(cls, difficulty: str = "default", **changes: Any) -> BinDrawSettings:
        """Settings of a difficulty (easy, default, hard), with single settings changed."""
        return apply_preset(cls(), DIFFICULTIES, difficulty, changes)


DIFFICULTIES: dict[str, dict[str, Any]] = {
    "easy": {
        "item_size": (0.2, 0.34), "visible": 0.85, "stacked": 0.15, "leaning": 0.1, "wrapped": 0.0,
        "bands": (0, 1), "band_cover": (0.05, 0.15), "light": (1.0, 1.25), "haze": (0.0, 0.1), "tilt": 0.5,
        "keystone": 0.01, "lighting": 0.08, "blur": (0.2, 0.6), "noise": (0.5, 2.0), "jpeg_quality": (85, 95),
    },
    "default": {},
    "hard": {
        "item_size": (0.1, 0.6), "visible": 0.3, "stacked": 0.5, "leaning": 0.5, "wrapped": 0.45,
        "bands": (2, 4), "band_cover": (0.2, 0.4), "light": (0.5, 1.0), "haze": (0.15, 0.45), "tilt": 5.0,
        "keystone": 0.12, "lighting": 0.4, "blur": (0.8, 2.6), "noise": (2.0, 7.0),
        "jpeg_quality": (45, 80),
    },
}  # fmt: skip
