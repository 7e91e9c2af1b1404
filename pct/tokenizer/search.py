"""Exact search for the nearest codebook entry, in blocks that stay in a CPU's cache, with its margin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pct.layers.packed_linear import PackedLinear

# Numbers of the score matrix that are held at once on the CPU: 512 kB, half of a core's second-level cache.
_BLOCK = 131072
_GPU_ROWS = 65536
_GROUP = 64
# Two entries whose squared distances differ by less than this share of the largest one are equally near: float64
# cannot tell them apart whatever the order of its sums.
_EQUAL = 1e-12


class NearestEntry:
    """Index of the nearest row of a codebook by Euclidean distance, in float32.

    ``|z - e|^2`` is ``|e|^2 - 2 z e`` up to a constant of the row, so a search is a product with a bias and a minimum.
    Entries are centred first, which leaves the order as it is and makes rounding smaller.

    Args:
        codebook: Entries (V, D).

    Attributes:
        tolerance: A margin below this may be rounding: then :func:`nearest_exactly` decides.
    """

    def __init__(self, codebook: Tensor) -> None:
        entries = codebook.detach().float()
        self.mean = entries.mean(dim=0)
        self.codebook_dim = entries.shape[1]
        # |e'|^2 / 2 - (z - mean) e' with e' = e - mean
        centred = entries - self.mean
        self.weight = -centred
        self.bias = centred.square().sum(dim=1) / 2 + centred @ self.mean
        self.scores = PackedLinear(self.weight, self.bias)
        self.tolerance = score_tolerance(entries)
        device = entries.device.type
        self.rows = max(16, _BLOCK // len(entries)) if device == "cpu" else _GPU_ROWS

    def __call__(self, z: Tensor) -> Tensor:
        """Return the indices (...), int64, of features ``z`` (..., D); the first one of equally near entries."""
        return self.search(z)[0]

    def search(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices (...), and where a second entry is so near (...) that rounding may have decided."""
        flat = z.reshape(-1, self.codebook_dim).float()
        indices = torch.empty(len(flat), dtype=torch.int64, device=flat.device)
        margin = torch.empty(len(flat), device=flat.device)
        with torch.autocast(flat.device.type, enabled=False):
            for start in range(0, len(flat), self.rows):
                block = slice(start, start + self.rows)
                indices[block], margin[block] = first_minimum(self.scores(flat[block]))
        return indices.view(z.shape[:-1]), (margin < self.tolerance).view(z.shape[:-1])


def score_tolerance(entries: Tensor) -> float:
    """Return the margin of scores below which float32 may have rounded the second nearest entry to be the nearest."""
    return 1.5e-6 * float((entries - entries.mean(dim=0)).square().sum(dim=1).max().clamp(min=1e-6))


def entry_search(codebook: Tensor, exact: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return :meth:`NearestEntry.search` of a codebook (V, D), or the same in float64, where nothing is unsure."""
    if not exact:
        return NearestEntry(codebook).search
    entries = codebook.double()

    def search(z: Tensor) -> tuple[Tensor, Tensor]:
        indices = nearest_exactly(z.flatten(0, -2), entries).view(z.shape[:-1])
        return indices, torch.zeros_like(indices, dtype=torch.bool)

    return search


def nearest_exactly(z: Tensor, codebook: Tensor) -> Tensor:
    """Return the nearest entries (N,) of a codebook (V, D) for features (N, D), both float64.

    Of entries that are equally near, up to the rounding of float64, it is the first one.
    """
    # Centred, so that the product loses nothing that tells entries apart.
    mean = codebook.mean(dim=0)
    z, centred = z - mean, codebook - mean
    distance = z.square().sum(dim=1, keepdim=True) - 2 * z @ centred.t() + centred.square().sum(dim=1)
    near = distance <= distance.amin(dim=1, keepdim=True) + _EQUAL * distance.amax(dim=1, keepdim=True)
    return near.to(torch.uint8).argmax(dim=1)


def first_minimum(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of the first smallest number of each row (N, V), int64 (N), and how much the next is larger.

    On the CPU a minimum is ten times faster than a minimum with its position; so the group that holds the minimum is
    found first, and the position only within it.
    """
    rows, columns = scores.shape
    if columns == 1:
        return scores.new_zeros(rows, dtype=torch.int64), scores.new_full((rows,), torch.inf)
    if scores.device.type != "cpu" or columns % _GROUP or columns < 4 * _GROUP:
        index = scores.argmin(dim=1)
        two = scores.topk(2, dim=1, largest=False).values
        return index, two[:, 1] - two[:, 0]
    groups = columns // _GROUP
    minima = scores.view(rows, groups, _GROUP).amin(dim=2)
    group = minima.argmin(dim=1)
    chosen = torch.arange(0, rows * groups, groups) + group
    inside = scores.view(rows * groups, _GROUP).index_select(0, chosen)
    place = inside.argmin(dim=1)
    best = inside.gather(1, place[:, None])
    others = minima.scatter(1, group[:, None], torch.inf).amin(dim=1)
    second = torch.minimum(others, inside.scatter(1, place[:, None], torch.inf).amin(dim=1))
    return group * _GROUP + place, second - best[:, 0]
