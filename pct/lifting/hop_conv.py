"""HopSqueeze: far joints get few channels; with DynamicAdjacency how much an edge counts depends on the poses."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from pct.lifting.edge_linear import EdgeLinear


class HopSqueeze(nn.Module):
    """Hop-wise graph convolution with fewer channels for farther joints (HCSF).

    Zeng et al., "Learning Skeletal Graph Neural Networks for Hard 3D Pose Estimation", 2021. Sources up to ``short``
    hops away are summed at full width, with weights for every edge; those at exactly k > ``short`` hops apart from the
    rest, in ``out_channels * decay ** (k - short)`` channels; a linear map shared by all joints fuses what came of
    them. The factors of edges are learned, from 1; with ``graph_width`` the pose adds to them. No code of the authors
    is public: exponent, defaults and the form of the dynamic part are our reading.

    Args:
        in_channels: Channels of a joint.
        out_channels: Channels of a joint of the result.
        hops: True where joints are k hops apart (L + 1, K, K), k = 0 .. L.
        short: Hops S at full width.
        decay: Factor d of the width from one hop to the next.
        graph_width: Width of the dynamic graph's features; 0 is the static graph.
        frames: Frames F that tell the dynamic graph; see :class:`DynamicAdjacency`.

    Raises:
        ValueError: If ``short`` is not among the hops or ``decay`` not in (0, 1].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hops: np.ndarray,
        short: int = 1,
        decay: float = 0.5,
        graph_width: int = 0,
        frames: int = 1,
    ) -> None:
        super().__init__()
        if not 0 <= short < len(hops):
            raise ValueError(f"short hops must be from 0 to {len(hops) - 1}, the longest; got {short}")
        if not 0 < decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {decay}")
        self.widths = [max(1, round(out_channels * decay**k)) for k in range(len(hops) - short)]
        masks = [hops[: short + 1].any(axis=0), *hops[short + 1 :]]
        edges = [EdgeLinear(in_channels, width, mask) for width, mask in zip(self.widths, masks, strict=True)]
        self.edges = nn.ModuleList(edges)
        self.num_edges = [len(edge.edges) for edge in edges]
        self.gains = nn.Parameter(torch.ones(sum(self.num_edges)))
        pairs = np.concatenate([edge.edges for edge in edges])
        self.dynamic = DynamicAdjacency(in_channels, graph_width, pairs, frames) if graph_width else None
        self.fuse = nn.Linear(sum(self.widths), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels), or those of T frames (B, T, K, in_channels), to as many with out_channels."""
        gains = self.gains if self.dynamic is None else (self.gains + self.dynamic(x)).flatten(0, -2)
        split, poses = gains.split(self.num_edges, dim=-1), x.flatten(0, -3)
        y = torch.cat([edge(poses, gain) for edge, gain in zip(self.edges, split, strict=True)], dim=-1)
        return self.fuse(y).unflatten(0, x.shape[:-2])


class DynamicAdjacency(nn.Module):
    """What poses add to the factors of a graph's edges: ``alpha * tanh(theta(x_i) . phi(x_j) / sqrt(width))``.

    ``alpha`` starts at 0, so that training begins with the skeleton's own graph (D-HCSF, Zeng et al., 2021). With
    several frames ``theta`` and ``phi`` are convolutions over time: the graph of a frame comes of the features of the F
    frames around it (the paper's temporal-aware graph), where a clip's first and last frames go on beyond its ends.

    Args:
        channels: Channels of a joint.
        width: Width of ``theta`` and ``phi``.
        edges: Pairs of target and source (E, 2).
        frames: Frames F, an odd number.

    Raises:
        ValueError: If ``frames`` is not odd and positive.
    """

    pairs: Tensor

    def __init__(self, channels: int, width: int, edges: np.ndarray, frames: int = 1) -> None:
        super().__init__()
        if frames < 1 or frames % 2 == 0:
            raise ValueError(f"a dynamic graph is of an odd number of frames, got {frames}")
        self.frames = frames
        self.theta, self.phi = nn.Linear(frames * channels, width), nn.Linear(frames * channels, width)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.scale = 1 / math.sqrt(width)
        self.register_buffer("pairs", torch.from_numpy(edges.copy()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, C), or those of T frames (B, T, K, C), to what each edge's factor gains (B, [T,] E)."""
        size = x.shape[-2]
        seen = x if self.frames == 1 else self._around(x[:, None] if x.ndim == 3 else x).view(*x.shape[:-1], -1)
        affinity = (self.theta(seen) @ self.phi(seen).transpose(-1, -2) * self.scale).tanh().flatten(-2)
        return self.alpha * affinity.index_select(-1, self.pairs[:, 0] * size + self.pairs[:, 1])

    def _around(self, x: Tensor) -> Tensor:
        """Return, for each frame of clips (B, T, K, C), the features of the F frames around it (B, T, K, F * C)."""
        offsets = torch.arange(self.frames, device=x.device) - self.frames // 2
        index = (torch.arange(x.shape[1], device=x.device)[:, None] + offsets).clamp(0, x.shape[1] - 1)
        return x[:, index].transpose(2, 3).flatten(3)
