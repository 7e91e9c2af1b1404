"""Heads that read the tokens of a 3D pose off the features of a lifting network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.models.lifter_config import TokenHeadSizes
from pct.models.token_head import CodebookLogits, QueryTokenHead


class MixerTokenHead(nn.Module):
    """A linear map from positions to tokens, mixer blocks over the tokens, logits that know the codebook.

    Args:
        num_positions: Positions P of the features; with one, its vector is mapped to all tokens at once.
        channels: Channels C of the features.
        num_tokens: Tokens M.
        codebook: Entries (V, D) of the tokenizer's codebook.
        width: Width of a token's hidden vector.
        num_blocks: Mixer blocks.
        anchored: Whether places in the codebook's space are given, around which the logits are a bell.
    """

    def __init__(
        self,
        num_positions: int,
        channels: int,
        num_tokens: int,
        codebook: Tensor,
        width: int = 128,
        num_blocks: int = 2,
        anchored: bool = False,
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        flat = num_positions == 1
        self.project = nn.Linear(channels, num_tokens * width if flat else width)
        self.to_tokens = None if flat else nn.Linear(num_positions, num_tokens)
        self.blocks = nn.Sequential(
            *(MixerBlock(num_tokens, width, 2 * num_tokens, 2 * width) for _ in range(num_blocks))
        )
        self.norm = nn.LayerNorm(width)
        self.logits = CodebookLogits(width, codebook, anchored)

    def forward(self, features: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map features (B, P, C), and places (B, M, D) if anchored, to logits (B, M, V), float32."""
        x = self.project(features)
        if self.to_tokens is None:
            tokens = x.unflatten(2, (self.num_tokens, -1))[:, 0]
        else:
            tokens = self.to_tokens(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.logits(self.norm(self.blocks(tokens)), anchor)
        return logits


class JointQueryHead(nn.Module):
    """Stage two's head of learned queries, with a learned code added to each joint's features to tell joints apart."""

    def __init__(
        self,
        num_positions: int,
        channels: int,
        num_tokens: int,
        codebook: Tensor,
        width: int = 128,
        num_heads: int = 8,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(num_positions, channels) * 0.02)
        self.queries = QueryTokenHead(channels, num_tokens, codebook, width, num_heads, num_blocks, position_channels=0)

    def forward(self, features: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map features (B, P, C) to logits (B, M, V), float32; queries take no places."""
        logits: Tensor = self.queries(features + self.codes)
        return logits


def build_token_head(
    sizes: TokenHeadSizes, num_positions: int, channels: int, num_tokens: int, codebook: Tensor
) -> MixerTokenHead | JointQueryHead:
    """Return the token head of the sizes' kind for features (B, P, C)."""
    if sizes.kind == "query":
        return JointQueryHead(
            num_positions, channels, num_tokens, codebook, sizes.width, sizes.num_heads, sizes.num_blocks
        )
    anchored = sizes.kind == "anchored"
    return MixerTokenHead(num_positions, channels, num_tokens, codebook, sizes.width, sizes.num_blocks, anchored)
