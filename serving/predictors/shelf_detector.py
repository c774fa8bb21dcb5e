"""The shelf detector as a KServe model."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kserve import InferRequest, InferResponse, Model

from serving.predictors.errors import ClientError
from serving.predictors.protocol import Tensors, answer, photos_of, requested_outputs
from stocktake.errors import BadRequest
from stocktake.shelf.detector import ShelfDetector, ShelfReport

INPUTS: list[dict[str, Any]] = [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
OUTPUTS: list[dict[str, Any]] = [
    {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "scores", "datatype": "FP32", "shape": [-1]},
    {"name": "image_index", "datatype": "INT32", "shape": [-1]},
    {"name": "voids", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "void_scores", "datatype": "FP32", "shape": [-1]},
    {"name": "void_facings", "datatype": "INT32", "shape": [-1]},
    {"name": "void_tiers", "datatype": "INT32", "shape": [-1]},
    {"name": "void_kinds", "datatype": "BYTES", "shape": [-1]},
    {"name": "void_image_index", "datatype": "INT32", "shape": [-1]},
    {"name": "report", "datatype": "BYTES", "shape": [-1]},
]


class ShelfDetectorModel(Model):
    """Photos in, products, voids and a report for each photo out, over v1 and v2.

    Decoding and interpreting run in a pool of `threads`, the model in a thread of its own that uses all
    cores: the event loop stays free to answer probes, and one photo is decoded while another is looked at.
    """

    def __init__(self, name: str, model_dir: Path, threads: int):
        super().__init__(name)
        self.detector = ShelfDetector.load(model_dir, threads)
        self.ready = True
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="photos")
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        # A decoded photo takes up to 240 MB: however many wait, only a few are unpacked.
        self._unpacked = asyncio.Semaphore(threads + 1)

    def get_input_types(self) -> list[dict[str, Any]]:
        """The v2 inputs, -1 for a size that may vary."""
        return INPUTS

    def get_output_types(self) -> list[dict[str, Any]]:
        """The v2 outputs, -1 for a size that may vary."""
        return OUTPUTS

    async def predict(
        self, payload: InferRequest | dict[str, Any], _headers: dict[str, str] | None = None
    ) -> InferResponse | dict[str, Any]:
        """Answer a request of any protocol. Raises ClientError if it can't be answered."""
        try:
            if isinstance(payload, InferRequest):  # before the work, not after
                requested_outputs(payload, [output["name"] for output in OUTPUTS])
            photos = await asyncio.get_running_loop().run_in_executor(self._pool, photos_of, payload)
            reports = await self._detect_all(photos)
        except BadRequest as error:
            raise ClientError(error) from error
        if isinstance(payload, InferRequest):
            return answer(payload, to_tensors(reports))
        return {"predictions": [report.to_json() for report in reports]}

    async def _detect_all(self, photos: list[bytes]) -> list[ShelfReport]:
        tasks = [asyncio.create_task(self._detect(number, data)) for number, data in enumerate(photos)]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # one bad photo fails the request
                task.cancel()

    async def _detect(self, number: int, data: bytes) -> ShelfReport:
        run = asyncio.get_running_loop().run_in_executor
        async with self._unpacked:
            try:
                decoded = await run(self._pool, self.detector.decode, data)
            except BadRequest as error:
                raise type(error)(f"photo {number}: {error}") from error
            proposals = await run(self._engine, self.detector.infer, decoded.tensor[None])
            return await run(self._pool, self.detector.interpret, proposals[0], decoded)


def to_tensors(reports: list[ShelfReport]) -> Tensors:
    """The v2 outputs of N photos, ordered by photo, then as in the reports: best first."""
    voids = [void for report in reports for void in report.voids]
    return {
        "boxes": _stack([report.boxes for report in reports], (0, 4), np.float32),
        "scores": _stack([report.scores for report in reports], (0,), np.float32),
        "image_index": _index([len(report.boxes) for report in reports]),
        "voids": np.array([void.box for void in voids], np.float32).reshape(-1, 4),
        "void_scores": np.array([void.confidence for void in voids], np.float32),
        "void_facings": np.array([void.facings for void in voids], np.int32),
        "void_tiers": np.array([void.tier for void in voids], np.int32),
        "void_kinds": _bytes([void.kind.encode() for void in voids]),
        "void_image_index": _index([len(report.voids) for report in reports]),
        "report": _bytes([orjson.dumps(report.to_json()) for report in reports]),
    }


def _stack(arrays: list[np.ndarray], empty: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(empty, dtype), *arrays])


def _index(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def _bytes(values: list[bytes]) -> np.ndarray:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
