"""What people say about photos; it is kept as labels, and alerts heed it."""

from typing import Annotated, Self

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    model_validator,
)

from serving.gateway import alerts
from serving.gateway.access import User
from serving.gateway.alert_views import FeedbackList, FeedbackView
from serving.gateway.dependencies import GatewayOf, Operator, Viewer
from serving.gateway.errors import Clash, NotFound
from serving.gateway.fields import check_text
from serving.gateway.gateway import Gateway
from serving.gateway.records import alerts as alert_records
from serving.gateway.records import feedback as records
from serving.gateway.records import history
from serving.gateway.records.photos import lock_photo
from serving.gateway.records.tables import Photo, State, Task
from serving.gateway.routes.alerts import json_body
from serving.gateway.routes.results import Id
from serving.gateway.submission import read_json
from stocktake.errors import BadRequest

router = APIRouter(tags=["feedback"])
NEEDS = {"void": "void", "not_a_void": "void", "missed": "box", "count": "count"}  # by verdict
Side = Annotated[FiniteFloat, Field(ge=0, le=100_000)]


class FeedbackBody(BaseModel):
    """A verdict on `void`, the number of a void in the report, from 0; on a `box` that was missed, xyxy px of
    the photo; or the `count` of a bin.
    """

    model_config = ConfigDict(extra="forbid")

    verdict: records.Verdict
    void: Annotated[int, Field(ge=0, lt=10_000)] | None = None
    box: Annotated[list[Side], Field(min_length=4, max_length=4)] | None = None
    count: Annotated[int, Field(ge=0, le=10_000)] | None = None
    note: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=1000), AfterValidator(check_text)
    ] = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [name for name in ("void", "box", "count") if getattr(self, name) is not None]
        if given != [NEEDS[self.verdict]]:
            raise ValueError(f"verdict {self.verdict} goes with `{NEEDS[self.verdict]}`, and nothing else")
        return self

    def said(self) -> records.Said:
        """The same for the records."""
        x0, y0, x1, y1 = self.box or [0.0] * 4
        box = (x0, y0, x1, y1) if self.box else None
        return records.Said(self.verdict, self.void, box, self.count, self.note)


@router.post("/api/photos/{photo_id}/feedback", **json_body(FeedbackBody))
async def give_feedback(request: Request, gateway: GatewayOf, user: Operator, photo_id: Id) -> FeedbackView:
    """Say what is right or wrong about a photo's report; a later word on the same replaces an earlier one.

    `not_a_void` silences the alert of the void, `void` opens it. 409: the photo has no report yet.
    """
    body = await read_json(request, FeedbackBody)
    return await to_thread.run_sync(keep, gateway, user, photo_id, body.said())


@router.get("/api/photos/{photo_id}/feedback")
async def list_feedback(gateway: GatewayOf, user: Viewer, photo_id: Id) -> FeedbackList:
    """What was said about a photo."""

    def find() -> FeedbackList:
        with gateway.records.read() as session:
            if history.find_photo(session, photo_id, user.stores) is None:
                raise NotFound("there is no such photo")
            found = records.of_photo(session, photo_id)
        return FeedbackList(items=[FeedbackView.of(one) for one in found])

    return await to_thread.run_sync(find)


def keep(gateway: Gateway, user: User, photo_id: str, said: records.Said) -> FeedbackView:
    """Keep a verdict on a photo, and let the alert of its void know.

    Raises:
        NotFound: there is no such photo.
        BadRequest, Clash: see `check`.
    """
    with gateway.records.write() as session:
        photo = history.find_photo(session, photo_id, user.stores)
        if photo is None:
            raise NotFound("there is no such photo")
        check(photo, said)
        if not lock_photo(session, photo_id):
            raise NotFound("there is no such photo")
        alert_records.lock_bay(session, photo.store, photo.bay)
        kept = records.put(session, photo_id, said, user.name)
        if said.void is not None:
            alerts.judge(session, photo, said.void, said.verdict == "void", user.name)
        return FeedbackView.of(kept)


def check(photo: Photo, said: records.Said) -> None:
    """Raise BadRequest where a verdict does not fit its photo, Clash where there is no report to judge."""
    if photo.state != State.DONE or photo.report is None:
        raise Clash(f"this photo is {photo.state}; there is nothing to judge yet")
    task = Task.BINS if said.verdict == "count" else Task.SHELVES
    if photo.task != task:
        raise BadRequest(f"verdict: {said.verdict} is for photos of {task}, this one is of {photo.task}")
    if said.void is not None and said.void >= len(photo.report["voids"]):
        raise BadRequest(f"void: this report has {len(photo.report['voids'])}, counted from 0")
    if said.box is not None:
        x0, y0, x1, y1 = said.box
        if not (x0 + 1 <= x1 <= photo.width and y0 + 1 <= y1 <= photo.height):
            raise BadRequest(f"box: x0, y0, x1, y1 px within the photo of {photo.width}x{photo.height}")
