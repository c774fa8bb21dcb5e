"""Models by ONNX Runtime: on NVIDIA GPUs, and on CPUs where OpenVINO cannot.

On a GPU fp16 is computed by TensorRT, which rounds model.onnx itself; CUDA's provider runs it in fp32.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stocktake.errors import ModelError
from stocktake.model_card import MODEL_FILE
from stocktake.runner import (
    INPUT_NAME,
    Device,
    Engine,
    EngineMissing,
    Outputs,
    Runner,
    Wish,
    cannot_load,
    check_inputs,
)
from stocktake.settings import load_settings

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
GPU_LANES = 2  # one batch is copied while another is computed
GPU_BATCH = 32


def find_gpu_engine() -> Engine:
    """ONNX Runtime on a GPU, if this machine has both.

    Raises:
        EngineMissing: ONNX Runtime is not installed or not built for GPUs, or there is no GPU.
    """
    if not _gpus():  # before 20 MB are imported that most machines without one never use
        raise EngineMissing("there is no NVIDIA GPU")
    offered = _providers()
    if CUDA not in offered:
        raise EngineMissing("onnxruntime is not built for GPUs")
    return Engine("onnxruntime", "gpu", ("fp16", "fp32") if TENSORRT in offered else ("fp32",), load_on_gpu)


def find_cpu_engine() -> Engine:
    """ONNX Runtime on the CPU.

    Raises:
        EngineMissing: it is not installed.
    """
    _providers()
    return Engine("onnxruntime", "cpu", ("fp32",), load_on_cpu)


class OnnxRunner(Runner):
    """One model in a session: on a GPU for all lanes, on a CPU for all threads, and another for shares."""

    engine = "onnxruntime"

    def __init__(self, device: Device, wish: Wish, session: InferenceSession, path: Path):
        self.device, self.precision, self.reason = device, wish.precision, wish.reason
        self.lanes = min(wish.lanes, wish.threads if device == "cpu" else GPU_LANES)
        self.max_batch = 1 if device == "cpu" else GPU_BATCH
        self._whole = self._shares = session
        self._threads, self._path = wish.threads, path
        self._names = [output.name for output in session.get_outputs()]

    def infer(self, batch: NDArray[np.uint8], alone: bool = True) -> Outputs:
        """See `Runner.infer`."""
        session = self._whole if alone else self._shares
        return dict(zip(self._names, session.run(None, {INPUT_NAME: batch}), strict=True))

    def _open_shares(self, blank: NDArray[np.uint8]) -> None:
        on_cpu = self.device == "cpu"
        shares = _open(self._path, [CPU], self._threads // self.lanes) if on_cpu else self._whole
        shares.run(None, {INPUT_NAME: blank})
        self._shares = shares


def load_on_cpu(model_dir: Path, wish: Wish) -> OnnxRunner:
    """Open model.onnx of a model dir on the CPU.

    Raises:
        ModelError: ONNX Runtime refuses it, or its input is another one.
    """
    path = model_dir / MODEL_FILE
    return OnnxRunner("cpu", wish, _open(path, [CPU], wish.threads), path)


def load_on_gpu(model_dir: Path, wish: Wish) -> OnnxRunner:
    """Open model.onnx of a model dir on the first GPU.

    Raises:
        ModelError: ONNX Runtime refuses it, its input is another one, or the provider does not start.
    """
    import onnxruntime

    path = model_dir / MODEL_FILE
    sides = "x".join(map(str, _open(path, [CPU], 1).get_inputs()[0].shape[1:]))
    cuda: tuple[str, dict[str, Any]] = (CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})
    tensorrt: tuple[str, dict[str, Any]] = (
        TENSORRT,
        {
            "trt_fp16_enable": True,
            "trt_profile_min_shapes": f"{INPUT_NAME}:1x{sides}",  # else each new batch size builds anew
            "trt_profile_opt_shapes": f"{INPUT_NAME}:8x{sides}",
            "trt_profile_max_shapes": f"{INPUT_NAME}:{GPU_BATCH}x{sides}",
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(load_settings().cache / "tensorrt"),
        },
    )
    providers = [tensorrt, cuda, CPU] if wish.precision == "fp16" else [cuda, CPU]
    onnxruntime.preload_dlls()
    session = _open(path, providers, wish.threads)
    wanted, started = providers[0][0], session.get_providers()[0]
    if started != wanted:
        raise ModelError(f"{path}: {wanted} did not start, only {started}; see the log of onnxruntime")
    return OnnxRunner("gpu", wish, session, path)


def _open(path: Path, providers: list[Any], threads: int) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    try:
        session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:  # the engine's exceptions have no common base
        raise cannot_load(path, error) from error
    found = [
        (node.name, node.type.removeprefix("tensor(").removesuffix(")"), len(node.shape))
        for node in session.get_inputs()
    ]
    check_inputs(found, path)
    return session


def _providers() -> list[str]:
    """The providers that this build of ONNX Runtime has, be their hardware there or not."""
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers())
    except ModuleNotFoundError:
        raise EngineMissing("onnxruntime is not installed") from None
    except Exception as error:  # of the loader of shared libraries
        raise EngineMissing(f"onnxruntime cannot be loaded ({error})") from error


def _gpus() -> int:
    """NVIDIA GPUs that this process may use, as the driver counts them."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
