"""Token heads: features to logits over the codebook for every token; they know nothing of photos."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock

# Logarithm of a bell's precision: the least and the most.
_WIDEST, _SHARPEST = -3.0, 3.0


class CodebookLogits(nn.Module):
    """Logits over the entries of a codebook: a linear layer, or a bell around a place that is given.

    Places are what the tokenizer's own encoder sees of a pose (:meth:`pct.tokenizer.quantizer.Quantizer.features`): the
    bell starts as wide as neighbouring entries lie apart, and only its width is learned.

    Args:
        width: Width of the hidden vectors.
        tables: Entries of every token (M, V, D).
        anchored: Whether places are given.
    """

    entries: Tensor
    scale: Tensor

    def __init__(self, width: int, tables: Tensor, anchored: bool = False) -> None:
        super().__init__()
        self.anchored = anchored
        self.last = nn.Linear(width, 1 if anchored else tables.shape[1])
        nn.init.zeros_(self.last.bias)
        if anchored:
            nn.init.zeros_(self.last.weight)
            self.register_buffer("entries", _stored(tables).clone(), persistent=False)
            self.register_buffer("scale", entry_distances(tables).clone(), persistent=False)

    def forward(self, x: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map hidden vectors (B, M, width), and places (B, M, D) if anchored, to logits (B, M, V), float32."""
        last = self.last(x)
        if not self.anchored:
            return last.float()
        assert anchor is not None
        with torch.autocast(x.device.type, enabled=False):
            precision = last.float().clamp(_WIDEST, _SHARPEST).exp() / self.scale.square()[:, None]
            # The square's term without the entry changes no probability.
            likeness = torch.matmul(anchor.float().transpose(0, 1), self.entries.transpose(1, 2)).transpose(0, 1)
            return precision * (likeness - 0.5 * self.entries.square().sum(dim=-1))


def entry_distances(tables: Tensor) -> Tensor:
    """Return the mean distance (M,) of an entry to the nearest other one, for the entries (M, V, D) of every token."""
    means = [torch.cdist(t, t).fill_diagonal_(torch.inf).amin(dim=1).mean() for t in _stored(tables)]
    return torch.stack(means).clamp(min=1e-6).expand(len(tables))


def _stored(tables: Tensor) -> Tensor:
    """Return entries (M, V, D) as they lie in memory: (1, V, D) where all tokens share them."""
    return tables[:1] if tables.stride(0) == 0 else tables


class QueryTokenHead(nn.Module):
    """A learned query a token that attends to the features, then mixer blocks over the tokens.

    It depends neither on the number of positions nor on their order: where a position lies must be in its features.

    Args:
        channels: Channels of the features, without the codes of their places.
        num_tokens: Tokens M.
        tables: Entries of every token (M, V, D).
        width: Width of the hidden vectors.
        num_heads: Attention heads.
        num_blocks: Pairs of attention and mixer block.
        position_channels: Last channels of the features, which say where each lies; none with 0.
    """

    def __init__(
        self,
        channels: int,
        num_tokens: int,
        tables: Tensor,
        width: int = 128,
        num_heads: int = 8,
        num_blocks: int = 2,
        position_channels: int = 32,
    ) -> None:
        super().__init__()
        self.position_channels = position_channels
        if width % num_heads:
            raise ValueError(f"head width {width} must divide by its {num_heads} attention heads")
        self.project = nn.Linear(channels + position_channels, width)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(num_tokens, width) * 0.5)
        self.blocks = nn.ModuleList(QueryBlock(num_tokens, width, num_heads) for _ in range(num_blocks))
        self.last_norm = nn.LayerNorm(width)
        self.logits = CodebookLogits(width, tables)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, P, channels + position_channels) to logits (B, M, V), float32."""
        memory = self.norm(self.project(features))
        x = self.queries.expand(features.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, memory)
        return self.logits(self.last_norm(x))


class QueryBlock(nn.Module):
    """Tokens read the features by attention, then mix with one another: ``x + attention``, then a mixer block."""

    def __init__(self, num_tokens: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mixer = MixerBlock(num_tokens, width, 2 * num_tokens, 2 * width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Map tokens (B, M, C) with features (B, P, C) to tokens (B, M, C)."""
        query = self._split(self.query(self.norm(x)))
        key, value = (self._split(part) for part in self.key_value(memory).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(query, key, value)  # (B, heads, M, C / heads)
        return self.mixer(x + self.out(read.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
