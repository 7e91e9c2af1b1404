"""Lifting networks that are residual stacks of one kind of layer: FCN, GCN, LCN and HCSF."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from pct.lifting.graph_conv import GraphConv, Sharing
from pct.lifting.hop_conv import HopSqueeze
from pct.lifting.joint_groups import convolution_groups, decouple_self, hop_sets, lcn_structure, vanilla_adjacency
from pct.lifting.trunk import NUM_DIMS, ResidualTrunk
from pct.skeleton import Skeleton


class FcnTrunk(ResidualTrunk):
    """Fully connected residual network: all joints in one vector.

    Martinez et al., "A simple yet effective baseline for 3d human pose estimation", 2017: 4,291,632 parameters for 16
    joints. As in its PyTorch version weights start as He's normal ones; there is no max-norm constraint, without which
    others report better results. For the arguments see :class:`~pct.lifting.trunk.ResidualTrunk`.
    """

    def __init__(self, skeleton: Skeleton, in_channels: int, width: int, depth: int, dropout: float) -> None:
        super().__init__(skeleton, in_channels, width, depth, dropout, nn.Linear, nn.ReLU(), flat=True)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)


class GcnTrunk(ResidualTrunk):
    """Graph convolutions on the plain adjacency, with one of the weight sharings of Liu et al., 2020.

    Args:
        skeleton, in_channels, width, depth, dropout: See :class:`~pct.lifting.trunk.ResidualTrunk`.
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
        groups = convolution_groups(skeleton) if convolution else vanilla_adjacency(skeleton)
        groups = decouple_self(groups) if decoupled else groups

        def conv(channels: int, out_channels: int) -> GraphConv:
            layer = GraphConv(channels, out_channels, groups, sharing)
            layer.reset_parameters(gain=1.414)
            return layer

        super().__init__(skeleton, in_channels, width, depth, dropout, conv, nn.ReLU())


class LcnTrunk(ResidualTrunk):
    """Locally connected network: each joint reads its neighbours with weights for every pair.

    Ci et al., "Optimizing Network Structure for 3D Human Pose Estimation", 2019: 4,365,363 weights at 3 hops, which
    alone are stored; the published code stores dense matrices and masks them. Weights start as published: the fan is
    that of all joints, seen or not. The input is added to the first two coordinates. The paper's target in the image
    plane, which needs the root's true depth to be read, and its max-norm are left out.

    Args:
        skeleton, in_channels, width, depth, dropout: See :class:`~pct.lifting.trunk.ResidualTrunk`.
        hops: How far a joint sees, on the bones and the spine's edges to hips and shoulders.
    """

    def __init__(
        self, skeleton: Skeleton, in_channels: int, width: int, depth: int, dropout: float, hops: int = 3
    ) -> None:
        groups, size = lcn_structure(skeleton, hops)[None], skeleton.num_keypoints

        def local(channels: int, out_channels: int) -> GraphConv:
            layer = GraphConv(channels, out_channels, groups, "pair", "joint")
            assert layer.bias is not None
            starts = [(weight, size * channels) for weight in layer.edges.parameters()]
            for values, fan in [*starts, (layer.bias, size * out_channels)]:
                std = math.sqrt(2 / fan)
                nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std)
            return layer

        super().__init__(skeleton, in_channels, width, depth, dropout, local, nn.LeakyReLU(0.2))

    def coordinates(self, features: Tensor, x: Tensor) -> Tensor:
        """Read joints (B, K, 3) off the features, as what is to be added to the 2D joints ``x``."""
        return super().coordinates(features, x) + F.pad(x[..., :2], (0, NUM_DIMS - 2))


class HcsfTrunk(ResidualTrunk):
    """Hop-wise convolutions that squeeze what comes from afar, on a static or dynamic graph.

    Zeng et al., "Learning Skeletal Graph Neural Networks for Hard 3D Pose Estimation", 2021, in the residual stack of
    LCN; no code of the authors is public, and its sizes are our choice. With several frames only the graph's factors
    come of the neighbouring frames; each pose is mapped by itself.

    Args:
        skeleton, in_channels, width, depth, dropout: See :class:`~pct.lifting.trunk.ResidualTrunk`.
        short: Hops S that are seen at full width.
        long: Hops L that are seen at all.
        decay: Factor of the width from one hop to the next.
        graph_width: Width of the dynamic graph's features; 0 is the static graph.
        frames: Frames F, an odd number, that tell each layer's dynamic graph.

    Raises:
        ValueError: If several frames are given to a static graph.
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
        frames: int = 1,
    ) -> None:
        if frames != 1 and not graph_width:
            raise ValueError(
                f"frames is {frames}, but a static graph (graph_width 0) sees no other frames; it must be 1"
            )
        hops = hop_sets(skeleton, long)

        def conv(channels: int, out_channels: int) -> HopSqueeze:
            return HopSqueeze(channels, out_channels, hops, short, decay, graph_width, frames)

        super().__init__(skeleton, in_channels, width, depth, dropout, conv, nn.LeakyReLU(0.2))
        self.frames = frames
