"""The devices of this machine that a training runs on."""

import os

from stocktake.errors import SettingsError
from stocktake.setting_checks import split_devices


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
    """Have idle OpenMP threads sleep: on shared cores spinning costs five times.

    Call it before torch is imported; processes that are started afterwards inherit it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def use_cores(share: int = 1) -> None:
    """Let torch use the cores of this process, or one part in `share` of them."""
    import torch

    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // share, 1))
