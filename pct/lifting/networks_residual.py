"""Lifting networks that are residual stacks of one kind of layer: FCN, GCN, LCN and HCSF."""

from __future__ import annotations

import math

from torch import nn

from pct.lifting.graph_conv import GraphConv, Sharing
from pct.lifting.hop_conv import HopSqueeze
from pct.lifting.joint_groups import convolution_groups, decouple_self, hop_sets, lcn_structure, vanilla_adjacency
from pct.lifting.trunk import ResidualTrunk, TrunkSizes


def fcn_trunk(sizes: TrunkSizes) -> ResidualTrunk:
    """Fully connected residual network: all joints in one vector.

    Martinez et al., "A simple yet effective baseline for 3d human pose estimation", 2017: 4,291,632 parameters for 16
    joints. As in its PyTorch version weights start as He's normal ones; there is no max-norm constraint, without which
    others report better results.
    """
    trunk = ResidualTrunk(sizes, nn.Linear, nn.ReLU(), flat=True)
    for layer in trunk.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return trunk


def gcn_trunk(
    sizes: TrunkSizes, sharing: Sharing = "all", decoupled: bool = False, convolution: bool = False
) -> ResidualTrunk:
    """Graph convolutions on the plain adjacency, with one of the weight sharings of Liu et al., 2020.

    Args:
        sizes: Of the network.
        sharing: What weights depend on; ``pair`` stores those of bones alone, where the paper's stores all K^2.
        decoupled: Give what a joint takes of itself weights of its own.
        convolution: Split neighbours into nearer to and farther from the hip, with weights each.
    """
    groups = convolution_groups(sizes.skeleton) if convolution else vanilla_adjacency(sizes.skeleton)
    groups = decouple_self(groups) if decoupled else groups

    def conv(channels: int, out_channels: int) -> GraphConv:
        layer = GraphConv(channels, out_channels, groups, sharing)
        layer.reset_parameters(gain=1.414)
        return layer

    return ResidualTrunk(sizes, conv, nn.ReLU())


def lcn_trunk(sizes: TrunkSizes, hops: int = 3) -> ResidualTrunk:
    """Locally connected network: each joint reads its neighbours with weights for every pair.

    Ci et al., "Optimizing Network Structure for 3D Human Pose Estimation", 2019: 4,365,363 weights at 3 hops, which
    alone are stored; the published code stores dense matrices and masks them. Weights start as published: the fan is
    that of all joints, seen or not. The input is added to the first two coordinates. The paper's target in the image
    plane, which needs the root's true depth to be read, and its max-norm are left out.

    Args:
        sizes: Of the network.
        hops: How far a joint sees, on the bones and the spine's edges to hips and shoulders.
    """
    groups, joints = lcn_structure(sizes.skeleton, hops)[None], sizes.skeleton.num_keypoints

    def local(channels: int, out_channels: int) -> GraphConv:
        layer = GraphConv(channels, out_channels, groups, "pair", "joint")
        assert layer.bias is not None
        starts = [(weight, joints * channels) for weight in layer.edges.parameters()]
        for values, fan in [*starts, (layer.bias, joints * out_channels)]:
            std = math.sqrt(2 / fan)
            nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std)
        return layer

    return ResidualTrunk(sizes, local, nn.LeakyReLU(0.2), adds_input=True)


def hcsf_trunk(
    sizes: TrunkSizes, short: int = 1, long: int = 3, decay: float = 0.5, graph_width: int = 0, frames: int = 1
) -> ResidualTrunk:
    """Hop-wise convolutions that squeeze what comes from afar, on a static or dynamic graph.

    Zeng et al., "Learning Skeletal Graph Neural Networks for Hard 3D Pose Estimation", 2021, in the residual stack of
    LCN; no code of the authors is public, and its sizes are our choice. With several frames only the graph's factors
    come of the neighbouring frames; each pose is mapped by itself.

    Args:
        sizes: Of the network.
        short: Hops S that are seen at full width.
        long: Hops L that are seen at all.
        decay: Factor of the width from one hop to the next.
        graph_width: Width of the dynamic graph's features; 0 is the static graph.
        frames: Frames F, an odd number, that tell each layer's dynamic graph.

    Raises:
        ValueError: If several frames are given to a static graph.
    """
    if frames != 1 and not graph_width:
        raise ValueError(f"frames is {frames}, but a static graph (graph_width 0) sees no other frames; it must be 1")
    hops = hop_sets(sizes.skeleton, long)

    def conv(channels: int, out_channels: int) -> HopSqueeze:
        return HopSqueeze(channels, out_channels, hops, short, decay, graph_width, frames)

    trunk = ResidualTrunk(sizes, conv, nn.LeakyReLU(0.2))
    trunk.frames = frames
    return trunk
