"""Trunk: what all lifting networks share, a grid of features and the coordinates that its authors read off it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pct.lifting.joint_norm import JointNorm
from pct.skeleton import Skeleton

NUM_DIMS = 3


class Trunk(nn.Module):
    """A network from 2D joints to features, with its published coordinate head.

    Args:
        num_keypoints: Joints K.
        num_positions: Vectors P of the feature grid: K, or 1 where a network does not keep joints apart.
        channels: Channels C of the features.
    """

    head: nn.Module | None
    # Frames that the features of one come of; networks of several take (B, T, K, in_channels) too.
    frames = 1

    def __init__(self, num_keypoints: int, num_positions: int, channels: int) -> None:
        super().__init__()
        self.num_keypoints, self.num_positions, self.channels = num_keypoints, num_positions, channels

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, P, C)."""
        raise NotImplementedError

    def coordinates(self, features: Tensor, x: Tensor) -> Tensor:
        """Read joints (B, [T,] K, 3) off the features of joints ``x``; not yet root-centred."""
        assert self.head is not None
        read: Tensor = self.head(features)
        return read.reshape(*x.shape[:-1], NUM_DIMS)

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to joints (B, K, 3); not yet root-centred."""
        return self.coordinates(self.embed(x), x)


# Makes a layer from its numbers of channels in and out.
Layer = Callable[[int, int], nn.Module]


class ResidualTrunk(Trunk):
    """A first unit, residual blocks of two units, a last layer: the body of FCN, GCN, LCN and HCSF.

    A unit is a layer, batch normalisation, an activation and dropout; the identity is added after the last dropout.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the hidden layers.
        depth: Residual blocks.
        dropout: Share of features dropped in training.
        layer: Makes the layers.
        activation: Of the units.
        flat: Whether all joints are one vector.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        width: int,
        depth: int,
        dropout: float,
        layer: Layer,
        activation: nn.Module,
        flat: bool = False,
    ) -> None:
        joints = skeleton.num_keypoints
        super().__init__(joints, 1 if flat else joints, width)
        self.flat, together = flat, joints if flat else 1

        def unit(channels: int) -> Unit:
            return Unit(layer(channels, width), width, activation, dropout)

        self.start = unit(in_channels * together)
        self.blocks = nn.Sequential(*(Residual(unit(width), unit(width)) for _ in range(depth)))
        self.head = layer(width, NUM_DIMS * together)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, P, C)."""
        features: Tensor = self.blocks(self.start(x.flatten(1)[:, None] if self.flat else x))
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
