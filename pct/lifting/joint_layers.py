"""Layers that mix joints, all cases of one formula: ``y_i = sum_k sum_j A^k_ij(x) x_j Theta^k_(i,j) + b``."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Sharing = Literal["all", "source", "target", "pair"]
BiasKind = Literal["channel", "joint", "group"]
# Poses that are mapped edge by edge at once, so that their sources stay in the cache of a CPU.
_CACHED_POSES = 256


class GraphConv(nn.Module):
    """The formula with given matrices A and any sharing of the weights Theta.

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
        bias: ``channel`` (one vector), ``joint`` (one each) or ``group`` (one each, summed as features are).
        gain: Start weights as Glorot's uniform ones times this, and biases uniform within one over the root of
            ``out_channels``; None starts both as torch starts a linear layer.

    Raises:
        ValueError: On an unknown sharing or bias, or matrices of a wrong shape.
    """

    groups: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: np.ndarray,
        sharing: Sharing = "all",
        bias: BiasKind = "channel",
        gain: float | None = None,
    ) -> None:
        super().__init__()
        if groups.ndim != 3 or groups.shape[1] != groups.shape[2]:
            raise ValueError(f"groups must be (G, K, K); got shape {groups.shape}")
        count, size, _ = groups.shape
        weights = {
            "all": (count, out_channels, in_channels),
            "source": (size, in_channels, count * out_channels),
            "target": (size, count * in_channels, out_channels),
            "pair": None,
        }
        biases = {"channel": (out_channels,), "joint": (size, out_channels), "group": (count, out_channels)}
        if sharing not in weights or bias not in biases:
            raise ValueError(
                f"sharing is {sharing!r} and bias {bias!r}; allowed are {', '.join(weights)} and {', '.join(biases)}"
            )
        self.sharing, self.bias_kind, shape = sharing, bias, weights[sharing]
        self.weight = nn.Parameter(torch.empty(shape)) if shape else None
        pairs = groups if sharing == "pair" else ()
        self.edges = nn.ModuleList(EdgeLinear(in_channels, out_channels, group != 0) for group in pairs)
        self.bias = nn.Parameter(torch.empty(biases[bias]))
        self.register_buffer("groups", torch.from_numpy(np.ascontiguousarray(groups, np.float32)), persistent=False)
        bound = 1 / math.sqrt(in_channels) if gain is None else gain * math.sqrt(6 / (in_channels + out_channels))
        for weight in [self.weight] if self.weight is not None else self.edges.parameters():
            nn.init.uniform_(weight, -bound, bound)
        bound = 1 / math.sqrt(in_channels if gain is None else out_channels)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to (B, K, out_channels)."""
        count = len(self.groups)
        if self.weight is None:
            y = sum(edge(x, a[edge.targets, edge.sources]) for edge, a in zip(self.edges, self.groups, strict=True))
        elif self.sharing == "target":
            summed = (self.groups.transpose(0, 1).flatten(0, 1) @ x).unflatten(1, (-1, count)).flatten(2)
            y = (summed.transpose(0, 1) @ self.weight).transpose(0, 1)
        else:
            shared = self.sharing == "all"
            mapped = x @ self.weight.flatten(0, 1).T if shared else (x.transpose(0, 1) @ self.weight).transpose(0, 1)
            y = self.groups.permute(1, 2, 0).flatten(1) @ mapped.unflatten(2, (count, -1)).flatten(1, 2)
        return y + (self.groups.sum(dim=2).T @ self.bias if self.bias_kind == "group" else self.bias)

    @property
    def num_products(self) -> int:
        """Products with a weight for one pose, those of ``edges`` not counted."""
        if self.weight is None:
            return 0
        return self.weight.numel() * (self.groups.shape[1] if self.sharing == "all" else 1)


class EdgeLinear(nn.Module):
    """``y_i = sum_j g_ij x_j W_ij`` over the edges (i, j) of a graph, without weights where there is no edge.

    Args:
        in_channels: Channels of a source.
        out_channels: Channels of a target.
        mask: True where target i (row) sees source j (column) (K, K).
    """

    targets: Tensor
    sources: Tensor

    def __init__(self, in_channels: int, out_channels: int, mask: np.ndarray) -> None:
        super().__init__()
        # Sorted by target, so that a target's weights lie together.
        targets, sources = map(torch.from_numpy, np.nonzero(mask))
        self.degrees = [int(n) for n in mask.sum(axis=1)]
        self.weight = nn.Parameter(torch.empty(len(targets), in_channels, out_channels))
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("sources", sources, persistent=False)
        bound = 1 / math.sqrt(in_channels * max(1.0, len(targets) / len(mask)))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, gains: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to (B, K, out_channels), with factors (E,) or (B, E) of the edges."""
        some = zip(x.split(_CACHED_POSES), gains.expand(len(x), -1).split(_CACHED_POSES), strict=True)
        return torch.cat([self._by_target(*part) for part in some])

    def _by_target(self, x: Tensor, gains: Tensor) -> Tensor:
        sources = x.index_select(1, self.sources) * gains[..., None]  # (B, E, in)
        targets = zip(sources.split(self.degrees, dim=1), self.weight.split(self.degrees), strict=True)
        return torch.stack([source.flatten(1) @ weight.flatten(0, 1) for source, weight in targets], dim=1)

    @property
    def num_products(self) -> int:
        """Products with a weight for one pose."""
        return self.weight.numel()


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
        self.edges = nn.ModuleList(EdgeLinear(in_channels, w, mask) for w, mask in zip(self.widths, masks, strict=True))
        self.num_edges = [int(mask.sum()) for mask in masks]
        self.gains = nn.Parameter(torch.ones(sum(self.num_edges)))
        edges = np.concatenate([np.argwhere(mask) for mask in masks])
        self.dynamic = DynamicAdjacency(in_channels, graph_width, edges, frames) if graph_width else None
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

    edges: Tensor

    def __init__(self, channels: int, width: int, edges: np.ndarray, frames: int = 1) -> None:
        super().__init__()
        if frames < 1 or frames % 2 == 0:
            raise ValueError(f"a dynamic graph is of an odd number of frames, got {frames}")
        self.frames = frames
        self.theta, self.phi = nn.Linear(frames * channels, width), nn.Linear(frames * channels, width)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.register_buffer("edges", torch.from_numpy(edges), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, C), or those of T frames (B, T, K, C), to what each edge's factor gains (B, [T,] E)."""
        if self.frames > 1:
            clip = x[:, None] if x.ndim == 3 else x
            offsets = torch.arange(self.frames, device=x.device) - self.frames // 2
            around = torch.arange(clip.shape[1], device=x.device)[:, None] + offsets
            seen = clip[:, around.clamp(0, clip.shape[1] - 1)]  # (B, T, F, K, C)
            x = seen.transpose(2, 3).reshape(*x.shape[:-1], -1)
        affinity = self.theta(x) @ self.phi(x).transpose(-1, -2) / math.sqrt(self.theta.out_features)
        return self.alpha * affinity.tanh()[..., self.edges[:, 0], self.edges[:, 1]]


class JointNorm(nn.BatchNorm1d):
    """Batch normalisation of each channel over all poses and joints: (B, K, C), or with frames (B, T, K, C)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise joints (..., C)."""
        return super().forward(input.flatten(0, -2)).view_as(input)
