"""Processes of one training run: rank, world size, sums over ranks; no-ops in a single process."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group exists."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, 1 in a single process."""
    return dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Whether this process writes files and draws progress bars."""
    return rank() == 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of ``tensor`` over all processes; the argument itself is left as it is."""
    if not is_distributed():
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def mean_over_all(values: Tensor, counted: Tensor) -> Tensor:
    """Return this process's part in the mean over the items of all processes, which may hold unequally many.

    The mean of the parts over the processes, as gradients and logs take it, is the mean over all items; in a single
    process the part is the mean itself. Every process must call it.

    Args:
        values: One for each item; may carry gradients.
        counted: Of the same shape: the items that count, bool, or how much each does. Without any the mean is 0; sums
            below 1 are taken for 1.
    """
    count = all_reduce_sum(counted.sum()) / world_size()
    return (values * counted).sum() / count.clamp(min=1 / world_size())


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        dist.barrier()


def start(device: str) -> torch.device:
    """Join the process group that ``torchrun`` announces, and return this process's device.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``. Of several processes each takes the
            CUDA device of its number on this machine.

    Raises:
        ValueError: If there is no such device.
    """
    local_rank = os.environ.get("LOCAL_RANK")
    chosen = _choose_device(device, int(local_rank or 0))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if local_rank is not None and not is_distributed():
        dist.init_process_group(backend="nccl" if chosen.type == "cuda" else "gloo")
    return chosen


def _choose_device(device: str, local_rank: int) -> torch.device:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not found):
        return torch.device("cpu")
    name, _, number = device.partition(":")
    if device not in ("auto", "cuda") and not (name == "cuda" and number.isdecimal()):
        raise ValueError(f"device is {device!r}; allowed are auto, cpu, cuda and cuda:N")
    index = int(number) if number else local_rank
    if index >= found:
        raise ValueError(f"device is {device!r}, but this machine has {found} CUDA devices, none of number {index}")
    return torch.device("cuda", index)


def stop() -> None:
    """Leave the process group, if there is one."""
    if is_distributed():
        dist.destroy_process_group()
