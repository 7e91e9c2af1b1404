"""EdgeLinear: a weight matrix of its own for every edge of a graph, stored for the edges only."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


class EdgeLinear(nn.Module):
    """``y_i = sum_j g_ij x_j W_ij`` over the edges (i, j) of a graph, without weights where there is no edge.

    Targets with equally many sources are computed together, in one batched product of their sources side by side.

    Args:
        in_channels: Channels of a source.
        out_channels: Channels of a target.
        mask: True where target i (row) sees source j (column) (K, K).
    """

    source_index: Tensor
    target_index: Tensor

    def __init__(self, in_channels: int, out_channels: int, mask: np.ndarray) -> None:
        super().__init__()
        mask = np.asarray(mask, dtype=bool)
        degrees = mask.sum(axis=1)
        order = np.argsort(degrees, kind="stable")
        edges = np.array([(i, j) for i in order for j in np.flatnonzero(mask[i])], dtype=np.int64).reshape(-1, 2)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.edges = edges
        self.runs = [(int(n), int((degrees == n).sum())) for n in np.unique(degrees)]
        self.weight = nn.Parameter(torch.empty(len(edges), in_channels, out_channels))
        self.register_buffer("source_index", torch.from_numpy(edges[:, 1].copy()), persistent=False)
        self.register_buffer("target_index", torch.from_numpy(np.argsort(order, kind="stable")), persistent=False)
        bound = 1 / math.sqrt(in_channels * max(1.0, degrees.mean()))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, gains: Tensor | None = None) -> Tensor:
        """Map joints (B, K, in_channels) to (B, K, out_channels).

        Args:
            x: Joints.
            gains: A factor for each edge, in the order of ``edges``, for all poses (E,) or each (B, E).
        """
        parts, first = [], 0
        for degree, targets in self.runs:
            last = first + degree * targets
            if not degree:
                parts.append(x.new_zeros(targets, len(x), self.out_channels))
                continue
            sources = x.index_select(1, self.source_index[first:last])
            if gains is not None:
                sources = sources * gains[..., first:last, None]
            sources = sources.unflatten(1, (targets, degree)).flatten(2).transpose(0, 1)  # (T, B, degree * C)
            parts.append(sources @ self.weight[first:last].view(targets, -1, self.out_channels))
            first = last
        return torch.cat(parts).transpose(0, 1).index_select(1, self.target_index)

    @property
    def num_products(self) -> int:
        """Products with a weight for one pose."""
        return self.weight.numel()

    def dense_weight(self) -> Tensor:
        """Return the weights as one matrix (K, in_channels, K, out_channels), 0 where there is no edge."""
        size = len(self.target_index)
        dense = self.weight.new_zeros(size, size, self.in_channels, self.out_channels)
        dense[self.edges[:, 1], self.edges[:, 0]] = self.weight
        return dense.transpose(1, 2)
