"""Lifting networks whose joints look at all joints: MLP mixer, attention, and AMPose's attention and graph blocks."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pct.layers.attention import EncoderBlock
from pct.layers.graph_conv import GraphConv
from pct.layers.joint_groups import ampose_groups
from pct.layers.joint_norm import JointNorm
from pct.layers.mixer import MixerBlock
from pct.models.lifter_trunk import NUM_DIMS, Trunk
from pct.skeleton import Skeleton


class MixerTrunk(Trunk):
    """The tokenizer's own encoder up to its tokens: mixer blocks over the joints (PCT, 2023, section 3.1).

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the blocks.
        depth: Mixer blocks.
        dropout: Share of the embedded joints' features dropped in training.
        token_hidden: Hidden width of the MLPs over the joints.
    """

    def __init__(
        self, skeleton: Skeleton, in_channels: int, width: int, depth: int, dropout: float, token_hidden: int = 64
    ) -> None:
        super().__init__(skeleton.num_keypoints, skeleton.num_keypoints, width)
        self.start = nn.Linear(in_channels, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(MixerBlock(self.num_keypoints, width, token_hidden, width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, NUM_DIMS)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to normed features (B, K, C)."""
        normed: Tensor = self.norm(self.blocks(self.dropout(self.start(x))))
        return normed


class AttentionTrunk(Trunk):
    """Plain transformer over the joints, with a learned code for each.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the blocks.
        depth: Encoder blocks.
        dropout: Share of what blocks add that is dropped in training.
        num_heads: Attention heads.
        ratio: Hidden width of the MLPs over ``width``.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        width: int,
        depth: int,
        dropout: float,
        num_heads: int = 8,
        ratio: float = 2.0,
    ) -> None:
        super().__init__(skeleton.num_keypoints, skeleton.num_keypoints, width)
        self.start = nn.Linear(in_channels, width)
        self.joints = nn.Parameter(torch.empty(self.num_keypoints, width))
        hidden = round(ratio * width)
        self.blocks = nn.Sequential(*(EncoderBlock(width, num_heads, hidden, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, NUM_DIMS)
        nn.init.trunc_normal_(self.joints, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to normed features (B, K, C)."""
        normed: Tensor = self.norm(self.blocks(self.start(x) + self.joints))
        return normed


class AmposeTrunk(AttentionTrunk):
    """Encoder blocks and graph blocks by turns.

    Lin et al., "AMPose: Alternately Mixed Global-Local Attention Model for 3D Human Pose Estimation", 2023. No code of
    the authors is public: the MLP's ratio of 2 follows from the paper's tables of parameters and multiply-adds, which
    these sizes meet; heads, activations and batch normalisation are our choice, as are the sizes of the small model.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the blocks.
        depth: Pairs of encoder and graph block.
        dropout: Share of what encoder blocks add that is dropped in training.
        num_heads: Attention heads.
        ratio: Hidden width of the MLPs over ``width``.
        norm: Normalisation of the graph; see :func:`pct.layers.joint_groups.ampose_groups`.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        width: int,
        depth: int,
        dropout: float,
        num_heads: int = 8,
        ratio: float = 2.0,
        norm: Literal["two_sided", "literal"] = "two_sided",
    ) -> None:
        super().__init__(skeleton, in_channels, width, depth, dropout, num_heads, ratio)
        groups = ampose_groups(skeleton, norm)
        self.blocks = nn.Sequential(*(nn.Sequential(block, GraphBlock(width, groups)) for block in self.blocks))


class GraphBlock(nn.Module):
    """A graph convolution, then one with a residual: ``y = conv(x)``, ``y + conv(y)``, both normalised and rectified.

    Args:
        width: Channels C.
        groups: Matrices of the graph (G, K, K).
    """

    def __init__(self, width: int, groups: np.ndarray) -> None:
        super().__init__()

        def unit() -> nn.Sequential:
            conv = GraphConv(width, width, groups, bias="group")
            conv.reset_parameters(gain=1.0)
            return nn.Sequential(conv, JointNorm(width), nn.ReLU())

        self.first, self.second = unit(), unit()

    def forward(self, x: Tensor) -> Tensor:
        """Map joints (B, K, C) to (B, K, C)."""
        y: Tensor = self.first(x)
        return y + self.second(y)
