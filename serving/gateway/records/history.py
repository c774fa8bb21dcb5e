"""What was submitted and what came of it: newest first, page by page, as the API and the pages show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from serving.gateway.records.cursors import is_row_id, read_cursor, row_id, write_cursor
from serving.gateway.records.tables import Job, Photo, State, Task

LIMIT = 50  # rows of a page, unless told
MAX_LIMIT = 500


@dataclass(frozen=True, slots=True)
class PhotoFilter:
    """Which photos; None = all. `since` <= taken_at < `until`, UTC without a zone.

    `stores`: those that the caller may see; None = all.
    """

    task: Task | None = None
    store: str | None = None
    bay: str | None = None
    camera: str | None = None
    state: State | None = None
    verdict: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    stores: frozenset[str] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What SQL asks for."""
        fields = ("task", "store", "bay", "camera", "state", "verdict")
        wanted = [getattr(Photo, name) == value for name in fields if (value := getattr(self, name))]
        if self.since:
            wanted.append(Photo.taken_at >= self.since)
        if self.until:
            wanted.append(Photo.taken_at < self.until)
        if self.stores is not None:
            wanted.append(Photo.store.in_(self.stores))
        return wanted


@dataclass(frozen=True, slots=True)
class PhotoPage:
    """Some photos, and the cursor of those that follow."""

    items: Sequence[Photo]
    next: str | None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job, and how many of its photos stand where."""

    job: Job
    counts: dict[State, int]

    @property
    def total(self) -> int:
        """Photos of the job."""
        return sum(self.counts.values())

    @property
    def over(self) -> int:
        """Photos that nobody works on any more."""
        return self.total - self.counts.get(State.QUEUED, 0) - self.counts.get(State.RUNNING, 0)

    @property
    def state(self) -> State:
        """Of the job as a whole: the worst of those of its photos, once all are over."""
        if self.over < self.total:
            return State.RUNNING if self.over or State.RUNNING in self.counts else State.QUEUED
        return next((state for state in (State.DEAD, State.FAILED) if state in self.counts), State.DONE)


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, and the cursor of those that follow."""

    items: Sequence[JobSummary]
    next: str | None


def find_photos(
    session: Session, wanted: PhotoFilter, cursor: str | None = None, limit: int = LIMIT
) -> PhotoPage:
    """Photos by when they were taken, newest first.

    Raises:
        BadRequest: the cursor is none that was given out.
    """
    query = select(Photo).where(*wanted.conditions(), *_after(cursor, Photo.taken_at, Photo.id))
    query = query.order_by(Photo.taken_at.desc(), Photo.id.desc()).limit(limit + 1)
    photos = session.scalars(query).all()
    more = len(photos) > limit
    return PhotoPage(
        photos[:limit], _cursor(photos[limit - 1].taken_at, photos[limit - 1].id) if more else None
    )


def find_jobs(
    session: Session,
    owner: str | None = None,
    stores: frozenset[str] | None = None,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> JobPage:
    """Jobs, newest first: of an owner, and without a photo of a store that the caller may not see.

    Raises:
        BadRequest: the cursor is none that was given out.
    """
    conditions = _after(cursor, Job.created_at, Job.id)
    if owner is not None:
        conditions.append(Job.owner == owner)
    if stores is not None:
        conditions.append(~Job.photos.any(Photo.store.not_in(stores)))
    query = select(Job).where(*conditions).order_by(Job.created_at.desc(), Job.id.desc())
    jobs = session.scalars(query.limit(limit + 1)).all()
    more = len(jobs) > limit
    counts = count_states(session, [job.id for job in jobs[:limit]])
    return JobPage(
        [JobSummary(job, counts.get(job.id, {})) for job in jobs[:limit]],
        _cursor(jobs[limit - 1].created_at, jobs[limit - 1].id) if more else None,
    )


def count_states(session: Session, job_ids: Sequence[str]) -> dict[str, dict[State, int]]:
    """How many photos of each job are in which state."""
    query = select(Photo.job_id, Photo.state, func.count()).where(Photo.job_id.in_(job_ids))
    counts: dict[str, dict[State, int]] = {}
    for job_id, state, number in session.execute(query.group_by(Photo.job_id, Photo.state)):
        counts.setdefault(job_id, {})[State(state)] = number
    return counts


def find_first_photos(session: Session, job_ids: Sequence[str]) -> dict[str, Photo]:
    """The first photo of each job, for people to recognise it by."""
    photos = session.scalars(select(Photo).where(Photo.job_id.in_(job_ids), Photo.place == 0))
    return {photo.job_id: photo for photo in photos}


def find_job(session: Session, job_id: str, stores: frozenset[str] | None = None) -> JobSummary | None:
    """A job; None where there is none, or it has a photo of a store that the caller may not see."""
    job = session.get(Job, job_id) if is_row_id(job_id) else None
    if job is None:
        return None
    if stores is not None:
        hidden = exists().where(Photo.job_id == job_id, Photo.store.not_in(stores))
        if session.scalar(select(hidden)):
            return None
    return JobSummary(job, count_states(session, [job_id]).get(job_id, {}))


def is_key_known(session: Session, owner: str, key: str | None) -> bool:
    """Whether an owner has a job of an idempotency key."""
    return bool(session.scalar(select(exists().where(Job.owner == owner, Job.idempotency_key == key))))


def find_job_photos(session: Session, job_id: str, begin: int, limit: int = LIMIT) -> Sequence[Photo]:
    """Photos of a job in their order, without the first `begin` ones."""
    query = select(Photo).where(Photo.job_id == job_id).order_by(Photo.place)
    return session.scalars(query.offset(begin).limit(limit)).all()


def find_photo(session: Session, photo_id: str, stores: frozenset[str] | None = None) -> Photo | None:
    """A photo with its job; None where there is none, or the caller may not see its store."""
    if not is_row_id(photo_id):
        return None
    photo = session.get(Photo, photo_id, options=[joinedload(Photo.job)])
    return None if photo is None or (stores is not None and photo.store not in stores) else photo


def _cursor(at: datetime, last_id: str) -> str:
    return write_cursor(at.isoformat(), last_id)


def _after(
    cursor: str | None, at: InstrumentedAttribute[datetime], place: InstrumentedAttribute[str]
) -> list[ColumnElement[bool]]:
    if not cursor:
        return []
    last, last_id = read_cursor(cursor, datetime.fromisoformat, row_id)
    last = last.replace(tzinfo=None)
    return [or_(at < last, and_(at == last, place < last_id))]
