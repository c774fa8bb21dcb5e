"""The shelf detector as a KServe model."""

from typing import Any

import numpy as np
import orjson

from serving.predictors.photo_model import PhotoModel, bytes_tensor
from serving.predictors.protocol import Tensors
from stocktake.images import DecodedPhoto
from stocktake.shelf.detector import Proposals, ShelfDetector, ShelfReport

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


class ShelfDetectorModel(PhotoModel[ShelfDetector]):
    """Photos in, products, voids and a report for each photo out."""

    def get_output_types(self) -> list[dict[str, Any]]:
        """The v2 outputs."""
        return OUTPUTS

    def interpret(self, answer: Proposals, decoded: DecodedPhoto, _quantity: int | None) -> ShelfReport:
        """See `ShelfDetector.interpret`."""
        return self.loaded.interpret(answer, decoded)

    def to_tensors(self, reports: list[ShelfReport]) -> Tensors:
        """See `to_tensors`."""
        return to_tensors(reports)


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
        "void_kinds": bytes_tensor([void.kind.encode() for void in voids]),
        "void_image_index": _index([len(report.voids) for report in reports]),
        "report": bytes_tensor([orjson.dumps(report.to_json()) for report in reports]),
    }


def _stack(arrays: list[np.ndarray], empty: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(empty, dtype), *arrays])


def _index(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)
