"""What the API says of a job and of a photo."""

from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict

from serving.gateway.fields import UtcTime
from serving.gateway.records.history import JobSummary
from serving.gateway.records.tables import Photo, Priority, State, Task

PHOTOS = "/api/photos"
JOBS = "/api/jobs"


class View(BaseModel):
    """Read from a record."""

    model_config = ConfigDict(from_attributes=True)


class Failure(BaseModel):
    """What every error is."""

    error: str


class PhotoSummary(View):
    """A photo without what was found where on it. Times are UTC; `osa` and `match_probability` are 0..1."""

    id: str
    job: str
    task: Task
    name: str
    store: str
    bay: str
    camera: str
    taken_at: UtcTime
    received_at: UtcTime
    width: int  # px after EXIF rotation; 0 of a file that is no photo
    height: int
    state: State
    attempts: int
    error: str | None
    answered_at: UtcTime | None
    model: str | None
    model_version: str | None
    osa: float | None
    void_count: int | None
    count: int | None
    expected_quantity: int | None
    match_probability: float | None
    verdict: str | None
    links: dict[str, str]

    @classmethod
    def of(cls, photo: Photo) -> Self:
        """The view of a record."""
        here = f"{PHOTOS}/{photo.id}"
        links = {"self": here, "job": f"{JOBS}/{photo.job_id}"}
        if photo.expired_at is None and photo.width:
            links["image"] = f"{here}/image"
            if photo.void_count is not None:
                links["annotated"] = f"{here}/image?annotated=true"
        columns = {name: getattr(photo, name) for name in cls.model_fields if name not in ("job", "links")}
        return cls(job=photo.job_id, links=links, **columns)


class PhotoView(PhotoSummary):
    """A photo, and the report that its predictor made, None until then."""

    report: dict[str, Any] | None


class JobOverview(View):
    """Photos that were submitted together; `photo_count` says how many of them are in which state."""

    id: str
    task: Task
    priority: Priority
    state: State
    created_at: UtcTime
    finished_at: UtcTime | None
    webhook: str | None  # its host: the rest of the URL may be a secret
    photo_count: dict[State, int]
    links: dict[str, str]

    @classmethod
    def of(cls, summary: JobSummary, **more: Any) -> Self:
        """The view of a record; `more`: fields of a subclass."""
        job = summary.job
        here = f"{JOBS}/{job.id}"
        return cls(
            id=job.id, task=job.task, priority=job.priority, state=summary.state, created_at=job.created_at,
            finished_at=job.finished_at, webhook=job.webhook and httpx.URL(job.webhook).host,
            photo_count=summary.counts, links={"self": here, "events": f"{here}/events"}, **more,
        )  # fmt: skip


class JobView(JobOverview):
    """A job and its photos in their order."""

    photos: list[PhotoSummary]


class PhotoList(BaseModel):
    """A page of photos, newest first; `next` is the cursor of the page that follows."""

    items: list[PhotoSummary]
    next: str | None


class JobList(BaseModel):
    """A page of jobs, newest first; `next` is the cursor of the page that follows."""

    items: list[JobOverview]
    next: str | None
