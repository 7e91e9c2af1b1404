"""Trunk: what all lifting networks share, a grid of features and the coordinates that its authors read off it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

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


# Makes a layer from its numbers of channels in and out.
Layer = Callable[[int, int], nn.Module]


class ResidualTrunk(Trunk):
    """A first unit, residual blocks of two units, a last layer: the body of FCN, GCN, LCN and HCSF.

    A unit is a layer, batch normalisation, an activation and dropout; the identity is added after the last dropout.

    Args:
        sizes: Of the network.
        layer: Makes the layers.
        activation: Of the units.
        flat: Whether all joints are one vector.
        adds_input: Whether the 2D joints are added to the first two coordinates.
    """

    def __init__(
        self, sizes: TrunkSizes, layer: Layer, activation: nn.Module, flat: bool = False, adds_input: bool = False
    ) -> None:
        joints, width = sizes.skeleton.num_keypoints, sizes.width
        super().__init__(joints, 1 if flat else joints, width)
        self.flat, self.adds_input, together = flat, adds_input, joints if flat else 1

        def unit(channels: int) -> Unit:
            return Unit(layer(channels, width), width, activation, sizes.dropout)

        self.start = unit(sizes.in_channels * together)
        self.blocks = nn.Sequential(*(Residual(unit(width), unit(width)) for _ in range(sizes.depth)))
        self.head = layer(width, NUM_DIMS * together)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, P, C)."""
        features: Tensor = self.blocks(self.start(x.flatten(1)[:, None] if self.flat else x))
        return features

    def coordinates(self, features: Tensor, x: Tensor) -> Tensor:
        """Read joints (B, [T,] K, 3) off the features of joints ``x``; not yet root-centred."""
        read = super().coordinates(features, x)
        return read + F.pad(x[..., :2], (0, NUM_DIMS - 2)) if self.adds_input else read


class Residual(nn.Sequential):
    """``x + layers(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Add the layers' result to their input."""
        return input + super().forward(input)


class Unit(nn.Sequential):
    """A layer, batch normalisation over poses and positions, an activation, dropout."""

    def __init__(self, layer: nn.Module, width: int, activation: nn.Module, dropout: float) -> None:
        super().__init__(layer, JointNorm(width), activation, nn.Dropout(dropout))


class JointNorm(nn.BatchNorm1d):
    """Batch normalisation of each channel over all poses and joints: (B, K, C), or with frames (B, T, K, C)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise joints (..., C)."""
        return super().forward(input.flatten(0, -2)).view_as(input)
