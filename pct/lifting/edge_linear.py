"""EdgeLinear: a weight matrix of its own for every edge of a graph, stored for the edges only."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

# What was fastest on a CPU: for fewer channels than these, and more poses, the full matrix; else a product for every
# target, on so many poses at once that their sources stay in the cache.
_FEW_CHANNELS, _FEW_POSES, _CACHED_POSES = 16, 4, 128


class EdgeLinear(nn.Module):
    """``y_i = sum_j g_ij x_j W_ij`` over the edges (i, j) of a graph, without weights where there is no edge.

    LCN was published as one matrix for all pairs that is masked at each step: LCN took 2.8 times as long so for one
    pose, and 1.3 times for 1,024.

    Args:
        in_channels: Channels of a source.
        out_channels: Channels of a target.
        mask: True where target i (row) sees source j (column) (K, K).
    """

    pairs: Tensor

    def __init__(self, in_channels: int, out_channels: int, mask: np.ndarray) -> None:
        super().__init__()
        mask = np.asarray(mask, dtype=bool)
        # Sorted by target, so that a target's weights lie together.
        self.edges = np.argwhere(mask)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.degrees = [int(n) for n in mask.sum(axis=1)]
        self.weight = nn.Parameter(torch.empty(len(self.edges), in_channels, out_channels))
        self.register_buffer("pairs", torch.from_numpy(self.edges), persistent=False)
        bound = 1 / math.sqrt(in_channels * max(1.0, len(self.edges) / len(mask)))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, gains: Tensor | None = None) -> Tensor:
        """Map joints (B, K, in_channels) to (B, K, out_channels).

        Args:
            x: Joints.
            gains: A factor for each edge, in the order of ``edges``, for all poses (E,) or each (B, E).
        """
        narrow = min(self.in_channels, self.out_channels) < _FEW_CHANNELS and len(x) > _FEW_POSES
        if narrow and (gains is None or gains.ndim == 1):
            return (x.flatten(1) @ self.dense_weight(gains)).unflatten(1, (len(self.degrees), self.out_channels))
        if gains is None or gains.ndim == 1:
            return torch.cat([self._by_target(part, gains) for part in x.split(_CACHED_POSES)])
        parts = zip(x.split(_CACHED_POSES), gains.split(_CACHED_POSES), strict=True)
        return torch.cat([self._by_target(part, gain) for part, gain in parts])

    def dense_weight(self, gains: Tensor | None = None) -> Tensor:
        """Return all weights, times ``gains`` (E,), as one matrix (K * in, K * out) that is 0 without an edge."""
        size, weight = len(self.degrees), self.weight.flatten(1)
        weight = weight if gains is None else weight * gains[:, None]
        dense = weight.new_zeros(size * size, weight.shape[1])
        dense = dense.index_copy(0, self.pairs[:, 1] * size + self.pairs[:, 0], weight)
        blocks = dense.view(size, size, self.in_channels, self.out_channels)  # (source, target, in, out)
        return blocks.transpose(1, 2).reshape(size * self.in_channels, size * self.out_channels)

    @property
    def num_products(self) -> int:
        """Products with a weight for one pose."""
        return self.weight.numel()

    def _by_target(self, x: Tensor, gains: Tensor | None) -> Tensor:
        sources = x.index_select(1, self.pairs[:, 1])  # (B, E, in)
        sources = sources if gains is None else sources * gains[..., None]
        targets = zip(sources.split(self.degrees, dim=1), self.weight.split(self.degrees), strict=True)
        return torch.stack([source.flatten(1) @ weight.flatten(0, 1) for source, weight in targets], dim=1)
