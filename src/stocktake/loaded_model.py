"""What a shelf detector and a bin counter share: a model dir that is checked, loaded and ready for photos.

Three stages, so that a server can run them in different places and batch the middle one:

    decode      bytes -> pixels, and the square that the model sees
    infer       squares -> what the model says about each
    interpret   that -> a report; each kind of model has its own
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from stocktake.errors import UnsupportedImage
from stocktake.gpu_decoding import decode_batch
from stocktake.images import DecodedPhoto, EncodedPhoto, Pixels, ReducedPhoto, decode_reduced
from stocktake.letterbox import Letterbox
from stocktake.model_card import MODEL_FILE, ModelCard, Task, open_card
from stocktake.photo_header import MAX_PIXELS
from stocktake.runner import Outputs, Precision, Runner
from stocktake.runtime import load_runner


class LoadedModel(ABC):
    """A model dir, loaded. Its methods may be called from several threads at once.

    Attributes:
        TASK: of the cards of this kind of model.
        model_dir: its files.
        card: the model's card.
        digest: SHA-256 of its SHA256SUMS.
        runner: what runs the model.
    """

    TASK: ClassVar[Task]
    runner: Runner

    def __init__(self, model_dir: Path, card: ModelCard, digest: str):
        """Read what this kind of model has in its card. Raises ModelError if it is impossible."""
        self.model_dir = model_dir
        self.card = card
        self.digest = digest

    @classmethod
    def load(
        cls,
        model_dir: Path | str,
        threads: int | None = None,
        precision: Precision | None = None,
        lanes: int = 1,
        *,
        lanes_later: bool = False,
    ) -> Self:
        """Check a model dir, load it and run it once.

        Args:
            model_dir: weights, model.onnx, model_card.json, SHA256SUMS.
            threads: of one inference; None takes one for each core.
            precision: None takes that of the environment, or else the fastest that the card allows here.
            lanes: how many calls of `infer` may be made side by side, see `Runner`.
            lanes_later: leave it to the caller to `open_lanes`, which takes as long as all else.

        Raises:
            SettingsError: this machine does not have the engine or the precision that is asked for.
            ModelError: a file is missing or damaged, the card is for another task, has an impossible value or
                forbids the precision, or the model's inputs and outputs are not those of this kind of model;
                names the file.
        """
        model_dir = Path(model_dir)
        model = cls(model_dir, *open_card(model_dir, cls.TASK))
        model.runner = load_runner(model_dir, model.card.precisions, threads, precision, lanes)
        path = model_dir / MODEL_FILE
        model._check_outputs(model.runner.infer_blank(model.card.input_size, path), path)
        if not lanes_later:
            model.open_lanes()
        return model

    def open_lanes(self) -> None:
        """Get ready for several calls of `infer` side by side; they may be made meanwhile, and take turns.

        Raises:
            ModelError: the engine can't; it goes on as before.
        """
        self.runner.open_lanes(self.card.input_size, self.model_dir / MODEL_FILE)

    def with_runner(self, runner: Runner) -> Self:
        """The same model, run by another one."""
        other = copy.copy(self)
        other.runner = runner
        return other

    @property
    @abstractmethod
    def least_side(self) -> int:
        """Px that the longer side of a photo keeps at least when it is decoded."""

    @abstractmethod
    def fit(self, pixels: Pixels) -> Letterbox:
        """The square that the model sees of a photo's pixels (H, W, 3)."""

    @abstractmethod
    def infer(self, batch: Pixels, alone: bool = True) -> Iterable[Any]:
        """Run the model on (N, S, S, 3) uint8, the photos' tensors stacked. Returns N answers.

        `alone`: nothing else runs, see `Runner.infer`.
        """

    @abstractmethod
    def _check_outputs(self, outputs: Outputs, path: Path) -> None:
        """Raise ModelError, which names `path`, if the outputs for two photos are not those of this kind."""

    def decode(self, data: EncodedPhoto, max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
        """Read a JPEG, PNG or WebP file; a JPEG no larger than `least_side` asks for.

        Raises:
            UnsupportedImage, PhotoTooLarge: see `images.decode_reduced`.
        """
        return self.see(decode_reduced(data, self.least_side, max_pixels))

    def decode_batch(
        self, photos: Sequence[EncodedPhoto], max_pixels: int = MAX_PIXELS
    ) -> list[DecodedPhoto | UnsupportedImage]:
        """As `decode`, on a GPU where there is one; an error stands in the place of a photo that has one."""
        found = decode_batch(photos, self.least_side, max_pixels)
        return [self.see(photo) if isinstance(photo, ReducedPhoto) else photo for photo in found]

    def see(self, photo: ReducedPhoto) -> DecodedPhoto:
        """A photo that is decoded already, with what the model sees of it."""
        return DecodedPhoto(photo, self.fit(photo.pixels))
