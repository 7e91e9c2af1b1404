"""Lifting networks whose joints look at all joints: MLP mixer."""

from __future__ import annotations

from torch import Tensor, nn

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
