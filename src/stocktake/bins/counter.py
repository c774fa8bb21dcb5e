"""The bin counter as it is evaluated and served: a photo's bytes in, a count and its probabilities out."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stocktake.bins.fitting import MODEL_NEEDS, fit_bin
from stocktake.bins.verification import Verdict, VerificationSettings, record_support
from stocktake.errors import ModelError
from stocktake.images import Pixels
from stocktake.letterbox import Letterbox
from stocktake.loaded_model import LoadedModel
from stocktake.model_card import CARD_FILE, ModelCard, read_settings
from stocktake.runner import Outputs

OUTPUT_NAME = "probabilities"
SUM_GAP = 1e-3  # a row of probabilities may miss 1 by

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class BinReport:
    """What is in the bin of one photo, and what to do about its record.

    `count` is the most probable of `classes`; `probabilities` (K,) float32 sum to 1. With a recorded
    quantity, `match_probability` is P(count = quantity); for a quantity outside the classes it is 0, and the
    verdict is ask.
    """

    count: int
    classes: tuple[int, ...]
    probabilities: Probabilities
    expected_quantity: int | None = None
    match_probability: float | None = None
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain values, probabilities to four digits; without a record, without a verdict."""
        report: dict[str, Any] = {
            "count": self.count,
            "classes": list(self.classes),
            "probabilities": [round(float(value), 4) for value in self.probabilities],
        }
        if self.match_probability is not None:
            report["expected_quantity"] = self.expected_quantity
            report["match_probability"] = round(self.match_probability, 4)
            report["verdict"] = self.verdict
        return report


class BinCounter(LoadedModel):
    """A counter's model dir, loaded; `interpret` counts, and judges what was recorded.

    Attributes:
        classes: the counts that it knows, ascending.
        verification: the thresholds of the card.
    """

    TASK = "bin-counter"

    def __init__(self, model_dir: Path, card: ModelCard, digest: str):
        super().__init__(model_dir, card, digest)
        self.verification = read_settings(VerificationSettings, card.verification, "verification", model_dir)
        self.classes = parse_classes(card.classes, model_dir / CARD_FILE)

    @property
    def least_side(self) -> int:
        """What the model needs."""
        return MODEL_NEEDS * self.card.input_size

    def fit(self, pixels: Pixels) -> Letterbox:
        """See `LoadedModel.fit`."""
        return fit_bin(pixels, self.card.input_size)

    def infer(self, batch: Pixels, alone: bool = True) -> Probabilities:
        """See `LoadedModel.infer`; the answers are (N, K)."""
        return self.runner.infer(batch, alone)[OUTPUT_NAME]

    def interpret(self, probabilities: Probabilities, expected_quantity: int | None = None) -> BinReport:
        """The report of one photo: `probabilities` (K,), and the recorded quantity where there is one."""
        count = self.classes[int(probabilities.argmax())]
        if expected_quantity is None:
            return BinReport(count, self.classes, probabilities)
        if expected_quantity not in self.classes:
            return BinReport(count, self.classes, probabilities, expected_quantity, 0.0, "ask")
        place = self.classes.index(expected_quantity)
        support = record_support(probabilities[None], np.array(self.classes))[0, place]
        match, verdict = float(probabilities[place]), self.verification.verdict(float(support))
        return BinReport(count, self.classes, probabilities, expected_quantity, match, verdict)

    def count(self, data: bytes, expected_quantity: int | None = None) -> BinReport:
        """Items in the bin of one photo: decode, infer, interpret.

        Raises:
            UnsupportedImage, PhotoTooLarge: see `decode`.
        """
        return self.interpret(self.infer(self.decode(data).tensor[None])[0], expected_quantity)

    def _check_outputs(self, outputs: Outputs, path: Path) -> None:
        found = {name: array.shape for name, array in outputs.items()}
        wanted = {OUTPUT_NAME: (2, len(self.classes))}
        if found != wanted:
            raise ModelError(f"{path}: its outputs are {found}; by its card they should be {wanted}")
        sums = outputs[OUTPUT_NAME].sum(axis=1)
        if not np.all(np.abs(sums - 1) < SUM_GAP):
            raise ModelError(f"{path}: its probabilities sum to {sums.tolist()}, not to 1; export it again")


def parse_classes(names: list[str], where: Path) -> tuple[int, ...]:
    """The counts that a card's classes name.

    Raises:
        ModelError: they are not two or more whole numbers, each higher than the one before.
    """
    counts = tuple(int(name) for name in names if name.isdecimal())
    rising = all(low < high for low, high in pairwise(counts))
    if len(counts) < 2 or len(counts) < len(names) or not rising:
        raise ModelError(f"{where}: classes: expected counts in rising order, such as 1 to 5; found {names}")
    return counts
