"""Predictors in the test's own process, without a server around them."""

import asyncio
from contextlib import contextmanager

import numpy as np
from kserve import InferInput, InferRequest

from serving.predictors.admission import Capacity
from serving.predictors.loading import open_model
from serving.predictors.shelf_detector import ShelfDetectorModel
from tests.serving.staged_model import scheduling


@contextmanager
def loaded_detector(model_dir, capacity=None, threads=2):
    """A shelf detector that is closed in the end."""
    with scheduling(threads) as scheduler:
        detector = open_model(model_dir, threads)
        yield ShelfDetectorModel("shelf-detector", detector, scheduler, capacity or Capacity())


def request_of(*photos, request_id=None):
    """A v2 request as it comes over gRPC or binary REST."""
    array = np.empty(len(photos), np.object_)
    array[:] = photos
    tensor = InferInput("image", [len(photos)], "BYTES")
    tensor.set_data_from_numpy(array)
    return InferRequest("shelf-detector", [tensor], request_id=request_id)


def predict(model, payload, headers=None):
    """Ask it once, in an event loop of its own."""
    return asyncio.run(model.predict(payload, headers))
