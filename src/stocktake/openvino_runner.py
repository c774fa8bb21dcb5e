"""Models on CPUs by OpenVINO: fp32 and bf16 from model.onnx, int8 from the file that was made for it."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stocktake.errors import ModelError
from stocktake.model_card import INT8_FILE, MODEL_FILE
from stocktake.runner import (
    Engine,
    EngineMissing,
    Outputs,
    Precision,
    Runner,
    Wish,
    cannot_load,
    check_inputs,
)

if TYPE_CHECKING:
    import openvino

CAPABILITIES: dict[Precision, str] = {"int8": "INT8", "bf16": "BF16", "fp32": "FP32"}  # fastest first
# What int8 leaves in floating point is computed in fp32, so that a model says the same on every CPU. The
# plugin's own default would be bf16 wherever there are instructions for it, in fp32 models too.
HINTS: dict[Precision, str] = {"int8": "f32", "bf16": "bf16", "fp32": "f32"}


def load_openvino() -> Any:
    """Import openvino without its telemetry; every use of it, and of NNCF, comes through here.

    It tells Google Analytics of each import otherwise, and asks nobody.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if not installed
    import openvino

    return openvino


def find_engine() -> Engine:
    """OpenVINO, if this machine has it.

    Raises:
        EngineMissing: it is not installed, or cannot be loaded.
    """
    try:
        capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ModuleNotFoundError:
        raise EngineMissing("openvino is not installed") from None
    except Exception as error:  # of the loader of shared libraries, or of the plugin
        raise EngineMissing(f"openvino cannot be loaded ({error})") from error
    precisions = tuple(precision for precision, name in CAPABILITIES.items() if name in capabilities)
    return Engine("openvino", "cpu", precisions, OpenVinoRunner.load)


@functools.cache
def openvino_core() -> openvino.Core:
    """The one of the process, for ever.

    A core gives the thread that makes it a stack for signals, and takes that away again when it goes. With
    several that go in another order than they came, the next signal ends the process (2026.4).

    Files are read, not mapped: one that is written over while its model is served would end the process.
    """
    core = load_openvino().Core()
    core.set_property({"ENABLE_MMAP": False})
    return core


class OpenVinoRunner(Runner):
    """One model, compiled for one photo at a time: on CPUs batches are no faster, fixed shapes are.

    It is compiled once for all threads together and, when lanes are opened, a second time for shares of them.
    """

    engine = "openvino"
    device = "cpu"
    max_batch = 1

    def __init__(self, model: openvino.Model, wish: Wish):
        self.precision, self.reason = wish.precision, wish.reason
        self.lanes = min(wish.lanes, wish.threads)
        self._model, self._wish = model, wish
        self._whole = self._shares = _Requests(model, wish, streams=1)

    @classmethod
    def load(cls, model_dir: Path, wish: Wish) -> OpenVinoRunner:
        """Compile the file of a model dir that fits the precision.

        Raises:
            ModelError: there is no such file, OpenVINO refuses it, or its input is another one.
        """
        path = model_dir / (INT8_FILE if wish.precision == "int8" else MODEL_FILE)
        try:
            model = openvino_core().read_model(path)
            found = [
                (port.any_name, port.element_type.to_dtype().name, len(port.partial_shape))
                for port in model.inputs
            ]
            check_inputs(found, path)
            model.reshape([1, *list(model.inputs[0].partial_shape)[1:]])
            return cls(model, wish)
        except ModelError:
            raise
        except Exception as error:  # OpenVINO raises RuntimeError for anything
            raise cannot_load(path, error) from error

    def infer(self, batch: NDArray[np.uint8], alone: bool = True) -> Outputs:
        """See `Runner.infer`; the photos are run one after the other."""
        requests = self._whole if alone else self._shares
        rows = [requests.run(np.ascontiguousarray(photo[None])) for photo in batch]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _open_shares(self, blank: NDArray[np.uint8]) -> None:
        shares = _Requests(self._model, self._wish, streams=self.lanes)
        for _ in range(self.lanes):
            shares.run(blank)
        self._shares = shares


class _Requests:
    """A compiled model with a request for each of its streams; a request serves one call at a time."""

    def __init__(self, model: openvino.Model, wish: Wish, streams: int):
        config: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": wish.threads,
            "INFERENCE_PRECISION_HINT": HINTS[wish.precision],
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "ENABLE_HYPER_THREADING": True,  # threads are those that were asked for, not half of them
            "ENABLE_CPU_PINNING": False,  # other models and the decoding of photos share these cores
            "CACHE_DIR": "",
        }
        compiled = openvino_core().compile_model(model, "CPU", config)
        self._names = [port.any_name for port in model.outputs]  # a compiled one has names of its own, too
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())

    def run(self, photo: NDArray[np.uint8]) -> Outputs:
        """Run (1, H, W, 3) uint8; waits where all requests are busy."""
        request = self._free.get()
        try:
            found = request.infer(
                [photo], share_inputs=True
            ).to_tuple()  # copies, for the request is used again
        finally:
            self._free.put(request)
        return dict(zip(self._names, found, strict=True))
