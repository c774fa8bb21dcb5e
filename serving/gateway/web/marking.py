"""Empty places that the detector has missed: marked by hand on the page of a photo, and taken back."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from serving.gateway.dependencies import GatewayOf
from serving.gateway.errors import NotFound
from serving.gateway.gateway import Gateway
from serving.gateway.records.feedback import Said, box_of
from serving.gateway.records.history import find_photo
from serving.gateway.records.tables import Feedback, Photo
from serving.gateway.routes.feedback import keep
from serving.gateway.submission import parse
from serving.gateway.web.pages import Visitor
from serving.gateway.web.session import Fields, Reader

Share = Annotated[FiniteFloat, Field(ge=0, le=100)]  # of the photo, in per cent

router = APIRouter(include_in_schema=False)


class Sides(BaseModel):
    """Where the sides of a place are, as its form sends them: per cent from the photo's left or top edge."""

    model_config = ConfigDict(extra="forbid")

    left: Share
    right: Share
    top: Share
    bottom: Share

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError("right has to be more than left, and bottom more than top")
        return self

    def box(self, photo: Photo) -> tuple[float, float, float, float]:
        """The same as xyxy px of a photo. Divided last, which makes 100 % its edge and never more."""
        x0, x1 = self.left * photo.width / 100, self.right * photo.width / 100
        return x0, self.top * photo.height / 100, x1, self.bottom * photo.height / 100


@dataclass(frozen=True, slots=True)
class Mark:
    """A place that somebody has marked. `number` as written on the photo; `box` xyxy px."""

    id: str
    number: int
    box: list[float]
    where: str
    by: str
    at: datetime


def marks_of(photo: Photo, said: Iterable[Feedback], number: int) -> list[Mark]:
    """The marks among what was said of a photo, counted on from `number`."""
    found = [(one, box) for one in said if one.verdict == "missed" and (box := box_of(one))]
    return [
        Mark(one.id, place, box, _where(photo, box), one.by, one.at)
        for place, (one, box) in enumerate(found, number + 1)
    ]


def _where(photo: Photo, box: list[float]) -> str:
    x0, y0, x1, y1 = box
    across, down = photo.width / 100, photo.height / 100
    return (
        f"{x0 / across:.0f} to {x1 / across:.0f} % from the left, "
        f"{y0 / down:.0f} to {y1 / down:.0f} % from the top"
    )


def load(gateway: Gateway, who: Visitor, photo_id: str, with_products: bool = False) -> Photo:
    """A photo that the visitor may see; raises NotFound."""
    with gateway.records.read() as session:
        photo = find_photo(session, photo_id, who.user.stores)
        if photo is None:
            raise NotFound("there is no such photo, or it is of a store that you may not see")
        if with_products:
            _ = photo.products  # is not read otherwise
    return photo


@router.post("/photos/{photo_id}/missed")
def mark(gateway: GatewayOf, who: Reader, fields: Fields, photo_id: str) -> Response:
    """Keep a place that was missed, as a label."""
    sides = parse(Sides, fields)
    photo = load(gateway, who, photo_id)
    keep(gateway, who.user, photo_id, Said("missed", box=sides.box(photo)))
    return RedirectResponse(f"/photos/{photo_id}#missed", 303)


@router.post("/photos/{photo_id}/missed/{mark_id}/take-back")
def take_back(gateway: GatewayOf, who: Reader, _fields: Fields, photo_id: str, mark_id: str) -> Response:
    """Forget a mark."""
    with gateway.records.write() as session:
        mark = session.get(Feedback, mark_id)
        photo = find_photo(session, photo_id, who.user.stores)
        if photo is None or mark is None or (mark.photo_id, mark.verdict) != (photo_id, "missed"):
            raise NotFound("this place is not marked any more, or is of a store that you may not see")
        session.delete(mark)
    return RedirectResponse(f"/photos/{photo_id}#missed", 303)
