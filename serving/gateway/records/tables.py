"""The tables. A job is what somebody submitted; its photos are answered one by one.

Times are UTC without a zone, since SQLite keeps none. Boxes are xyxy px of the photo after EXIF rotation;
`x0` and `x1` of an alert are shares of the photo's width, so that photos of different sizes compare.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column, relationship

from stocktake.alerts.rules import AlertState

NAME = String(100)  # of a shop, bay, camera, token
SHA256 = String(64)


class Task(StrEnum):
    """What is asked of a photo."""

    SHELVES = "shelves"
    BINS = "bins"


class State(StrEnum):
    """Where a photo, or a job as a whole, stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # cannot be answered: the photo itself is at fault
    DEAD = "dead"  # was tried as often as allowed; somebody may try it again


OVER = (State.DONE, State.FAILED, State.DEAD)


class Priority(StrEnum):
    """Which photos are answered first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def now() -> datetime:
    """The time as the tables have it."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_id() -> str:
    """Nobody can guess it."""
    return uuid4().hex


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012  (SQLAlchemy's own form)


class Job(Table):
    """Photos that were submitted together."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index("jobs_by_owner", "owner", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(NAME)  # whose token it came with
    task: Mapped[Task] = mapped_column(String(10))
    priority: Mapped[Priority] = mapped_column(String(10), default=Priority.NORMAL)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    webhook: Mapped[str | None] = mapped_column(Text, default=None)
    idempotency_key: Mapped[str | None] = mapped_column(String(210), default=None)  # and a place
    request_digest: Mapped[str | None] = mapped_column(SHA256, default=None)  # what came with that key
    photos: Mapped[list["Photo"]] = relationship(back_populates="job", order_by="Photo.place")


class Photo(Table):
    """One photo of a job, where it was taken, and what was found on it."""

    __tablename__ = "photos"
    __table_args__ = (
        UniqueConstraint("job_id", "place"),
        Index("photos_by_end", "job_id", "answered_at"),
        Index("photos_by_bay", "store", "bay", "taken_at"),
        Index("photos_by_state", "state", "received_at"),
        Index("photos_by_bytes", "sha256", "store", "bay"),  # SQLite takes that which fits most columns
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    place: Mapped[int] = mapped_column(default=0)  # in the job
    task: Mapped[Task] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(255), default="")  # the file's, for people to recognise it by
    sha256: Mapped[str] = mapped_column(SHA256)
    size: Mapped[int]  # bytes
    width: Mapped[int]
    height: Mapped[int]
    format: Mapped[str] = mapped_column(String(10))  # jpeg | png | webp
    store: Mapped[str] = mapped_column(NAME, default="")
    bay: Mapped[str] = mapped_column(NAME, default="")
    camera: Mapped[str] = mapped_column(NAME, default="")
    taken_at: Mapped[datetime] = mapped_column(default=now, index=True)
    received_at: Mapped[datetime] = mapped_column(default=now)
    expected_quantity: Mapped[int | None] = mapped_column(default=None)

    state: Mapped[State] = mapped_column(String(10), default=State.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text, default=None)
    answered_at: Mapped[datetime | None] = mapped_column(default=None)  # when it was over, however it ended
    model: Mapped[str | None] = mapped_column(NAME, default=None)
    model_version: Mapped[str | None] = mapped_column(String(64), default=None)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)  # as the predictor says it
    # products of a shelf, [[x0, y0, x1, y1, score], …]: large, and only drawn
    products: Mapped[list[Any] | None] = deferred(mapped_column(JSON, default=None))
    statistics: Mapped[dict[str, Any] | None] = deferred(mapped_column(JSON, default=None))  # for drift
    osa: Mapped[float | None] = mapped_column(default=None)  # on-shelf availability 0..1
    void_count: Mapped[int | None] = mapped_column(default=None)
    count: Mapped[int | None] = mapped_column(default=None)  # of a bin
    match_probability: Mapped[float | None] = mapped_column(default=None)
    verdict: Mapped[str | None] = mapped_column(String(10), default=None)
    expired_at: Mapped[datetime | None] = mapped_column(default=None)  # when its bytes were deleted
    job: Mapped[Job] = relationship(back_populates="photos")


class Alert(Table):
    """One empty place on one shelf, over all photos that show it."""

    __tablename__ = "alerts"
    __table_args__ = (Index("alerts_by_bay", "store", "bay", "state"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    store: Mapped[str] = mapped_column(NAME)
    bay: Mapped[str] = mapped_column(NAME)
    tier: Mapped[int]  # 1 = lowest
    x0: Mapped[float]
    x1: Mapped[float]
    position: Mapped[int]  # facings from the left, from 1
    facings: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    confidence: Mapped[float]
    severity: Mapped[float] = mapped_column(default=0.0, index=True)  # facings x hours, first to last seen
    state: Mapped[AlertState] = mapped_column(String(20), default=AlertState.PENDING)
    seen: Mapped[int] = mapped_column(default=1)  # photos that show it
    missed: Mapped[int] = mapped_column(default=0)  # photos since that show it refilled
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    last_photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"))
    closed_at: Mapped[datetime | None] = mapped_column(default=None)  # refilled, dismissed or merged
    snoozed_until: Mapped[datetime | None] = mapped_column(default=None)
    changed_by: Mapped[str | None] = mapped_column(NAME, default=None)


class Sighting(Table):
    """One void of one photo, and the alert that it belongs to."""

    __tablename__ = "sightings"
    __table_args__ = (UniqueConstraint("photo_id", "void"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), index=True)
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"))
    void: Mapped[int]  # place in the report's `voids`


class Feedback(Table):
    """What a person says about a photo: labels."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("photo_id", "void", "box"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), index=True)
    void: Mapped[int | None] = mapped_column(default=None)  # place in the report's `voids`; None = another
    box: Mapped[str | None] = mapped_column(String(100), default=None)  # "x0,y0,x1,y1" of a missed void
    verdict: Mapped[str] = mapped_column(String(20))  # void | not_a_void | missed | count
    count: Mapped[int | None] = mapped_column(default=None)  # of a bin, by a person
    note: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(NAME)
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class Retraining(Table):
    """A training run that was started because of drift."""

    __tablename__ = "retrainings"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    task: Mapped[Task] = mapped_column(String(10))
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    reason: Mapped[str] = mapped_column(Text)
    # of Kubeflow; None = it was refused; empty = nobody knows whether it was started
    run_id: Mapped[str | None] = mapped_column(String(64), default=None)
    error: Mapped[str | None] = mapped_column(Text, default=None)


class Delivery(Table):
    """A webhook that has to be called."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    url: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)  # of the URL, with its port
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None] = mapped_column(default=now, index=True)  # None = delivered or given up
    delivered_at: Mapped[datetime | None] = mapped_column(default=None)
    error: Mapped[str | None] = mapped_column(Text, default=None)
