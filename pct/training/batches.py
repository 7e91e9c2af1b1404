"""Batches of poses: pure functions of (seed, step), so that resuming needs no state and all processes agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pct import distributed
from pct.training.tokenizer.augment import AugmentedPoses


class ShuffledRows:
    """Which rows of a table each step's batch holds, shuffled anew every epoch.

    Args:
        number: Rows of the table.
        batch_size: Rows a step over all processes.
        seed: Of the order.

    Raises:
        ValueError: If there are no rows, or the batch does not divide by the number of processes.
    """

    def __init__(self, number: int, batch_size: int, seed: int) -> None:
        if number == 0:
            raise ValueError("there are no poses to train on")
        if batch_size < 1 or batch_size % distributed.world_size():
            raise ValueError(
                f"batch_size {batch_size} must be positive and divide by the {distributed.world_size()} processes"
            )
        self.number, self.batch_size, self.seed = number, batch_size, seed
        self.steps_per_epoch = max(1, number // batch_size)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def __getitem__(self, step: int) -> Tensor:
        """Return the rows (batch_size,) of the whole batch of ``step``."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order, self._epoch = torch.randperm(self.number, generator=generator), epoch
        # A set smaller than a batch fills it by repetition.
        places = torch.arange(place * self.batch_size, (place + 1) * self.batch_size) % len(self._order)
        return self._order[places]

    def generator(self, step: int) -> torch.Generator:
        """Return the source of what is drawn for the batch of ``step``."""
        return torch.Generator().manual_seed((self.seed + 1) * 1_000_000_007 + step)

    def own_part(self) -> slice:
        """Return which rows of each batch are this process's."""
        share = self.batch_size // distributed.world_size()
        return slice(distributed.rank() * share, (distributed.rank() + 1) * share)


# An augmented copy of joints (B, K, D) in model units with those known (B, K), by chance.
Augment = Callable[[Tensor, Tensor, torch.Generator], AugmentedPoses]


class PoseBatches:
    """Augmented batches of normalised poses, shuffled anew every epoch.

    Every process draws the whole batch and keeps its own part: the batch does not depend on the number of processes,
    and augmenting keypoints costs next to nothing.

    Args:
        keypoints: Joints (N, K, D) in model units.
        visible: True where the joint is known (N, K).
        augment: Augmentation.
        batch_size: Poses a step over all processes.
        seed: Of order and augmentation.

    Raises:
        ValueError: If there are no poses, or the batch does not divide by the number of processes.
    """

    def __init__(self, keypoints: Tensor, visible: Tensor, augment: Augment, batch_size: int, seed: int = 0) -> None:
        self.keypoints, self.visible, self.augment, self.batch_size = keypoints, visible, augment, batch_size
        self._rows = ShuffledRows(len(keypoints), batch_size, seed)
        self.steps_per_epoch = self._rows.steps_per_epoch

    def __getitem__(self, step: int) -> AugmentedPoses:
        """Return this process's part of the batch of ``step``."""
        rows = self._rows[step]
        batch = self.augment(self.keypoints[rows], self.visible[rows], self._rows.generator(step))
        return batch.rows(self._rows.own_part())


class DeviceBatches:
    """Batches moved to a device.

    Args:
        batches: Batches by step, with ``steps_per_epoch`` and ``batch_size``.
        device: Where they go.
    """

    def __init__(self, batches: Any, device: torch.device) -> None:
        self.batches, self.device = batches, device
        self.steps_per_epoch, self.batch_size = batches.steps_per_epoch, batches.batch_size

    def __getitem__(self, step: int) -> Any:
        return self.batches[step].to(self.device)
