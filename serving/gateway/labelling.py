"""Photos worth labelling: those that people dispute, and those that the model is unsure of."""

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.gateway.answering import photo_uri
from serving.gateway.fields import utc_text
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Feedback, Photo, State, Task, now
from stocktake.storage import store_of

DISPUTES = ("not_a_void", "missed", "count")
SHOWN = ("id", "sha256", "store", "bay", "camera", "model", "model_version", "report")


def export_choice(records: Records, photos: str, task: Task, count: int, to: str) -> str:
    """Write what `choose_photos` finds to the file or s3:// object `to`, a line of JSON for each.

    `photos` is the URI of the photo store. Returns what was written, in one line.

    Raises:
        StoreError: the place cannot be written.
        Unavailable: the records cannot be read.
    """
    with records.read() as session:
        chosen = choose_photos(session, task, count)
    lines = [
        json.dumps(
            {
                "uri": photo_uri(photos, photo.sha256),
                "why": why,
                "taken_at": utc_text(photo.taken_at),
                **{name: getattr(photo, name) for name in SHOWN},
            }
        )
        for photo, why in chosen
    ]
    store, name = store_of(to)
    store.put(name, "".join(f"{line}\n" for line in lines).encode())
    disputed = sum(why == "disputed" for _, why in chosen)
    return f"{to}: {len(chosen)} photos to label: {disputed} disputed, {len(chosen) - disputed} unsure"


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
