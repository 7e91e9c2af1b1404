"""Lifting networks that are residual stacks of one kind of layer: fully connected, graph convolution."""

from __future__ import annotations

from torch import Tensor, nn

from pct.layers.graph_conv import GraphConv, Sharing
from pct.layers.joint_groups import convolution_groups, decouple_self, vanilla_adjacency
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
