"""The head that reads the tokens of a 3D pose off the features of a lifting network."""

from __future__ import annotations

from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.lifting.config import TokenHeadSizes
from pct.lifting.trunk import Trunk
from pct.photos.heads.tokens import CodebookLogits


class MixerTokenHead(nn.Module):
    """A linear map from positions to tokens, mixer blocks over the tokens, logits over the codebook.

    Args:
        trunk: Whose features; with one position its vector is mapped to all tokens at once.
        tables: Entries of every token (M, V, D).
        sizes: Of its layers; if ``anchored``, places in the codebook's space are given, around which logits are
            Gaussians.
    """

    def __init__(self, trunk: Trunk, tables: Tensor, sizes: TokenHeadSizes) -> None:
        super().__init__()
        self.num_tokens, width, flat = len(tables), sizes.width, trunk.num_positions == 1
        self.project = nn.Linear(trunk.channels, self.num_tokens * width if flat else width)
        self.to_tokens = None if flat else nn.Linear(trunk.num_positions, self.num_tokens)
        blocks = (MixerBlock(self.num_tokens, width, 2 * self.num_tokens, 2 * width) for _ in range(sizes.num_blocks))
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(width)
        self.logits = CodebookLogits(width, tables, sizes.kind == "anchored")

    def forward(self, features: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map features (B, P, C), and places (B, M, D) if anchored, to logits (B, M, V), float32."""
        tokens = self.project(features)
        if self.to_tokens is None:
            tokens = tokens.unflatten(2, (self.num_tokens, -1))[:, 0]
        else:
            tokens = self.to_tokens(tokens.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.logits(self.norm(self.blocks(tokens)), anchor)
        return logits
