"""The lifting networks by name, with their published sizes, and how to build one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.lifting import joint_groups
from pct.lifting.blocks import AmposeBlock, EncoderBlock, Residual, StgcnTrunk, make_unit
from pct.lifting.joint_layers import GraphConv, HopSqueeze, Sharing
from pct.lifting.trunk import NUM_DIMS, Trunk, TrunkSizes
from pct.skeleton import Skeleton


def build_residual(
    sizes: TrunkSizes, layer: Callable[[int, int], nn.Module], activation: nn.Module, flat: bool = False, **more: Any
) -> Trunk:
    """Return the body of FCN, GCN, LCN and HCSF: a first unit, residual blocks of two units, a last layer.

    A unit is a layer, batch normalisation, an activation and dropout; the identity is added after the last dropout.

    Args:
        sizes: Of the network.
        layer: Makes the layers from their numbers of channels in and out.
        activation: Of the units.
        flat: Whether all joints are one vector.
        more: Further arguments of :class:`Trunk`.
    """
    joints, width = sizes.skeleton.num_keypoints, sizes.width
    positions, together = (1, joints) if flat else (joints, 1)

    def unit(channels: int) -> nn.Sequential:
        return make_unit(layer(channels, width), width, activation, sizes.dropout)

    start = unit(sizes.in_channels * together)
    blocks = [Residual(unit(width), unit(width)) for _ in range(sizes.depth)]
    return Trunk(start, blocks, layer(width, NUM_DIMS * together), positions, width, **more)


def build_fcn(sizes: TrunkSizes) -> Trunk:
    """Fully connected residual network: all joints in one vector.

    Martinez et al., "A simple yet effective baseline for 3d human pose estimation", 2017: 4,291,632 parameters for 16
    joints. As in its PyTorch version weights start as He's normal ones; there is no max-norm constraint, without which
    others report better results.
    """
    return _start_linear(build_residual(sizes, nn.Linear, nn.ReLU(), flat=True), nn.init.kaiming_normal_)


def build_gcn(sizes: TrunkSizes, sharing: Sharing, decoupled: bool, convolution: bool) -> Trunk:
    """Graph convolutions on the plain adjacency, with one of the weight sharings of Liu et al., 2020.

    Args:
        sizes: Of the network.
        sharing: What weights depend on; ``pair`` stores those of bones alone, where the paper's stores all K^2.
        decoupled: Give what a joint takes of itself weights of its own.
        convolution: Split neighbours into nearer to and farther from the hip, with weights each.
    """
    groups = (joint_groups.convolution_groups if convolution else joint_groups.vanilla_adjacency)(sizes.skeleton)
    groups = joint_groups.decouple_self(groups) if decoupled else groups
    return build_residual(sizes, lambda c, out: GraphConv(c, out, groups, sharing, gain=1.414), nn.ReLU())


def build_lcn(sizes: TrunkSizes, hops: int) -> Trunk:
    """Locally connected network: each joint reads its neighbours with weights for every pair.

    Ci et al., "Optimizing Network Structure for 3D Human Pose Estimation", 2019: 4,365,363 weights at 3 hops, which
    alone are stored; the published code stores dense matrices and masks them. Weights start as published: the fan is
    that of all joints, seen or not. The input is added to the first two coordinates. The paper's target in the image
    plane, which needs the root's true depth to be read, and its max-norm are left out.

    Args:
        sizes: Of the network.
        hops: How far a joint sees, on the bones and the spine's edges to hips and shoulders.
    """
    groups, joints = joint_groups.lcn_structure(sizes.skeleton, hops)[None], sizes.skeleton.num_keypoints

    def local(channels: int, out_channels: int) -> GraphConv:
        layer = GraphConv(channels, out_channels, groups, "pair", "joint")
        starts = [(weight, channels) for weight in layer.edges.parameters()]
        for values, width in [*starts, (layer.bias, out_channels)]:
            std = math.sqrt(2 / (joints * width))
            nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std)
        return layer

    return build_residual(sizes, local, nn.LeakyReLU(0.2), adds_input=True)


def build_hcsf(sizes: TrunkSizes, short: int, long: int, decay: float, graph_width: int, frames: int) -> Trunk:
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
    hops = joint_groups.hop_sets(sizes.skeleton, long)

    def conv(channels: int, out_channels: int) -> HopSqueeze:
        return HopSqueeze(channels, out_channels, hops, short, decay, graph_width, frames)

    return build_residual(sizes, conv, nn.LeakyReLU(0.2), frames=frames)


def build_ampose(sizes: TrunkSizes, num_heads: int, ratio: float, norm: joint_groups.AmposeNorm) -> Trunk:
    """Encoder blocks and graph blocks by turns, as printed.

    Lin et al., "AMPose: Alternately Mixed Global-Local Attention Model for 3D Human Pose Estimation", 2023: queries,
    keys and values without biases (eq. 1), divided by the root of the width of all heads together (eq. 2), a position
    embedding of each encoder block's own (eq. 5), graphs ``D^-1/2 A D^-1/2`` with one degree matrix for each group
    (eq. 9). The loss (eq. 10), optimiser and batch are those of ``configs/lifter_ampose.yaml``.

    No code of the authors is public, and the paper leaves open: the MLP's ratio, where 2 meets its tables of parameters
    (18.3 M) and multiply-adds (312 M); the number of heads; the graph block's activation (ReLU here) and normalisation
    (batch normalisation), biases of the other layers, the norm before the last layer, dropout, how weights start; which
    degrees D holds, where the groups are not symmetric (``norm``); and width and depth of the small model.

    Args:
        sizes: Of the network; its depth counts pairs of encoder and graph block.
        num_heads: Attention heads.
        ratio: Hidden width of the MLPs over ``width``.
        norm: Degrees of the graph; see :func:`pct.lifting.joint_groups.ampose_groups`.
    """
    groups = joint_groups.ampose_groups(sizes.skeleton, norm)
    blocks = [AmposeBlock(sizes, num_heads, ratio, groups) for _ in range(sizes.depth)]
    return _start_linear(Trunk.normed(sizes, blocks), nn.init.xavier_uniform_)


def build_attention(sizes: TrunkSizes, num_heads: int, ratio: float) -> Trunk:
    """Plain transformer over the joints, with a learned code for each; see :func:`build_ampose` for the arguments."""
    blocks = [EncoderBlock(sizes, num_heads, ratio) for _ in range(sizes.depth)]
    trunk = Trunk.normed(sizes, blocks)
    trunk.joints = sizes.joint_codes()
    return _start_linear(trunk, nn.init.xavier_uniform_)


def build_mixer(sizes: TrunkSizes, token_hidden: int) -> Trunk:
    """The tokenizer's own encoder up to its tokens: mixer blocks over the joints (PCT, 2023, section 3.1).

    Args:
        sizes: Of the network.
        token_hidden: Hidden width of the MLPs over the joints.
    """
    joints, width = sizes.skeleton.num_keypoints, sizes.width
    blocks = [MixerBlock(joints, width, token_hidden, width) for _ in range(sizes.depth)]
    trunk = Trunk.normed(sizes, blocks)
    trunk.dropout = nn.Dropout(sizes.dropout)
    return trunk


@dataclass(frozen=True)
class LifterNetwork:
    """A lifting network and the sizes that it was published with.

    Attributes:
        build: Builds it from its sizes and options.
        width: Channels of its hidden layers.
        depth: Blocks; 0 where their number is fixed.
        dropout: Share of features dropped in training.
        options: Further arguments with their values.
    """

    build: Callable[..., Trunk]
    width: int
    depth: int
    dropout: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


def _gcn(sharing: Sharing = "all", decoupled: bool = False, convolution: bool = False) -> LifterNetwork:
    options = {"sharing": sharing, "decoupled": decoupled, "convolution": convolution}
    return LifterNetwork(build_gcn, 128, 4, options=options)


_HCSF = {"short": 1, "long": 3, "decay": 0.5, "graph_width": 0, "frames": 1}
_AMPOSE = {"num_heads": 8, "ratio": 2.0, "norm": "literal"}
LIFTERS: dict[str, LifterNetwork] = {
    "fcn": LifterNetwork(build_fcn, 1024, 2, 0.5),
    "gcn": _gcn(),
    "gcn_decoupled": _gcn(decoupled=True),
    "gcn_preagg": _gcn("source"),
    "gcn_preagg_decoupled": _gcn("source", decoupled=True),
    "gcn_postagg": _gcn("target"),
    "gcn_postagg_decoupled": _gcn("target", decoupled=True),
    "gcn_conv": _gcn(convolution=True),
    "gcn_unshared": _gcn("pair"),
    "stgcn": LifterNetwork(StgcnTrunk, 128, 0, 0.05),
    "lcn": LifterNetwork(build_lcn, 64, 3, 0.25, {"hops": 3}),
    "hcsf": LifterNetwork(build_hcsf, 64, 3, 0.25, _HCSF),
    "dhcsf": LifterNetwork(build_hcsf, 64, 3, 0.25, {**_HCSF, "graph_width": 16}),
    "ampose": LifterNetwork(build_ampose, 512, 5, options=_AMPOSE),
    "ampose_small": LifterNetwork(build_ampose, 96, 5, options={**_AMPOSE, "num_heads": 4}),
    "mixer": LifterNetwork(build_mixer, 512, 4, options={"token_hidden": 64}),
    "attention": LifterNetwork(build_attention, 256, 4, options={"num_heads": 8, "ratio": 2.0}),
}


def build_trunk(
    name: str,
    skeleton: Skeleton,
    in_channels: int = 3,
    width: int | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    **options: Any,
) -> Trunk:
    """Build a lifting network for the joints of ``skeleton``; what is not given is as published.

    Args:
        name: One of :data:`LIFTERS`.
        skeleton: Whose joints.
        in_channels: Channels of an input joint: 2, or 3 with one that says whether it is known.
        width: Channels of the hidden layers.
        depth: Blocks.
        dropout: Share of features dropped in training.
        options: The network's further arguments.

    Raises:
        ValueError: On an unknown name or option, or a bad size.
    """
    if name not in LIFTERS:
        close = difflib.get_close_matches(name, LIFTERS, n=3, cutoff=0.4)
        raise ValueError(f"unknown network {name!r}; {'nearest' if close else 'known'}: {', '.join(close or LIFTERS)}")
    network = LIFTERS[name]
    unknown = sorted(set(options) - set(network.options))
    if unknown:
        allowed = ", ".join(network.options) or "none"
        raise ValueError(f"network {name} has no option {', '.join(unknown)}; its options: {allowed}")
    if depth is not None and not network.depth:
        raise ValueError(f"network {name} has a fixed number of blocks; leave depth out, got {depth}")
    given: dict[str, Any] = {
        n: v for n, v in (("width", width), ("depth", depth), ("dropout", dropout)) if v is not None
    }
    for size in ("width", "depth"):
        if given.get(size, 1) < 1:
            raise ValueError(f"network {name}: {size} must be at least 1, got {given[size]}")
    if not 0 <= given.get("dropout", 0) < 1:
        raise ValueError(f"network {name}: dropout must be in [0, 1), got {dropout}")
    network = replace(network, **given)
    sizes = TrunkSizes(skeleton, in_channels, network.width, network.depth, network.dropout)
    return network.build(sizes, **{**network.options, **options})


def _start_linear(trunk: Trunk, start: Callable[[Tensor], Tensor]) -> Trunk:
    """Start the weights of all linear maps with ``start``."""
    for layer in trunk.modules():
        if isinstance(layer, nn.Linear):
            start(layer.weight)
    return trunk
