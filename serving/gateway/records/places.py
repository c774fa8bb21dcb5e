"""Names of stores and bays for people to choose from.

Each is found by a step through the index from the one before, so that it costs as much for a million photos
as for one of each.
"""

from typing import Any

from sqlalchemy import CTE, ColumnElement, ScalarSelect, exists, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from serving.gateway.records.tables import Photo, Task

MOST = 200  # names that are proposed; others can be typed


def find_stores(session: Session, stores: frozenset[str] | None = None, most: int = MOST) -> list[str]:
    """Stores of photos by name, the first `most`; for those who may see some only, these."""
    if stores is not None:
        return sorted(stores)[:most]
    steps = _distinct(Photo.store, most)
    return sorted(session.scalars(select(steps.c.name).where(steps.c.name.is_not(None))))


def find_bay_names(session: Session, stores: frozenset[str] | None = None, most: int = MOST) -> list[str]:
    """Names of up to `most` bays of shelves, those of several stores once."""
    names: set[str] = set()
    for store in find_stores(session, stores):
        here = Photo.store == store
        steps = _distinct(Photo.bay, most, here)
        is_of_shelves = exists().where(here, Photo.bay == steps.c.name, Photo.task == Task.SHELVES)
        names.update(session.scalars(select(steps.c.name).where(is_of_shelves)))
        if len(names) >= most:
            break
    return sorted(names)[:most]


def _distinct(column: InstrumentedAttribute[str], most: int, *wanted: ColumnElement[bool]) -> CTE:
    """The first `most` values of a column as `name`, but for the empty one; at their end perhaps a NULL."""

    def after(value: Any) -> ScalarSelect[Any]:
        return select(func.min(column)).where(column > value, *wanted).scalar_subquery()

    first = select(after("").label("name"), literal(1).label("number"))
    steps = first.cte("steps", recursive=True)
    following = select(after(steps.c.name), steps.c.number + 1)
    return steps.union_all(following.where(steps.c.name.is_not(None), steps.c.number < most))
