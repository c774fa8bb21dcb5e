"""What an engine is to the rest of the library: photos in, arrays out, and what it says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stocktake.errors import ModelError

INPUT_NAME = "image"

Precision = Literal["fp32", "bf16", "fp16", "int8"]
EngineName = Literal["openvino", "onnxruntime"]
Device = Literal["cpu", "gpu"]
Outputs = dict[str, NDArray[np.float32]]


class Runner(ABC):
    """Runs one model. `infer` may be called from several threads at once.

    Attributes:
        engine: what runs it.
        device: where.
        precision: what it computes in.
        reason: why this engine and this precision, in a sentence.
        lanes: how many calls of `infer` run side by side with profit, once `open_lanes` is done.
        max_batch: how many photos one call should take at most; more are no error, but no gain either.
    """

    engine: EngineName
    device: Device
    precision: Precision
    reason: str
    lanes: int
    max_batch: int

    @abstractmethod
    def infer(self, batch: NDArray[np.uint8], alone: bool = True) -> Outputs:
        """Run the model.

        Args:
            batch: (N, H, W, 3) uint8 RGB.
            alone: nothing else runs, so take all threads; otherwise take one of `lanes` equal shares. Before
                `open_lanes` there are none, and calls take turns on all threads.

        Returns:
            The outputs by name, each with N rows; the same for the same photo, whatever is beside it.
        """

    @abstractmethod
    def _open_shares(self, blank: NDArray[np.uint8]) -> None:
        """Prepare `lanes` shares, warm them up with a photo (1, H, W, 3), then let `infer` use them."""

    def __str__(self) -> str:
        return f"{self.engine} on {self.device} in {self.precision}: {self.reason}"

    def infer_blank(self, size: int, path: Path) -> Outputs:
        """Run two blank photos of `size` px on all threads, which warms up and shows what comes out.

        Raises:
            ModelError: the model, which is that of `path`, can't.
        """
        try:
            return self.infer(_blank(2, size))
        except Exception as error:  # the engines' exceptions have no common base
            raise ModelError(f"{path}: cannot run a batch of 2 at {size} px ({error})") from error

    def open_lanes(self, size: int, path: Path) -> None:
        """Get ready for `lanes` photos of `size` px side by side; `infer` may be called meanwhile.

        Raises:
            ModelError: the model, which is that of `path`, can't; `infer` goes on as before.
        """
        if self.lanes == 1:
            return
        try:
            self._open_shares(_blank(1, size))
        except Exception as error:  # see above
            raise ModelError(f"{path}: cannot run {self.lanes} photos side by side ({error})") from error


class Wish(NamedTuple):
    """How a model is to be run: `threads` of one inference alone, `lanes` as in `Runner`, which says why."""

    precision: Precision
    threads: int
    lanes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that this machine has.

    `precisions` are those that it computes here, fastest first; `load` opens a model dir, or raises
    ModelError where it can't.
    """

    name: EngineName
    device: Device
    precisions: tuple[Precision, ...]
    load: Callable[[Path, Wish], Runner]


class EngineMissing(Exception):
    """This machine does not have an engine; the message says why, as the beginning of a sentence."""


def _blank(photos: int, size: int) -> NDArray[np.uint8]:
    return np.zeros((photos, size, size, 3), np.uint8)


def check_inputs(found: list[tuple[str, Any, int]], path: Path) -> None:
    """Check a model's inputs: `found` has name, type and number of dimensions of each.

    Raises:
        ModelError: they are not one `image`, (N, H, W, 3) uint8.
    """
    if found != [(INPUT_NAME, "uint8", 4)]:
        raise ModelError(
            f"{path}: its inputs are {found}, not one '{INPUT_NAME}', uint8, of shape (N, H, W, 3); "
            "export the model with stocktake"
        )


def cannot_load(path: Path, error: Exception) -> ModelError:
    """The error for a file that an engine refuses."""
    return ModelError(f"{path}: cannot be loaded ({error}); export the model again")
