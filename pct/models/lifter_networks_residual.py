"""Lifting networks that are residual stacks of one kind of layer: FCN, GCN, LCN and HCSF."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.graph_conv import GraphConv, Sharing
from pct.layers.hop_conv import HopSqueeze
from pct.layers.joint_groups import convolution_groups, decouple_self, hop_sets, lcn_structure, vanilla_adjacency
from pct.models.lifter_trunk import NUM_DIMS, Residual, ResidualTrunk, Unit
from pct.skeleton import Skeleton


class FcnTrunk(ResidualTrunk):
    """Fully connected residual network: all joints in one vector.

    Martinez et al., "A simple yet effective baseline for 3d human pose estimation", 2017: 4,291,632 parameters for 16
    joints. As in its PyTorch version weights start as He's normal ones; there is no max-norm constraint, without which
    others report better results.
    """

    def __init__(self, skeleton: Skeleton, in_channels: int, width: int, depth: int, dropout: float) -> None:
        super().__init__(skeleton.num_keypoints, 1, width)

        def unit(channels: int) -> Unit:
            return Unit(nn.Linear(channels, width), width, nn.ReLU(), dropout)

        self.start = unit(self.num_keypoints * in_channels)
        self.blocks = nn.Sequential(*(Residual(unit(width), unit(width)) for _ in range(depth)))
        self.head = nn.Linear(width, self.num_keypoints * NUM_DIMS)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to one vector (B, 1, C)."""
        return super().embed(x.flatten(1)[:, None])


class GcnTrunk(ResidualTrunk):
    """Graph convolutions on the plain adjacency, with one of the weight sharings of Liu et al., 2020.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the hidden layers.
        depth: Residual blocks.
        dropout: Share of features dropped in training.
        sharing: What weights depend on; ``pair`` stores those of bones alone, where the paper's stores all K^2.
        decoupled: Give what a joint takes of itself weights of its own.
        convolution: Split neighbours into nearer to and farther from the hip, with weights each.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        width: int,
        depth: int,
        dropout: float,
        sharing: Sharing = "all",
        decoupled: bool = False,
        convolution: bool = False,
    ) -> None:
        super().__init__(skeleton.num_keypoints, skeleton.num_keypoints, width)
        groups = convolution_groups(skeleton) if convolution else vanilla_adjacency(skeleton)
        groups = decouple_self(groups) if decoupled else groups

        def conv(channels: int, out_channels: int) -> GraphConv:
            layer = GraphConv(channels, out_channels, groups, sharing)
            layer.reset_parameters(gain=1.414)
            return layer

        def unit(channels: int) -> Unit:
            return Unit(conv(channels, width), width, nn.ReLU(), dropout)

        self.start = unit(in_channels)
        self.blocks = nn.Sequential(*(Residual(unit(width), unit(width)) for _ in range(depth)))
        self.head = conv(width, NUM_DIMS)


class LcnTrunk(ResidualTrunk):
    """Locally connected network: each joint reads its neighbours with weights for every pair.

    Ci et al., "Optimizing Network Structure for 3D Human Pose Estimation", 2019: 4,365,363 weights at 3 hops, which
    alone are stored; the published code stores dense matrices and masks them. The input is added to the first two
    coordinates. The paper's target in the image plane, which needs the root's true depth to be read, and its max-norm
    are left out.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the hidden layers.
        depth: Residual blocks.
        dropout: Share of features dropped in training.
        hops: How far a joint sees, on the bones and the spine's edges to hips and shoulders.
    """

    def __init__(
        self, skeleton: Skeleton, in_channels: int, width: int, depth: int, dropout: float, hops: int = 3
    ) -> None:
        super().__init__(skeleton.num_keypoints, skeleton.num_keypoints, width)
        groups = lcn_structure(skeleton, hops)[None]

        def unit(channels: int) -> Unit:
            return Unit(_local(channels, width, groups), width, nn.LeakyReLU(0.2), dropout)

        self.start = unit(in_channels)
        self.blocks = nn.Sequential(*(Residual(unit(width), unit(width)) for _ in range(depth)))
        self.head = _local(width, NUM_DIMS, groups)

    def coordinates(self, features: Tensor, x: Tensor) -> Tensor:
        """Read joints (B, K, 3) off the features, as what is to be added to the 2D joints ``x``."""
        return super().coordinates(features, x) + F.pad(x[..., :2], (0, NUM_DIMS - 2))


class HcsfTrunk(ResidualTrunk):
    """Hop-wise convolutions that squeeze what comes from afar, on a static or dynamic graph.

    Zeng et al., "Learning Skeletal Graph Neural Networks for Hard 3D Pose Estimation", 2021, in the residual stack of
    LCN; no code of the authors is public, and its sizes are our choice.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the hidden layers.
        depth: Residual blocks.
        dropout: Share of features dropped in training.
        short: Hops S that are seen at full width.
        long: Hops L that are seen at all.
        decay: Factor of the width from one hop to the next.
        graph_width: Width of the dynamic graph's features; 0 is the static graph.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        width: int,
        depth: int,
        dropout: float,
        short: int = 1,
        long: int = 3,
        decay: float = 0.5,
        graph_width: int = 0,
    ) -> None:
        super().__init__(skeleton.num_keypoints, skeleton.num_keypoints, width)
        hops = hop_sets(skeleton, long)

        def conv(channels: int, out_channels: int) -> HopSqueeze:
            return HopSqueeze(channels, out_channels, hops, short, decay, graph_width)

        def unit(channels: int) -> Unit:
            return Unit(conv(channels, width), width, nn.LeakyReLU(0.2), dropout)

        self.start = unit(in_channels)
        self.blocks = nn.Sequential(*(Residual(unit(width), unit(width)) for _ in range(depth)))
        self.head = conv(width, NUM_DIMS)


def _local(channels: int, out_channels: int, groups: np.ndarray) -> GraphConv:
    """Return a locally connected layer with the published start: the fan is that of all joints, seen or not."""
    layer = GraphConv(channels, out_channels, groups, "pair", "joint")
    size = groups.shape[1]
    assert layer.bias is not None
    starts = [(weight, size * channels) for weight in layer.edges.parameters()]
    for values, fan in [*starts, (layer.bias, size * out_channels)]:
        std = math.sqrt(2 / fan)
        nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std)
    return layer
