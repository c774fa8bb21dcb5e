"""Which engine runs a model on this machine, and in which precision.

    GPU             ONNX Runtime: fp16 by TensorRT, or fp32 by CUDA
    CPU             OpenVINO: int8, bf16 where the CPU has instructions for it, fp32
    CPU, otherwise  ONNX Runtime: fp32

The fastest precision that the card of the model allows is taken, unless one is asked for: by an argument, or
by STOCKTAKE_PRECISION. STOCKTAKE_ENGINE asks for an engine.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stocktake.errors import ModelError, SettingsError
from stocktake.model_card import CARD_FILE
from stocktake.onnx_runner import find_cpu_engine, find_gpu_engine
from stocktake.openvino_runner import find_engine as find_openvino
from stocktake.runner import Engine, EngineMissing, EngineName, Precision, Runner, Wish
from stocktake.settings import load_settings

logger = logging.getLogger(__name__)

FINDERS: tuple[tuple[EngineName, Callable[[], Engine]], ...] = (  # the fastest first
    ("onnxruntime", find_gpu_engine),
    ("openvino", find_openvino),
    ("onnxruntime", find_cpu_engine),
)


def load_runner(
    model_dir: Path,
    allowed: Sequence[Precision],
    threads: int | None = None,
    precision: Precision | None = None,
    lanes: int = 1,
    engine: EngineName | None = None,
) -> Runner:
    """Open the model of a model dir with the best engine and in the fastest precision that there is.

    Where an engine can't run the model the next one does; the log and `Runner.reason` say so.

    Args:
        model_dir: with model.onnx, and a file for int8 where that is allowed.
        allowed: precisions that the model may be served in, as its card says.
        threads: of one inference; None takes one for each core.
        precision: None takes that of the environment, or else the fastest.
        lanes: how many calls of `infer` may be made side by side, once `Runner.open_lanes` is done.
        engine: None takes that of the environment, or else the best.

    Raises:
        SettingsError: this machine does not have the engine, or not the precision.
        ModelError: the card forbids the precision, or no engine can run the model.
    """
    settings = load_settings()
    wanted, by_name = precision or settings.precision, engine or settings.engine
    if wanted and wanted not in allowed:
        raise ModelError(
            f"{model_dir / CARD_FILE}: precision is {wanted}, but the card allows {', '.join(allowed)} only;"
            " its precision_gate says why"
        )
    cores = threads or len(os.sched_getaffinity(0))
    because = f"{wanted} was asked for" if wanted else "the fastest precision that its card allows here"
    search = _Search(by_name, [wanted] if wanted else allowed)
    failure: ModelError | None = None
    for found, chosen in search.candidates():
        try:
            runner = found.load(model_dir, Wish(chosen, cores, lanes, "; ".join([*search.skipped, because])))
        except ModelError as error:
            failure = error
            search.skipped.append(f"{found.name} cannot run it in {chosen}, the log says why")
            logger.warning("%s cannot run it in %s: %s", found.name, chosen, error)
        else:
            logger.info("%s is run by %s", model_dir, runner)
            return runner
    raise failure or search.nothing_found()


class _Search:
    """Looks for engines of one name, or of any, that compute in one of some precisions.

    Attributes:
        skipped: why better ones were not taken.
    """

    def __init__(self, name: EngineName | None, precisions: Sequence[Precision]):
        self._name, self._precisions = name, precisions
        self._here: list[str] = []
        self.skipped: list[str] = []

    def candidates(self) -> Iterator[tuple[Engine, Precision]]:
        """Engine and precision, best first."""
        for engine in _engines(self._name, self.skipped):
            self._here.append(f"{engine.name} computes in {', '.join(engine.precisions)}")
            for precision in engine.precisions:
                if precision in self._precisions:
                    yield engine, precision

    def nothing_found(self) -> SettingsError:
        """The error where there were no candidates."""
        if not self._here:
            return SettingsError(f"{'; '.join(self.skipped)}; install stocktake[predictor]")
        return SettingsError(
            f"precision is {' or '.join(self._precisions)}, but here {'; '.join(self._here)}"
        )


def find_engines() -> None:
    """Load the engines that models are run by, in the calling thread; others are not even imported."""
    for engine in _engines(load_settings().engine, []):
        if engine.device == "cpu":  # what a GPU can't run falls back to this one
            return


def precisions_here() -> set[Precision]:
    """What the engines of this machine compute in."""
    return {precision for engine in _engines(load_settings().engine, []) for precision in engine.precisions}


def _engines(name: EngineName | None, missing: list[str]) -> Iterator[Engine]:
    """The engines of this machine, or those of one name, best first.

    Adds to `missing` why one that comes before is not among them; that there is no GPU is no news.
    """
    for known, find in FINDERS:
        if name in (None, known):
            try:
                yield find()
            except EngineMissing as reason:
                if find is not find_gpu_engine:
                    missing.append(str(reason))
