"""GraphConv: the one layer that mixes joints in every lifting network."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.lifting.edge_linear import EdgeLinear

Sharing = Literal["all", "source", "target", "pair"]
BiasKind = Literal["none", "channel", "joint", "group"]


class GraphConv(nn.Module):
    """``y_i = sum_k sum_j A^k_ij x_j Theta^k_(i,j) + b``: a graph convolution with any sharing of its weights.

    The schemes are those of Liu et al., "A Comprehensive Study of Weight Sharing in Graph Networks for 3D Human Pose
    Estimation", 2020: with ``source`` weights features are mapped before they are summed (pre-aggregation), with
    ``target`` weights after (post-aggregation). Self and others have weights of their own when ``groups`` come from
    :func:`~pct.lifting.joint_groups.decouple_self`.

    ``weight`` is (G, out, in) for ``all``, the order of a 1x1 convolution to G * out channels; (K, in, G * out) for
    ``source``; (K, G * in, out) for ``target``; with ``pair`` each group has an :class:`EdgeLinear`.

    Args:
        in_channels: Channels of a joint.
        out_channels: Channels of a joint of the result.
        groups: Matrices A (G, K, K), rows are targets.
        sharing: What weights depend on: nothing (``all``), the ``source``, the ``target``, or the ``pair`` of both.
        bias: ``channel`` (one vector), ``joint`` (one each), ``group`` (one each, summed as features are) or ``none``.

    Raises:
        ValueError: On an unknown sharing or bias, or matrices of a wrong shape.
    """

    matrix: Tensor
    row_sums: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: np.ndarray,
        sharing: Sharing = "all",
        bias: BiasKind = "channel",
    ) -> None:
        super().__init__()
        if groups.ndim != 3 or groups.shape[1] != groups.shape[2]:
            raise ValueError(f"groups must be (G, K, K); got shape {groups.shape}")
        num_groups, size, _ = groups.shape
        weights = {
            "all": (num_groups, out_channels, in_channels),
            "source": (size, in_channels, num_groups * out_channels),
            "target": (size, num_groups * in_channels, out_channels),
            "pair": (),
        }
        biases = {"none": (0,), "channel": (out_channels,), "joint": (size, out_channels)}
        biases["group"] = (num_groups, out_channels)
        if sharing not in weights or bias not in biases:
            raise ValueError(
                f"sharing is {sharing!r} and bias {bias!r}; allowed are {', '.join(weights)} and {', '.join(biases)}"
            )
        self.sharing, self.bias_kind = sharing, bias
        self.in_channels, self.out_channels, self.num_groups = in_channels, out_channels, num_groups
        self.weight = nn.Parameter(torch.empty(weights[sharing])) if sharing != "pair" else None
        edges = [EdgeLinear(in_channels, out_channels, group != 0) for group in groups if sharing == "pair"]
        self.edges = nn.ModuleList(edges)
        self.bias = nn.Parameter(torch.empty(biases[bias])) if bias != "none" else None
        self._register_matrices(torch.from_numpy(np.ascontiguousarray(groups, dtype=np.float32)), edges)
        self.reset_parameters()

    def _register_matrices(self, groups: Tensor, edges: list[EdgeLinear]) -> None:
        by_target = groups.transpose(0, 1)  # (K, G, K)
        if self.sharing == "pair":
            values = [group[tuple(edge.edges.T)] for group, edge in zip(groups, edges, strict=True)]
            self.num_edges = [len(v) for v in values]
            self.plain = all(bool((v == 1).all()) for v in values)
            matrix = torch.cat(values)
        else:
            matrix = by_target.flatten(0, 1) if self.sharing == "target" else by_target.transpose(1, 2).flatten(1)
        self.register_buffer("matrix", matrix.contiguous(), persistent=False)
        self.register_buffer("row_sums", by_target.sum(dim=2), persistent=False)

    def reset_parameters(self, gain: float | None = None) -> None:
        """Draw new weights: torch's default for a linear layer, or with ``gain`` Glorot's uniform ones.

        With ``gain``, biases are uniform within one over the root of ``out_channels``.
        """
        fan_in, fan_out = self.in_channels, self.out_channels
        bound = 1 / math.sqrt(fan_in) if gain is None else gain * math.sqrt(6 / (fan_in + fan_out))
        for weight in [self.weight] if self.weight is not None else self.edges.parameters():
            nn.init.uniform_(weight, -bound, bound)
        if self.bias is not None:
            bound = 1 / math.sqrt(fan_in if gain is None else fan_out)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to (B, K, out_channels)."""
        if self.sharing == "pair":
            y = self._pairs(x)
        elif self.sharing == "target":
            gathered = (self.matrix @ x).unflatten(1, (-1, self.num_groups)).flatten(2)  # (B, K, G * in)
            y = (gathered.transpose(0, 1) @ self.weight).transpose(0, 1)
        else:
            assert self.weight is not None
            if self.sharing == "all":
                mapped = F.linear(x, self.weight.flatten(0, 1))  # (B, K, G * out)
            else:
                mapped = (x.transpose(0, 1) @ self.weight).transpose(0, 1)
            y = self.matrix @ mapped.unflatten(2, (self.num_groups, -1)).flatten(1, 2)
        if self.bias is None:
            return y
        return y + (self.row_sums @ self.bias if self.bias_kind == "group" else self.bias)

    def _pairs(self, x: Tensor) -> Tensor:
        values = self.matrix.split(self.num_edges)
        parts = [edge(x, None if self.plain else v) for edge, v in zip(self.edges, values, strict=True)]
        return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]

    @property
    def num_products(self) -> int:
        """Products with a weight for one pose, those of ``edges`` not counted."""
        if self.weight is None:
            return 0
        return self.weight.numel() * (len(self.row_sums) if self.sharing == "all" else 1)
