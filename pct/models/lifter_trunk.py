"""Trunk: what all lifting networks share, a grid of features and the coordinates that its authors read off it."""

from __future__ import annotations

from torch import Tensor, nn

from pct.layers.joint_norm import JointNorm

NUM_DIMS = 3


class Trunk(nn.Module):
    """A network from 2D joints to features, with its published coordinate head.

    Args:
        num_keypoints: Joints K.
        num_positions: Vectors P of the feature grid: K, or 1 where a network does not keep joints apart.
        channels: Channels C of the features.
    """

    head: nn.Module | None

    def __init__(self, num_keypoints: int, num_positions: int, channels: int) -> None:
        super().__init__()
        self.num_keypoints, self.num_positions, self.channels = num_keypoints, num_positions, channels

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, P, C)."""
        raise NotImplementedError

    def coordinates(self, features: Tensor, x: Tensor) -> Tensor:
        """Read joints (B, K, 3) off the features of joints ``x``; not yet root-centred."""
        assert self.head is not None
        read: Tensor = self.head(features)
        return read.reshape(len(x), self.num_keypoints, NUM_DIMS)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to joints (B, K, 3); not yet root-centred."""
        return self.coordinates(self.embed(x), x)

    def drop_head(self) -> None:
        """Remove the coordinate head, where tokens are read off the features instead."""
        self.head = None


class ResidualTrunk(Trunk):
    """A first unit, residual blocks of two units, a last layer: the body of FCN, GCN, LCN and HCSF.

    A unit is a layer, batch normalisation, an activation and dropout; the identity is added after the last dropout.
    """

    start: nn.Sequential
    blocks: nn.Sequential

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, P, C)."""
        features: Tensor = self.blocks(self.start(x))
        return features


class Residual(nn.Sequential):
    """``x + layers(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Add the layers' result to their input."""
        return input + super().forward(input)


class Unit(nn.Sequential):
    """A layer, batch normalisation over poses and positions, an activation, dropout."""

    def __init__(self, layer: nn.Module, width: int, activation: nn.Module, dropout: float) -> None:
        super().__init__(layer, JointNorm(width), activation, nn.Dropout(dropout))
