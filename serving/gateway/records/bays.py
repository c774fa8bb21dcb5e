"""How full bays of shelves are, and which bins do not fit their record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from serving.gateway.records.alerts import TOLD
from serving.gateway.records.cursors import name, number, read_cursor, row_id, write_cursor
from serving.gateway.records.tables import Alert, Feedback, Photo, State, Task
from stocktake.alerts.availability import DayOfBay, by_day, trend

WINDOW = timedelta(days=28)  # of which photos make the trend
SUSPECT = ("reject", "ask")  # verdicts, the surest mismatch first
Bay = tuple[str, str]  # store, bay


@dataclass(frozen=True, slots=True)
class BayRow:
    """`osa` 0..1 of the newest usable photo, taken at `osa_at`; None where the window has none. `days`: the
    medians of the window; `trend`: change in a day, None below three days. `alerts`: that somebody has to do
    with.
    """

    store: str
    bay: str
    osa: float | None
    osa_at: datetime | None
    trend: float | None
    days: list[DayOfBay]
    alerts: int


@dataclass(frozen=True, slots=True)
class BayPage:
    """Some bays, and the cursor of those that follow."""

    items: list[BayRow]
    next: str | None


def find_bays(
    session: Session,
    until: datetime,
    store: str | None = None,
    bay: str | None = None,
    stores: frozenset[str] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> BayPage:
    """Bays of shelves by name, as they were at `until`.

    Raises:
        BadRequest: the cursor is none that was given out.
    """
    place = tuple_(Photo.store, Photo.bay)
    query = select(Photo.store, Photo.bay).where(
        Photo.task == Task.SHELVES, Photo.state == State.DONE, Photo.bay != ""
    )
    if store is not None:
        query = query.where(Photo.store == store)
    if bay is not None:
        query = query.where(Photo.bay == bay)
    if stores is not None:
        query = query.where(Photo.store.in_(stores))
    if cursor is not None:
        query = query.where(place > tuple_(*read_cursor(cursor, name, name)))
    found = session.execute(query.distinct().order_by(Photo.store, Photo.bay).limit(limit + 1)).all()
    bays = [(row.store, row.bay) for row in found[:limit]]
    photos, alerts = _availability(session, bays, until), _alerts(session, bays)
    rows = [_row(bay, photos.get(bay, []), alerts.get(bay, 0)) for bay in bays]
    return BayPage(rows, write_cursor(*bays[-1]) if len(found) > limit else None)


def _row(bay: Bay, photos: list[tuple[datetime, float]], alerts: int) -> BayRow:
    days = by_day(photos)
    osa_at, osa = photos[-1] if photos else (None, None)
    return BayRow(*bay, osa, osa_at, trend(days), days, alerts)


def _availability(
    session: Session, bays: Sequence[Bay], until: datetime
) -> dict[Bay, list[tuple[datetime, float]]]:
    """When each bay's usable photos of the window were taken, oldest first, and what was found.

    A photo without a product shows no shelf, whatever its availability is by definition.
    """
    query = select(Photo.store, Photo.bay, Photo.taken_at, Photo.osa).where(
        tuple_(Photo.store, Photo.bay).in_(bays),
        Photo.task == Task.SHELVES,
        Photo.state == State.DONE,
        Photo.taken_at > until - WINDOW,
        Photo.taken_at <= until,
        Photo.report["products"].as_integer() > 0,
    )
    photos: dict[Bay, list[tuple[datetime, float]]] = {}
    for row in session.execute(query.order_by(Photo.taken_at, Photo.received_at)):
        photos.setdefault((row.store, row.bay), []).append((row.taken_at, row.osa))
    return photos


def _alerts(session: Session, bays: Sequence[Bay]) -> dict[Bay, int]:
    query = select(Alert.store, Alert.bay, func.count()).where(
        tuple_(Alert.store, Alert.bay).in_(bays), Alert.state.in_(TOLD)
    )
    rows = session.execute(query.group_by(Alert.store, Alert.bay))
    return {(store, bay): count for store, bay, count in rows}


@dataclass(frozen=True, slots=True)
class MismatchPage:
    """Some photos of bins, and the cursor of those that follow."""

    items: Sequence[Photo]
    next: str | None


def find_mismatches(
    session: Session,
    store: str | None = None,
    stores: frozenset[str] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> MismatchPage:
    """Bins whose record is doubted: rejected ones first, then those to ask about; the least probable first.

    Of a bin with a name only the newest answered photo counts, and none that a person has counted.

    Raises:
        BadRequest: the cursor is none that was given out.
    """
    newer = aliased(Photo)
    later = or_(newer.taken_at > Photo.taken_at, and_(newer.taken_at == Photo.taken_at, newer.id > Photo.id))
    same = and_(newer.store == Photo.store, newer.bay == Photo.bay, newer.task == Task.BINS)
    query = select(Photo).where(
        Photo.task == Task.BINS,
        Photo.verdict.in_(SUSPECT),
        ~exists().where(same, newer.bay != "", newer.state == State.DONE, later),
        ~exists().where(Feedback.photo_id == Photo.id, Feedback.verdict == "count"),
    )
    if store is not None:
        query = query.where(Photo.store == store)
    if stores is not None:
        query = query.where(Photo.store.in_(stores))
    rank = case({verdict: place for place, verdict in enumerate(SUSPECT)}, value=Photo.verdict)
    if cursor is not None:
        after = tuple_(*read_cursor(cursor, SUSPECT.index, number, row_id))
        query = query.where(tuple_(rank, Photo.match_probability, Photo.id) > after)
    query = query.order_by(rank, Photo.match_probability, Photo.id).limit(limit + 1)
    photos = session.scalars(query).all()
    if len(photos) <= limit:
        return MismatchPage(photos, None)
    last = photos[limit - 1]
    return MismatchPage(
        photos[:limit], write_cursor(str(last.verdict), last.match_probability or 0.0, last.id)
    )
