"""Training started by drift: at most once in a while, and only where several cameras agree."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.orm import Session

from serving.gateway.drift import CameraDrift, find_drift
from serving.gateway.errors import Unavailable
from serving.gateway.pipelines_client import PipelinesClient, Unknown
from serving.gateway.predictors import Predictors
from serving.gateway.records.database import Records, lock
from serving.gateway.records.tables import Retraining, Task, now
from serving.gateway.settings import GatewaySettings

PIPELINES = {Task.SHELVES: "shelf-detector", Task.BINS: "bin-counter"}  # as they are named in Kubeflow

AGAIN = timedelta(hours=1)  # after Kubeflow has refused, or a worker has died before it knew

logger = logging.getLogger(__name__)


Show = Callable[[Sequence[CameraDrift]], None]  # told what was found, the farthest first


async def keep_watching(
    records: Records, predictors: Predictors, settings: GatewaySettings, show: Show
) -> None:
    """Look for drift again and again, and start training where it is due; never ends."""
    while True:
        try:
            await retrain_where_due(records, predictors, settings, show)
        except Unavailable as error:
            logger.warning("drift is looked for later: %s", error)
        await asyncio.sleep(settings.drift_every_s)


async def retrain_where_due(
    records: Records, predictors: Predictors, settings: GatewaySettings, show: Show
) -> list[Retraining]:
    """Start the pipeline of each task that has drifted, if none was started lately; returns what was tried.

    Raises:
        Unavailable: the records are away.
    """
    references = await predictors.references(wake=True)

    def claim() -> list[Retraining]:
        with records.read() as session:
            drifts = find_drift(session, references)
        show(drifts)
        with records.write() as session:
            due = sorted(reasons(drifts, settings.retrain_cameras).items())  # locks in one order for all
            return [each for task, reason in due if (each := _claim(session, task, reason, settings))]

    tried = await to_thread.run_sync(claim)
    for retraining in tried:
        await _start(retraining, settings)
        await to_thread.run_sync(_keep, records, retraining)
    return tried


def last_trainings(session: Session) -> list[Retraining]:
    """What was tried last for each task that anything was tried for."""
    newest = (
        select(Retraining).where(Retraining.task == task).order_by(Retraining.at.desc()).limit(1)
        for task in Task
    )
    return [found for query in newest if (found := session.scalar(query))]


def reasons(drifts: Sequence[CameraDrift], cameras: int) -> dict[Task, str]:
    """The tasks for which so many cameras or more have drifted far, and a sentence that says how."""
    far: dict[Task, dict[tuple[str, str], CameraDrift]] = defaultdict(dict)
    for each in drifts:
        if each.drift.is_large:
            far[each.task].setdefault((each.store, each.camera), each)  # the farthest comes first
    return {
        task: f"{len(found)} cameras have drifted, {worst.camera or 'one without a name'}"
        f"{f' of {worst.store}' if worst.store else ''} most: {worst.measure}, PSI {worst.drift.psi:.2f}"
        f" over {worst.drift.values} photos"
        for task, found in far.items()
        if len(found) >= cameras and (worst := next(iter(found.values())))
    }


def _claim(session: Session, task: Task, reason: str, settings: GatewaySettings) -> Retraining | None:
    """Written down before it is started: of several workers one does. One that was refused is tried again."""
    lock(session, "retraining", task)
    newest = select(Retraining).where(Retraining.task == task).order_by(Retraining.at.desc()).limit(1)
    last = session.scalar(newest)
    was_started = last is not None and (last.run_id is not None or settings.pipelines_url is None)
    pause = timedelta(days=settings.retrain_pause_days) if was_started else AGAIN
    if last is not None and last.at >= now() - pause:
        return None
    if last is None or was_started:
        last = Retraining(task=task)
        session.add(last)
    last.at, last.reason, last.error = now(), reason, None
    return last


async def _start(retraining: Retraining, settings: GatewaySettings) -> None:
    task = Task(retraining.task)
    logger.warning("%s: %s", task.value, retraining.reason)
    if settings.pipelines_url is None:
        retraining.error = "STOCKTAKE_GATEWAY_PIPELINES_URL names no Kubeflow Pipelines; train by hand"
        return
    token = settings.pipelines_token.get_secret_value() if settings.pipelines_token else None
    client = PipelinesClient(settings.pipelines_url, token, settings.pipelines_namespace)
    try:
        name = f"{PIPELINES[task]} after drift {retraining.at:%Y-%m-%d}"
        retraining.run_id = await client.start(PIPELINES[task], name, dict(settings.retrain_parameters))
    except Unknown as error:
        retraining.run_id, retraining.error = "", f"perhaps started, and not again soon: {error}"
        logger.error("training was perhaps started: %s", error)
    except (Unavailable, LookupError, TypeError) as error:  # the last two: answers of another form
        known = isinstance(error, Unavailable)
        retraining.error = str(error) if known else f"Kubeflow's answer is not understood: {error!r}"
        logger.error("training was not started: %s", retraining.error)


def _keep(records: Records, retraining: Retraining) -> None:
    with records.write() as session:
        kept = session.get_one(Retraining, retraining.id)
        kept.run_id, kept.error = retraining.run_id, retraining.error
