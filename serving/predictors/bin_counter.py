"""The bin counter as a KServe model."""

from typing import Any, ClassVar

import numpy as np

from serving.predictors.photo_model import PhotoModel, bytes_tensor
from serving.predictors.protocol import QUANTITY, Sent, Tensors
from stocktake.bins.counter import BinCounter, BinReport
from stocktake.images import DecodedPhoto

ALWAYS = ("count", "probabilities")


class BinCounterModel(PhotoModel[BinCounter]):
    """Photos in, and the recorded quantities if they are to be verified; counts and verdicts out."""

    INPUTS: ClassVar[list[dict[str, Any]]] = [
        *PhotoModel.INPUTS,
        {"name": QUANTITY, "datatype": "INT32", "shape": [-1]},
    ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The v2 outputs; the last two come with an `expected_quantity` only."""
        return [
            {"name": "count", "datatype": "INT32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(self.loaded.classes)]},
            {"name": "match_probability", "datatype": "FP32", "shape": [-1]},
            {"name": "verdict", "datatype": "BYTES", "shape": [-1]},
        ]

    def outputs_of(self, sent: Sent) -> list[str]:
        """Without quantities there is nothing to verify."""
        return super().outputs_of(sent) if sent.has_quantities else list(ALWAYS)

    def interpret(self, answer: np.ndarray, _decoded: DecodedPhoto, quantity: int | None) -> BinReport:
        """See `BinCounter.interpret`."""
        return self.loaded.interpret(answer, quantity)

    def to_tensors(self, reports: list[BinReport]) -> Tensors:
        """The v2 outputs of N photos, in their order."""
        tensors: Tensors = {
            "count": np.array([report.count for report in reports], np.int32),
            "probabilities": np.stack([report.probabilities for report in reports]).astype(np.float32),
        }
        if reports[0].verdict is None:
            return tensors
        return {
            **tensors,
            "match_probability": np.array([report.match_probability for report in reports], np.float32),
            "verdict": bytes_tensor([str(report.verdict).encode() for report in reports]),
        }
