"""Lifting networks whose joints look at all joints: MLP mixer, attention, and AMPose's attention and graph blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock, Mlp
from pct.lifting.graph_conv import GraphConv
from pct.lifting.joint_groups import ampose_groups
from pct.lifting.trunk import NUM_DIMS, JointNorm, Trunk, TrunkSizes


class BlockTrunk(Trunk):
    """A linear map of each joint, blocks that keep its width, a norm, and a linear map to coordinates.

    Args:
        sizes: Of the network.
        blocks: The blocks.
        dropout: Share of the embedded joints' features dropped in training.
        coded: Whether a learned code of each joint is added to its features.
    """

    def __init__(
        self, sizes: TrunkSizes, blocks: Iterable[nn.Module], dropout: float = 0.0, coded: bool = False
    ) -> None:
        joints = sizes.skeleton.num_keypoints
        super().__init__(joints, joints, sizes.width)
        self.start = nn.Linear(sizes.in_channels, sizes.width)
        self.joints = _joint_codes(sizes) if coded else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, NUM_DIMS)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to normed features (B, K, C)."""
        x = self.start(x) if self.joints is None else self.start(x) + self.joints
        normed: Tensor = self.norm(self.blocks(self.dropout(x)))
        return normed

    def glorot_(self) -> BlockTrunk:
        """Start the weights of all linear maps as Glorot's uniform ones."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        return self


def mixer_trunk(sizes: TrunkSizes, token_hidden: int = 64) -> BlockTrunk:
    """The tokenizer's own encoder up to its tokens: mixer blocks over the joints (PCT, 2023, section 3.1).

    Args:
        sizes: Of the network.
        token_hidden: Hidden width of the MLPs over the joints.
    """
    joints, width = sizes.skeleton.num_keypoints, sizes.width
    blocks = (MixerBlock(joints, width, token_hidden, width) for _ in range(sizes.depth))
    return BlockTrunk(sizes, blocks, sizes.dropout)


def attention_trunk(sizes: TrunkSizes, num_heads: int = 8, ratio: float = 2.0) -> BlockTrunk:
    """Plain transformer over the joints, with a learned code for each; blocks drop what they add.

    Args:
        sizes: Of the network.
        num_heads: Attention heads.
        ratio: Hidden width of the MLPs over ``width``.
    """
    width, hidden = sizes.width, round(ratio * sizes.width)
    blocks = (EncoderBlock(width, num_heads, hidden, sizes.dropout) for _ in range(sizes.depth))
    return BlockTrunk(sizes, blocks, coded=True).glorot_()


def ampose_trunk(
    sizes: TrunkSizes, num_heads: int = 8, ratio: float = 2.0, norm: Literal["literal", "two_sided"] = "literal"
) -> BlockTrunk:
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
    groups, width = ampose_groups(sizes.skeleton, norm), sizes.width

    def block() -> AmposeBlock:
        hidden = round(ratio * width)
        encoder = EncoderBlock(width, num_heads, hidden, sizes.dropout, bias=False, scale=width**-0.5)
        return AmposeBlock(encoder, GraphBlock(width, groups), _joint_codes(sizes))

    return BlockTrunk(sizes, (block() for _ in range(sizes.depth))).glorot_()


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., "Attention is all you need", 2017, section 3.2).

    Args:
        width: Channels C.
        num_heads: Heads, which share the channels evenly.
        bias: Whether queries, keys and values have biases.
        scale: Factor of the products of queries and keys; None is one over the root of a head's width.

    Raises:
        ValueError: If the width does not divide by the heads.
    """

    def __init__(self, width: int, num_heads: int, bias: bool = True, scale: float | None = None) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"attention width {width} must divide by its {num_heads} heads")
        self.num_heads, self.scale = num_heads, scale
        self.query_key_value = nn.Linear(width, 3 * width, bias)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        parts = self.query_key_value(x).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        read = F.scaled_dot_product_attention(query, key, value, scale=self.scale)  # (B, heads, K, C / heads)
        attended: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return attended


class EncoderBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + MLP(norm(x))``.

    Args:
        width: Channels C.
        num_heads: Attention heads.
        hidden: Hidden width of the MLP.
        dropout: Share of what is added that is dropped in training.
        bias, scale: Of the attention; see :class:`SelfAttention`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden: int,
        dropout: float = 0.0,
        bias: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads, bias, scale)
        self.mlp = Mlp(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


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


def _joint_codes(sizes: TrunkSizes) -> nn.Parameter:
    """Return a learned vector for each joint (K, width)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(sizes.skeleton.num_keypoints, sizes.width), std=0.02))
