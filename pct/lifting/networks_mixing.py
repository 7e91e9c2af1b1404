"""Lifting networks whose joints look at all joints: MLP mixer, attention, and AMPose's attention and graph blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.lifting.attention import EncoderBlock
from pct.lifting.graph_conv import GraphConv
from pct.lifting.joint_groups import ampose_groups
from pct.lifting.joint_norm import JointNorm
from pct.lifting.trunk import NUM_DIMS, Trunk
from pct.skeleton import Skeleton


class BlockTrunk(Trunk):
    """A linear map of each joint, blocks that keep its width, a norm, and a linear map to coordinates.

    Args:
        skeleton: Whose joints.
        in_channels: Channels of an input joint.
        width: Channels of the blocks.
        blocks: The blocks.
        dropout: Share of the embedded joints' features dropped in training.
    """

    def __init__(
        self, skeleton: Skeleton, in_channels: int, width: int, blocks: Iterable[nn.Module], dropout: float = 0.0
    ) -> None:
        super().__init__(skeleton.num_keypoints, skeleton.num_keypoints, width)
        self.start = nn.Linear(in_channels, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, NUM_DIMS)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to normed features (B, K, C)."""
        normed: Tensor = self.norm(self.blocks(self.dropout(self.start(x))))
        return normed

    def glorot_(self) -> None:
        """Start the weights of all linear maps as Glorot's uniform ones."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)


class MixerTrunk(BlockTrunk):
    """The tokenizer's own encoder up to its tokens: mixer blocks over the joints (PCT, 2023, section 3.1).

    Args:
        skeleton, in_channels, width, dropout: See :class:`BlockTrunk`.
        depth: Mixer blocks.
        token_hidden: Hidden width of the MLPs over the joints.
    """

    def __init__(
        self, skeleton: Skeleton, in_channels: int, width: int, depth: int, dropout: float, token_hidden: int = 64
    ) -> None:
        blocks = (MixerBlock(skeleton.num_keypoints, width, token_hidden, width) for _ in range(depth))
        super().__init__(skeleton, in_channels, width, blocks, dropout)


class AttentionTrunk(BlockTrunk):
    """Plain transformer over the joints, with a learned code for each.

    Args:
        skeleton, in_channels, width: See :class:`BlockTrunk`.
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
        hidden = round(ratio * width)
        blocks = (EncoderBlock(width, num_heads, hidden, dropout) for _ in range(depth))
        super().__init__(skeleton, in_channels, width, blocks)
        self.joints = _joint_codes(skeleton, width)
        self.glorot_()

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to normed features (B, K, C)."""
        normed: Tensor = self.norm(self.blocks(self.start(x) + self.joints))
        return normed


class AmposeTrunk(BlockTrunk):
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
        skeleton, in_channels, width: See :class:`BlockTrunk`.
        depth: Pairs of encoder and graph block.
        dropout: Share of what encoder blocks add that is dropped in training.
        num_heads: Attention heads.
        ratio: Hidden width of the MLPs over ``width``.
        norm: Degrees of the graph; see :func:`pct.lifting.joint_groups.ampose_groups`.
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
        norm: Literal["literal", "two_sided"] = "literal",
    ) -> None:
        groups, hidden = ampose_groups(skeleton, norm), round(ratio * width)

        def block() -> AmposeBlock:
            encoder = EncoderBlock(width, num_heads, hidden, dropout, bias=False, scale=width**-0.5)
            return AmposeBlock(encoder, GraphBlock(width, groups), _joint_codes(skeleton, width))

        super().__init__(skeleton, in_channels, width, (block() for _ in range(depth)))
        self.glorot_()


class AmposeBlock(nn.Module):
    """A position embedding, an encoder block, a graph block.

    Args:
        encoder: Sees all joints.
        graph: Sees those one bone away.
        position: What is added to the joints before (K, C).
    """

    def __init__(self, encoder: EncoderBlock, graph: GraphBlock, position: nn.Parameter) -> None:
        super().__init__()
        self.encoder, self.graph, self.position = encoder, graph, position

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        mixed: Tensor = self.graph(self.encoder(x + self.position))
        return mixed


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


def _joint_codes(skeleton: Skeleton, width: int) -> nn.Parameter:
    """Return a learned vector for each joint (K, width)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(skeleton.num_keypoints, width), std=0.02))
