"""Batches: pure functions of (seed, step), so that resuming needs no state and all processes agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from pct import distributed


class EpochOrder:
    """Which rows of a table each step's batch holds, drawn anew every epoch.

    Args:
        number: Rows N of the table.
        batch_size: Rows a step over all processes.
        seed: Of the order.
        weights: Probability of each row (N,), with sum 1; None takes each once an epoch.

    Raises:
        ValueError: If there are no rows, or the batch does not divide by the number of processes.
    """

    def __init__(self, number: int, batch_size: int, seed: int, weights: np.ndarray | None = None) -> None:
        processes = distributed.world_size()
        if number == 0:
            raise ValueError("there are no poses to train on")
        if batch_size < 1 or batch_size % processes:
            raise ValueError(f"batch_size {batch_size} must be positive and divide by the {processes} processes")
        self.number, self.batch_size, self.seed, self.weights = number, batch_size, seed, weights
        self.steps_per_epoch = max(1, number // batch_size)
        share = batch_size // processes
        self.own = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, step: int) -> np.ndarray:
        """Return the rows (batch_size,) of the whole batch of ``step``, int64; ``own`` are this process's."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            rng, weights = np.random.default_rng((self.seed, epoch)), self.weights
            drawn = rng.permutation(self.number) if weights is None else rng.choice(self.number, self.number, p=weights)
            self._epoch, self._order = epoch, drawn
        # A set smaller than a batch fills it by repetition.
        return self._order[(place * self.batch_size + np.arange(self.batch_size)) % self.number]


Batch = TypeVar("Batch", bound="TensorBatch")
Item = TypeVar("Item")


@dataclass(frozen=True)
class TensorBatch:
    """A batch whose columns are tensors of B rows; None where it has no such column."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def rows(self: Batch, rows: slice | Tensor) -> Batch:
        """Return some of the rows."""
        return self._each(lambda column: column[rows])

    def to(self: Batch, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return self._each(lambda column: column.to(device))

    def _each(self: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{name: None if column is None else change(column) for name, column in columns.items()})


class DrawnBatches(Generic[Batch]):
    """Batches that are made on the fly of rows in the order of :class:`EpochOrder`.

    Every process draws the whole batch and keeps its own part: the batch does not depend on the number of processes,
    and drawing poses costs next to nothing.

    Args:
        number: Rows that there are.
        draw: Makes a batch of rows (B,), by chance.
        batch_size: Rows a step over all processes.
        seed: Of order and chance.

    Raises:
        ValueError: As :class:`EpochOrder`.
    """

    def __init__(
        self, number: int, draw: Callable[[Tensor, torch.Generator], Batch], batch_size: int, seed: int = 0
    ) -> None:
        self.draw, self.batch_size, self.seed = draw, batch_size, seed
        self._order = EpochOrder(number, batch_size, seed)
        self.steps_per_epoch = self._order.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        """Return this process's part of the batch of ``step``."""
        generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_000_007 + step)
        return self.draw(torch.from_numpy(self._order[step]), generator).rows(self._order.own)


@torch.no_grad()
def gather(batches: Iterable[Item], measure: Callable[[Item], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return by name what is measured on each pose of batches, each (B, ...), one after the other on the CPU."""
    parts: dict[str, list[Tensor]] = {}
    for batch in batches:
        for name, values in measure(batch).items():
            parts.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(values) for name, values in parts.items()}
