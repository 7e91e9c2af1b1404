"""Trunk: what all lifting networks share, a grid of features and the coordinates that its authors read off it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.skeleton import Skeleton

NUM_DIMS = 3


@dataclass(frozen=True)
class TrunkSizes:
    """What every lifting network is built from.

    Attributes:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the hidden layers.
        depth: Blocks.
        dropout: Share of features dropped in training.
    """

    skeleton: Skeleton
    in_channels: int
    width: int
    depth: int
    dropout: float

    def joint_codes(self) -> nn.Parameter:
        """Return a learned vector for each joint (K, width)."""
        return nn.Parameter(nn.init.trunc_normal_(torch.empty(self.skeleton.num_keypoints, self.width), std=0.02))


class Trunk(nn.Module):
    """A network from 2D joints to features, with its published coordinate head.

    Args:
        start: First layer.
        blocks: Blocks behind it.
        head: Reads coordinates off the features.
        num_positions: Vectors P of the feature grid: K, or 1 where all joints are one vector.
        channels: Channels C of the features.
        adds_input: Whether the 2D joints are added to the first two coordinates.
        frames: Frames that the features of one come of; networks of several take (B, T, K, in_channels) too.
    """

    head: nn.Module | None

    def __init__(
        self,
        start: nn.Module,
        blocks: Iterable[nn.Module],
        head: nn.Module,
        num_positions: int,
        channels: int,
        adds_input: bool = False,
        frames: int = 1,
    ) -> None:
        super().__init__()
        self.num_positions, self.channels, self.adds_input, self.frames = num_positions, channels, adds_input, frames
        self.start, self.blocks, self.head = start, nn.Sequential(*blocks), head
        # Of some networks: a learned code of each joint (K, C), dropout of what goes into the blocks, a last norm.
        self.joints: nn.Parameter | None = None
        self.dropout: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()

    @classmethod
    def normed(cls, sizes: TrunkSizes, blocks: Iterable[nn.Module]) -> Trunk:
        """Return a linear map of each joint, blocks that keep its width, a norm, and a linear map to coordinates."""
        start, head = nn.Linear(sizes.in_channels, sizes.width), nn.Linear(sizes.width, NUM_DIMS)
        trunk = cls(start, blocks, head, sizes.skeleton.num_keypoints, sizes.width)
        trunk.norm = nn.LayerNorm(sizes.width)
        return trunk

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, P, C)."""
        x = self.start(x.flatten(1)[:, None] if self.num_positions == 1 else x)
        x = x if self.joints is None else x + self.joints
        features: Tensor = self.norm(self.blocks(self.dropout(x)))
        return features

    def coordinates(self, features: Tensor, x: Tensor) -> Tensor:
        """Read joints (B, [T,] K, 3) off the features of joints ``x``; not yet root-centred."""
        assert self.head is not None
        read: Tensor = self.head(features).reshape(*x.shape[:-1], NUM_DIMS)
        return read + F.pad(x[..., :2], (0, NUM_DIMS - 2)) if self.adds_input else read

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to joints (B, K, 3); not yet root-centred."""
        return self.coordinates(self.embed(x), x)
