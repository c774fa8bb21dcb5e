"""Photos worth labelling: those that people dispute, and those that the model is unsure of."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.gateway.records.tables import Feedback, Photo, State, Task, now

DISPUTES = ("not_a_void", "missed", "count")


def choose_photos(session: Session, task: Task, count: int, days: int = 90) -> list[tuple[Photo, str]]:
    """Up to `count` photos, and why: disputed ones, newest first, then those of which the model is unsure.

    Photos whose files are deleted are left out.
    """
    recent = (
        Photo.task == task,
        Photo.state == State.DONE,
        Photo.expired_at.is_(None),
        Photo.taken_at >= now() - timedelta(days=days),
    )
    disputed = select(Feedback.photo_id).where(Feedback.verdict.in_(DISPUTES))
    by_people = select(Photo).where(*recent, Photo.id.in_(disputed)).order_by(Photo.taken_at.desc())
    chosen = [(photo, "disputed") for photo in session.scalars(by_people.limit(count))]
    others = select(Photo).where(*recent, Photo.id.not_in(disputed)).order_by(Photo.taken_at.desc())
    unsure = sorted(session.scalars(others.limit(20 * count)), key=doubt, reverse=True)
    return chosen + [(photo, "unsure") for photo in unsure[: count - len(chosen)] if doubt(photo) > 0]


def doubt(photo: Photo) -> float:
    """How unsure a model was, 0..1: of a bin's count, or of the void nearest to a coin's toss."""
    report: dict[str, Any] = photo.report or {}
    if photo.task == Task.BINS:
        return 1 - max(report["probabilities"])
    return max((1 - abs(2 * void["confidence"] - 1) for void in report["voids"]), default=0.0)
