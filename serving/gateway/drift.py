"""Drift: photos and answers of each camera beside those that its model was made with."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.gateway.records.tables import Photo, State, Task, now
from stocktake.drift.histograms import Drift, Histogram

DAYS = 7
NEWEST = 20_000  # photos that are looked at; a fleet's week may have more
LEAST = 50  # photos of a camera below which nothing is said

References = Mapping[Task, Mapping[str, Histogram]]  # of each model, by measure


@dataclass(frozen=True, slots=True)
class CameraDrift:
    """How far one measure of one camera's photos has moved."""

    task: Task
    store: str
    camera: str
    measure: str
    drift: Drift

    @property
    def level(self) -> str:
        """In a word."""
        if self.drift.is_large:
            return "large"
        return "noticeable" if self.drift.is_noticeable else "none"


def find_drift(
    session: Session,
    references: References,
    days: int = DAYS,
    least: int = LEAST,
    stores: Iterable[str] | None = None,
) -> list[CameraDrift]:
    """Each measure of each camera with `least` photos or more, the farthest from its reference first.

    Args:
        references: of the models that answer now.
        days: back from now, by when photos were taken.
        stores: of those only; None = of all.
    """
    query = (
        select(Photo.task, Photo.store, Photo.camera, Photo.statistics)
        .where(Photo.state == State.DONE, Photo.taken_at >= now() - timedelta(days=days))
        .order_by(Photo.taken_at.desc())
        .limit(NEWEST)
    )
    if stores is not None:
        query = query.where(Photo.store.in_(list(stores)))
    values: dict[tuple[Task, str, str, str], list[float]] = defaultdict(list)
    for task, store, camera, statistics in session.execute(query):
        for name, value in (statistics or {}).items():
            values[Task(task), store, camera, name].append(value)
    found = [
        CameraDrift(task, store, camera, name, references[task][name].compare(these))
        for (task, store, camera, name), these in values.items()
        if len(these) >= least and name in references.get(task, {})
    ]
    return sorted(found, key=_distance, reverse=True)


def _distance(each: CameraDrift) -> tuple[bool, bool, float]:
    return each.drift.is_large, each.drift.is_noticeable, each.drift.psi
