"""Cameras whose photos, or whose answers, are no longer like those that the model was made with."""

from collections.abc import Sequence
from dataclasses import dataclass

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from serving.gateway.dependencies import GatewayOf
from serving.gateway.drift import DAYS, LEAST, CameraDrift, find_drift
from serving.gateway.records.tables import Task
from serving.gateway.web.pages import render
from serving.gateway.web.session import Reader
from serving.gateway.web.words import Said

MEASURES = {
    "brightness": "brightness",
    "sharpness": "sharpness",
    "products": "how many products are seen",
    "score": "how sure products are",
    "count": "how many items are counted",
    "probability": "how sure counts are",
}
LEVELS = {
    "large": Said("Much has changed", "alarm"),
    "noticeable": Said("Something has changed", "warn"),
    "none": Said("As it was", "good"),
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class CameraRow:
    """One camera, by what has moved farthest; `moved` names the measures that are not as they were."""

    worst: CameraDrift
    said: Said
    moved: list[str]


@router.get("/cameras")
async def cameras_page(request: Request, gateway: GatewayOf, who: Reader) -> Response:
    """Cameras with enough photos lately, those that have changed most first."""
    references = await gateway.predictors.references()

    def find() -> list[CameraDrift]:
        with gateway.records.read() as session:
            return find_drift(session, references, stores=who.user.stores)

    rows = by_camera(await to_thread.run_sync(find))
    unknown = [task for task in Task if task not in references]
    return render(request, "cameras.html", rows=rows, unknown=unknown, days=DAYS, least=LEAST)


def by_camera(drifts: Sequence[CameraDrift]) -> list[CameraRow]:
    """A row for each camera and task, in the order of `drifts`, the farthest first."""
    of_camera: dict[tuple[Task, str, str], list[CameraDrift]] = {}
    for each in drifts:
        of_camera.setdefault((each.task, each.store, each.camera), []).append(each)
    return [
        CameraRow(
            found[0],
            LEVELS[found[0].level],
            [MEASURES.get(each.measure, each.measure) for each in found if each.level != "none"],
        )
        for found in of_camera.values()
    ]
