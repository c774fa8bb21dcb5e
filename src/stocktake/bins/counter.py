"""The bin counter as it is evaluated and served: a photo's bytes in, a count and its probabilities out.

Three stages, as the shelf detector has them:

    decode      bytes -> pixels, and the square that the model sees
    infer       squares -> the probability of each count
    interpret   probabilities -> the count, and whether a recorded quantity can be right
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stocktake.bins.fitting import MODEL_NEEDS, fit_bin
from stocktake.bins.verification import Verdict, VerificationSettings, record_support
from stocktake.errors import ModelError, UnsupportedImage
from stocktake.gpu_decoding import decode_batch
from stocktake.images import DecodedPhoto, Pixels, ReducedPhoto, decode_reduced
from stocktake.model_card import CARD_FILE, MODEL_FILE, ModelCard, Task, open_card, read_settings
from stocktake.photo_header import MAX_PIXELS
from stocktake.runner import Precision, Runner
from stocktake.runtime import load_runner

TASK: Task = "bin-counter"
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


class BinCounter:
    """A model dir, loaded. Its methods may be called from several threads at once.

    Attributes:
        card: the model's card.
        digest: SHA-256 of its SHA256SUMS.
        runner: what runs the model.
        classes: the counts that it knows, ascending.
        verification: the thresholds of the card.
    """

    def __init__(
        self,
        card: ModelCard,
        runner: Runner,
        classes: tuple[int, ...],
        verification: VerificationSettings,
        digest: str,
    ):
        self.card = card
        self.digest = digest
        self.classes = classes
        self.verification = verification
        self.runner = runner

    @classmethod
    def load(
        cls,
        model_dir: Path | str,
        threads: int | None = None,
        precision: Precision | None = None,
        lanes: int = 1,
    ) -> Self:
        """Check a model dir, load it and run it once.

        Args:
            model_dir: weights, model.onnx, model_card.json, SHA256SUMS.
            threads: of one inference; None takes one for each core.
            precision: None takes that of the environment, or else the fastest that the card allows here.
            lanes: how many calls of `infer` may be made side by side, see `Runner`.

        Raises:
            SettingsError: this machine does not have the engine or the precision that is asked for.
            ModelError: a file is missing or damaged, the card is for another task, has an impossible value or
                forbids the precision, or the model's inputs and outputs are not those of a bin counter; names
                the file.
        """
        model_dir = Path(model_dir)
        card, digest = open_card(model_dir, TASK)
        verification = read_settings(VerificationSettings, card.verification, "verification", model_dir)
        classes = parse_classes(card.classes, model_dir / CARD_FILE)
        runner = load_runner(model_dir, card.precisions, threads, precision, lanes)
        counter = cls(card, runner, classes, verification, digest)
        counter._check_outputs(model_dir / MODEL_FILE)
        return counter

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
        """Read a JPEG, PNG or WebP file; a JPEG no larger than the model needs.

        Raises:
            UnsupportedImage, PhotoTooLarge: see `images.decode_reduced`.
        """
        return self.see(decode_reduced(data, self.least_side, max_pixels))

    def decode_batch(
        self, photos: Sequence[bytes], max_pixels: int = MAX_PIXELS
    ) -> list[DecodedPhoto | UnsupportedImage]:
        """As `decode`, on a GPU where there is one; an error stands in the place of a photo that has one."""
        found = decode_batch(photos, self.least_side, max_pixels)
        return [self.see(photo) if isinstance(photo, ReducedPhoto) else photo for photo in found]

    @property
    def least_side(self) -> int:
        """Px that the longer side of a photo keeps at least when it is decoded."""
        return MODEL_NEEDS * self.card.input_size

    def see(self, photo: ReducedPhoto) -> DecodedPhoto:
        """A photo that is decoded already, with what the model sees of it."""
        return DecodedPhoto(photo, fit_bin(photo.pixels, self.card.input_size))

    def infer(self, batch: Pixels, alone: bool = True) -> Probabilities:
        """Run the model on (N, S, S, 3) uint8, the photos' tensors stacked. Returns (N, K).

        `alone`: nothing else runs, see `Runner.infer`.
        """
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

    def _check_outputs(self, path: Path) -> None:
        outputs = self.runner.infer_blank(self.card.input_size, path)
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
