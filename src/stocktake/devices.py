"""The devices of this machine that a training runs on."""

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator

from stocktake.errors import SettingsError
from stocktake.setting_checks import split_devices

log = logging.getLogger(__name__)

SPINS = 30_000  # of an OpenMP thread before it sleeps: well under a millisecond
KEPT_BYTES = 1 << 30
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
MEMORY_ERRORS = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")


def gpu_devices(count: int) -> str:
    """`device` for this many GPUs of this machine: 0 = CPU, 1 = a GPU if there is one, 2 = a rank on each."""
    return "cpu" if count == 0 else "" if count == 1 else ",".join(map(str, range(count)))


def check_devices(device: str) -> None:
    """Raise SettingsError where a GPU is asked for that is not there."""
    numbers = [int(part) for part in split_devices(device) if part.isdigit()]
    if not numbers:
        return
    import torch

    found = torch.cuda.device_count()
    if max(numbers) >= found:
        raise SettingsError(
            f"device is {device!r}, but this machine has {found} usable GPUs; use device '' or 'cpu'"
        )


def let_threads_sleep() -> None:
    """Have OpenMP threads that wait for work sleep soon, for the gaps within a step are short.

    On shared cores threads that spin for long cost five times; ones that sleep at once cost a tenth of a
    training that has its cores for itself. OMP_WAIT_POLICY, where it is set, decides instead. Call it
    before torch is imported; processes that are started afterwards inherit it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def prepare_torch(share: int = 1) -> None:
    """Let torch use the cores of this process, or one part in `share` of them, and keep the memory it frees.

    glibc otherwise gives large tensors back to the kernel in every step, and a fifth of a training on the CPU
    goes into getting their pages again.
    """
    import torch

    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // share, 1))
    with contextlib.suppress(AttributeError):  # not every C library has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def check_amp(amp: str, device: str) -> None:
    """Check that `device`, as in `check_devices`, computes in this mixed precision.

    Raises:
        SettingsError: it cannot. A CPU that can, but slowly, is warned of.
    """
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        if amp == "fp16":
            raise SettingsError("amp is 'fp16', which is for GPUs; on a CPU use bf16 or none")
        if not torch.cpu._is_avx512_bf16_supported():
            log.warning("amp is bf16, which this CPU has no instructions for: it will be slow")
    elif amp == "bf16" and not torch.cuda.is_bf16_supported():
        raise SettingsError("amp is 'bf16', which this GPU does not have; use fp16 or none")


def quick_amp() -> str:
    """The mixed precision that this machine is fast in: bf16, or none."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else ""
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else ""


@contextlib.contextmanager
def advise_on_memory(what: str, names: str) -> Iterator[None]:
    """Turn PyTorch's ways of saying that memory ran out, in this block, into one error with advice.

    Raises:
        SettingsError: `what` does not fit; lower `names`.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(text in str(error).lower() for text in MEMORY_ERRORS):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SettingsError(
                f"{what} does not fit into memory; lower {names} and run again ({reason})"
            ) from error
        raise
