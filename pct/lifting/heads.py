"""The head that reads the tokens of a 3D pose off the features of a lifting network."""

from __future__ import annotations

from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.photos.heads.tokens import CodebookLogits


class MixerTokenHead(nn.Module):
    """A linear map from positions to tokens, mixer blocks over the tokens, logits over the codebook.

    Args:
        num_positions: Positions P of the features; with one, its vector is mapped to all tokens at once.
        channels: Channels C of the features.
        num_tokens: Tokens M.
        tables: Entries of every token (M, V, D).
        width: Width of a token's hidden vector.
        num_blocks: Mixer blocks.
        anchored: Whether places in the codebook's space are given, around which the logits are a Gaussian's.
    """

    def __init__(
        self,
        num_positions: int,
        channels: int,
        num_tokens: int,
        tables: Tensor,
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
        self.logits = CodebookLogits(width, tables, anchored)

    def forward(self, features: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map features (B, P, C), and places (B, M, D) if anchored, to logits (B, M, V), float32."""
        x = self.project(features)
        if self.to_tokens is None:
            tokens = x.unflatten(2, (self.num_tokens, -1))[:, 0]
        else:
            tokens = self.to_tokens(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.logits(self.norm(self.blocks(tokens)), anchor)
        return logits
