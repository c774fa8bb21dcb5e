"""What people say about photos: kept as labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, joinedload, undefer

from serving.gateway.records.tables import Feedback, Photo, Sighting, now

Verdict = Literal["void", "not_a_void", "missed", "count"]
ROWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Said:
    """One verdict: on `void`, a place in the report's `voids`; on the `box` of a missed one, xyxy px; or
    `count`, the items in a bin.
    """

    verdict: Verdict
    void: int | None = None
    box: tuple[float, float, float, float] | None = None
    count: int | None = None
    note: str = ""


def put(session: Session, photo_id: str, said: Said, by: str) -> Feedback:
    """Keep a verdict; a later one on the same void, box or bin takes the place of an earlier one."""
    box = None if said.box is None else ",".join(f"{side:.1f}" for side in said.box)
    query = select(Feedback).where(
        Feedback.photo_id == photo_id,
        Feedback.void.is_(said.void) if said.void is None else Feedback.void == said.void,
        Feedback.box.is_(box) if box is None else Feedback.box == box,
    )
    kept = session.scalar(query)
    if kept is None:
        kept = Feedback(photo_id=photo_id, void=said.void, box=box)
        session.add(kept)
    kept.verdict, kept.count, kept.note = said.verdict, said.count, said.note
    kept.by, kept.at = by, now()
    session.flush()
    return kept


def take_back(session: Session, alert_id: str) -> None:
    """Forget that sightings of an alert were said to be no voids."""
    same = and_(Sighting.photo_id == Feedback.photo_id, Sighting.void == Feedback.void)
    query = select(Feedback).join(Sighting, same)
    for said in session.scalars(query.where(Sighting.alert_id == alert_id, Feedback.verdict == "not_a_void")):
        session.delete(said)


def of_photo(session: Session, photo_id: str) -> Sequence[Feedback]:
    """All verdicts on a photo, in the order in which they were given."""
    return session.scalars(
        select(Feedback).where(Feedback.photo_id == photo_id).order_by(Feedback.at, Feedback.id)
    ).all()


def labelled_photos(session: Session) -> Iterator[tuple[Photo, Sequence[Feedback]]]:
    """Every photo that somebody said something about, with its products, by id."""
    last = ""
    while True:
        wanted = select(Feedback.photo_id).where(Feedback.photo_id > last).distinct()
        ids = session.scalars(wanted.order_by(Feedback.photo_id).limit(ROWS_AT_ONCE)).all()
        if not ids:
            return
        query = select(Photo).where(Photo.id.in_(ids)).options(undefer(Photo.products), joinedload(Photo.job))
        for photo in session.scalars(query.order_by(Photo.id)):
            yield photo, of_photo(session, photo.id)
        last = ids[-1]
        session.expunge_all()


def box_of(feedback: Feedback) -> list[float] | None:
    """The box of a missed void, xyxy px."""
    return None if feedback.box is None else [float(side) for side in feedback.box.split(",")]
