"""The local-to-global lifting network: graph convolutions on joints and, pooled, on body parts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pct.lifting.graph_conv import GraphConv
from pct.lifting.joint_groups import body_parts, cai_groups, pooled_cai_groups
from pct.lifting.trunk import NUM_DIMS, JointNorm, Trunk, TrunkSizes

# The published code sets what it means as the first normalisation's momentum as its epsilon.
_INPUT_EPS = 0.1
_GLOBAL_DROPOUT, _HEAD_DROPOUT = 0.25, 0.1


class StgcnTrunk(Trunk):
    """Local-to-global graph network of a single frame.

    Cai et al., "Exploiting Spatial-temporal Relationships for 3D Pose Estimation via Graph Convolutional Networks",
    2019: 3,627,847 parameters for 17 joints. Features of the joints, of five body parts, and of the whole body are
    brought together; a non-local block follows. The refinement network, which needs the root's true depth, is left out.

    Args:
        sizes: Of the network; blocks after the first have up to four times its width, and their number is fixed.
    """

    part_index: Tensor

    def __init__(self, sizes: TrunkSizes) -> None:
        skeleton, width, dropout, in_channels = sizes.skeleton, sizes.width, sizes.dropout, sizes.in_channels
        size, wide = skeleton.num_keypoints, 4 * width
        super().__init__(size, size, wide)
        fine, pooled, parts = cai_groups(skeleton), pooled_cai_groups(skeleton), body_parts(skeleton)
        self.parts = [list(joints) for joints in parts.values()]
        part_index = [next(i for i, part in enumerate(self.parts) if joint in part) for joint in range(size)]
        self.register_buffer("part_index", torch.tensor(part_index), persistent=False)
        self.input_norm = nn.BatchNorm1d(size * in_channels, eps=_INPUT_EPS)
        self.fine = nn.Sequential(
            StgcnBlock(in_channels, width, fine, dropout, residual=False),
            StgcnBlock(width, width, fine, dropout),
            StgcnBlock(width, 2 * width, fine, dropout),
        )
        self.coarse = nn.Sequential(
            StgcnBlock(2 * width, wide, pooled, dropout), StgcnBlock(wide, wide, pooled, dropout)
        )
        self.whole = _mapped(wide, wide, _GLOBAL_DROPOUT)
        self.join = _mapped(2 * wide, 2 * width, _HEAD_DROPOUT)
        self.non_local = NonLocalBlock(wide, 2 * width)
        self.head = nn.Sequential(nn.Dropout(_HEAD_DROPOUT), nn.Linear(wide, NUM_DIMS))

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, K, 4 * width)."""
        fine = self.fine(self.input_norm(x.flatten(1)).view_as(x))
        pooled = torch.stack([fine[:, part].amax(dim=1) for part in self.parts], dim=1)
        coarse = self.coarse(pooled)
        whole = self.whole(coarse.amax(dim=1, keepdim=True)).expand_as(coarse)
        joined = self.join(torch.cat([whole, coarse], dim=-1)).index_select(1, self.part_index)
        features: Tensor = self.non_local(torch.cat([joined, fine], dim=-1))
        return features


class StgcnBlock(nn.Module):
    """A graph convolution and a map of each joint, both normalised, beside a shortcut.

    Args:
        in_channels: Channels of a joint.
        out_channels: Channels of a joint of the result.
        groups: Matrices of the graph (G, K, K).
        dropout: Share of features dropped in training.
        residual: Whether there is a shortcut: the identity, or a normalised map to ``out_channels``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: np.ndarray, dropout: float, residual: bool = True
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            GraphConv(in_channels, out_channels, groups, bias="group"),
            JointNorm(out_channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(out_channels, out_channels),
            JointNorm(out_channels),
            nn.Dropout(dropout),
        )
        self.shortcut: nn.Module | None = None
        if residual:
            mapped = nn.Sequential(nn.Linear(in_channels, out_channels), JointNorm(out_channels))
            self.shortcut = nn.Identity() if in_channels == out_channels else mapped

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, in_channels) to (B, K, out_channels)."""
        y: Tensor = self.layers(x)
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class NonLocalBlock(nn.Module):
    """Embedded Gaussian non-local block (Wang et al., "Non-local Neural Networks", 2018, eq. 4); starts as identity.

    Args:
        channels: Channels C of a joint.
        width: Width of the embeddings.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.theta, self.phi = nn.Linear(channels, width), nn.Linear(channels, width)
        self.value, self.out = nn.Linear(channels, width), nn.Linear(width, channels)
        self.norm = JointNorm(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        attention = (self.theta(x) @ self.phi(x).transpose(1, 2)).softmax(dim=-1)
        return x + self.norm(self.out(attention @ self.value(x)))


def _mapped(in_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, out_channels), JointNorm(out_channels), nn.ReLU(), nn.Dropout(dropout))
