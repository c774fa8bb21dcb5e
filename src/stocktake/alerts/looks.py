"""One photo of a bay, as far as alerts are concerned."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from stocktake.alerts.places import Place, likeness
from stocktake.alerts.rules import AlertRules
from stocktake.void_kinds import LOW_STOCK


@dataclass(frozen=True, slots=True)
class SeenVoid:
    """One void of one photo; `number` is its place in the report's `voids`. The rest as in a `Void`."""

    number: int
    place: Place
    position: int
    facings: int
    confidence: float
    kind: str

    @property
    def is_alarm(self) -> bool:
        """Low stock is none: the front is empty, but there is something to sell."""
        return self.kind != LOW_STOCK


@dataclass(frozen=True, slots=True)
class Look:
    """What one photo shows: `products` and `tiers`, how many, and its voids of every kind."""

    taken_at: datetime
    products: int
    tiers: int
    voids: tuple[SeenVoid, ...]

    @classmethod
    def of(cls, report: Mapping[str, Any], width: int, taken_at: datetime) -> Self:
        """From the predictor's report on a photo of `width` px."""
        voids = (_read(number, void, width) for number, void in enumerate(report["voids"]))
        return cls(taken_at, report["products"], report["tiers"], tuple(voids))

    @property
    def is_usable(self) -> bool:
        """Whether it shows a shelf at all: a covered lens, or a door, shows no product."""
        return self.products > 0

    def shows_refilled(self, place: Place, rules: AlertRules) -> bool:
        """Whether it shows the tier, and no void of any kind, low stock neither, at the place."""
        if not self.is_usable or self.tiers < place.tier:
            return False
        return not any(
            likeness(place, void.place, rules.slack, rules.least_overlap)
            or place.covered_by(void.place) > 0.5
            for void in self.voids
        )


def _read(number: int, void: Mapping[str, Any], width: int) -> SeenVoid:
    x0, x1 = (min(max(float(x) / width, 0.0), 1.0) for x in (void["box"][0], void["box"][2]))
    place = Place(int(void["tier"]), x0, x1)
    return SeenVoid(number, place, void["position"], void["facings"], void["confidence"], void["kind"])
