"""The stages of photos, done: one of one photo, or of a batch."""

import logging
import time
from collections.abc import Callable

import numpy as np

from serving.predictors import metrics, tracing
from serving.predictors.photos import Photo, Stage, StagedModel, Task

logger = logging.getLogger(__name__)


def run(task: Task) -> None:
    """Do one stage; a photo that can't be done is told why, and takes no others of its batch with it."""
    error = _attempt(task)
    if error is None:
        return
    if len(task.photos) == 1:
        task.photos[0].failure = error
        return
    logger.warning("%s of %d photos failed, so one by one: %s", task.stage, len(task.photos), error)
    for photo in task.photos:
        run(task._replace(photos=[photo]))


def _attempt(task: Task) -> Exception | None:
    """Do one stage. Returns what it raised."""
    began = time.perf_counter()
    try:
        STAGES[task.stage](task.model, task.photos, task.alone)
    except Exception as error:
        return error
    else:
        return None
    finally:
        seconds = time.perf_counter() - began
        metrics.count_stage(task.model.name, task.stage, len(task.photos), seconds)
        for photo in task.photos:
            tracing.record(task.stage, photo.request.parent, seconds, len(task.photos))


def _decode(model: StagedModel, photos: list[Photo], _alone: bool) -> None:
    for photo, decoded in zip(photos, model.decode([photo.data for photo in photos]), strict=True):
        photo.data = b""
        if isinstance(decoded, Exception):
            photo.failure = decoded
        else:
            photo.decoded = decoded


def _infer(model: StagedModel, photos: list[Photo], alone: bool) -> None:
    tensors = [photo.decoded.tensor for photo in photos]
    answers = model.infer(tensors[0][None] if len(tensors) == 1 else np.stack(tensors), alone)
    for photo, answer in zip(photos, answers, strict=True):
        photo.answer = answer


def _interpret(model: StagedModel, photos: list[Photo], _alone: bool) -> None:
    for photo in photos:
        report = model.interpret(photo.answer, photo.decoded, photo.quantity)
        photo.request.reports[photo.number] = report
        metrics.PHOTO_WAIT_SECONDS.labels(model.name).observe(photo.waited)


STAGES: dict[Stage, Callable[[StagedModel, list[Photo], bool], None]] = {
    "decode": _decode,
    "infer": _infer,
    "interpret": _interpret,
}
