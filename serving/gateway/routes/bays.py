"""How full bays of shelves are, and which bins do not fit their record."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from serving.gateway.alert_views import BayList, BayView, MismatchList
from serving.gateway.dependencies import GatewayOf, Viewer
from serving.gateway.fields import Name
from serving.gateway.records import bays as records
from serving.gateway.records.cursors import Cursor
from serving.gateway.records.tables import now
from serving.gateway.views import PhotoSummary

MAX_LIMIT = 200  # bays, each with the days of four weeks

router = APIRouter(tags=["bays"])


class MismatchSearch(BaseModel):
    """Which bins, a page at a time."""

    model_config = ConfigDict(extra="forbid")

    store: Name | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50


class BaySearch(MismatchSearch):
    """Which bays, a page at a time."""

    bay: Name | None = None


@router.get("/api/bays")
async def list_bays(gateway: GatewayOf, user: Viewer, search: Annotated[BaySearch, Query()]) -> BayList:
    """On-shelf availability of bays now and over four weeks, by name."""

    def find() -> BayList:
        with gateway.records.read() as session:
            page = records.find_bays(
                session, now(), search.store, search.bay, user.stores, search.cursor, search.limit
            )
        return BayList(items=[BayView.of(row) for row in page.items], next=page.next)

    return await to_thread.run_sync(find)


@router.get("/api/mismatches")
async def list_mismatches(
    gateway: GatewayOf, user: Viewer, search: Annotated[MismatchSearch, Query()]
) -> MismatchList:
    """Bins whose record is doubted: rejected ones first, then those to ask about, the least probable first.

    Of a bin with a name only the newest photo counts, and none that a person has counted.
    """

    def find() -> MismatchList:
        with gateway.records.read() as session:
            page = records.find_mismatches(session, search.store, user.stores, search.cursor, search.limit)
        return MismatchList(items=[PhotoSummary.of(photo) for photo in page.items], next=page.next)

    return await to_thread.run_sync(find)
