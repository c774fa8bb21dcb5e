"""Whether what cameras send is still like what the models were made with."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from serving.gateway.dependencies import GatewayOf, Viewer
from serving.gateway.drift import DAYS, CameraDrift, find_drift
from serving.gateway.fields import UtcTime
from serving.gateway.records.tables import Retraining, Task
from serving.gateway.retraining import last_trainings

router = APIRouter(tags=["drift"])


class DriftView(BaseModel):
    """One measure of one camera; `chance` is a PSI that no change at all exceeds once in 100 times."""

    task: Task
    store: str
    camera: str
    measure: str
    psi: float
    chance: float
    photos: int
    level: str

    @classmethod
    def of(cls, found: CameraDrift) -> "DriftView":
        """As the API says it."""
        return cls(
            task=found.task,
            store=found.store,
            camera=found.camera,
            measure=found.measure,
            psi=round(found.drift.psi, 4),
            chance=round(found.drift.chance, 4),
            photos=found.drift.values,
            level=found.level,
        )


class TrainingView(BaseModel):
    """Training that drift has asked for, last of its task: `run` in Kubeflow, or why there is none."""

    task: Task
    at: UtcTime
    reason: str
    run: str | None
    error: str | None

    @classmethod
    def of(cls, tried: Retraining) -> "TrainingView":
        """As the API says it."""
        return cls(
            task=Task(tried.task),
            at=tried.at,
            reason=tried.reason,
            run=tried.run_id or None,
            error=tried.error,
        )


class Period(BaseModel):
    """Photos of how many days, back from now."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[int, Field(ge=1, le=90)] = DAYS


class DriftList(BaseModel):
    """The farthest first. `unknown`: tasks whose model is away, or does not say what it was made with.
    `trainings`: that drift has asked for; for who may see all stores.
    """

    items: list[DriftView]
    unknown: list[Task]
    trainings: list[TrainingView]


@router.get("/api/drift")
async def list_drift(gateway: GatewayOf, user: Viewer, period: Annotated[Period, Query()]) -> DriftList:
    """Each measure of each camera that took enough photos in the last days."""
    references = await gateway.predictors.references()

    def find() -> DriftList:
        with gateway.records.read() as session:
            found = find_drift(session, references, period.days, stores=user.stores)
            tried = last_trainings(session) if user.stores is None else []  # names cameras of any store
        return DriftList(
            items=[DriftView.of(each) for each in found],
            unknown=[task for task in Task if task not in references],
            trainings=[TrainingView.of(each) for each in tried],
        )

    return await to_thread.run_sync(find)
