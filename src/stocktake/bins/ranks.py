"""What the ranks of a training tell each other; alone, each function answers for itself. Imports torch."""

import os

import torch
from torch import Tensor, distributed, nn

from stocktake.errors import ModelError


def my_part() -> tuple[int, int]:
    """The number of this rank, from 0, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def ranks_here() -> int:
    """How many of them are on this machine, as PyTorch's launcher says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if distributed.is_initialized() else 1


def expect_same(what: str, found: int) -> None:
    """Raise ModelError where the first rank has another number than this one."""
    first = tell_all(str(found))
    if first != str(found):
        raise ModelError(f"{what} is {found} here and {first} on the first node; start the training again")


def sum_over_ranks(values: Tensor, device: torch.device) -> Tensor:
    """The sum of everybody's `values`, on the CPU; `device` is where this rank computes."""
    if not distributed.is_initialized():
        return values
    total = values.to(device, copy=True)
    distributed.all_reduce(total)
    return total.cpu()


def share_buffers(network: nn.Module) -> None:
    """Give every rank the running statistics of the first."""
    if distributed.is_initialized():
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)


def tell_all(text: str) -> str:
    """The first rank's `text`."""
    if not distributed.is_initialized():
        return text
    texts = [text]
    distributed.broadcast_object_list(texts, 0)
    return texts[0]
