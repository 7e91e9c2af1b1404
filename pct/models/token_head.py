"""Token heads: features to logits over the codebook for every token; they know nothing of photos."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock

# Logarithms of a bell's precision: the least and the most, and what bells around an anchor start with.
_WIDEST, _SHARPEST, _ANCHORED = -1.0, 4.0, 1.0


class CodebookLogits(nn.Module):
    """Logits over the entries of a codebook that know where the entries lie.

    A linear layer treats 1,024 entries as strangers and must see each of them often. Here a token's logits are a bell
    over the codebook's space with a place and a precision a channel. Around an anchor, the place that the tokenizer's
    encoder gives, only the precisions are learned; without one also the places, and a linear layer, which starts at
    zero, adds what a bell cannot say (several modes, gaps).

    Where entries lie dense, more of a bell's mass falls on them, which would pull its mean there and away from its
    top. The bell is one of ``erf(e / sqrt(3))`` of the standardised entries: for entries that are normally
    distributed, mean and top are then the same to second order in the width, so that expected and likeliest entry
    agree however unsure the token is.

    Args:
        width: Width of the hidden vectors.
        codebook: Entries (V, D).
        anchored: Whether places are given.
    """

    entries: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, width: int, codebook: Tensor, anchored: bool = False) -> None:
        super().__init__()
        size, dim = codebook.shape
        self.precision = nn.Linear(width, dim)
        self.place = None if anchored else nn.Linear(width, dim)
        self.free = None if anchored else nn.Linear(width, size)
        for layer in (self.precision, self.free):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        if anchored:
            nn.init.constant_(self.precision.bias, _ANCHORED)
        self.register_buffer("center", codebook.mean(dim=0))
        self.register_buffer("scale", codebook.std(dim=0).clamp(min=1e-6))
        self.register_buffer("entries", self._warp(codebook))

    def forward(self, x: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map hidden vectors (B, M, width), and places (B, M, D) if anchored, to logits (B, M, V), float32."""
        log_precision = self.precision(x)
        place = self.place(x) if self.place is not None else anchor
        free = self.free(x) if self.free is not None else None
        assert place is not None
        with torch.autocast(x.device.type, enabled=False):
            place = place.float() if self.place is not None else self._warp(place.float())
            precision = (2 * log_precision.float().clamp(_WIDEST, _SHARPEST)).exp()
            # The square's term without the entry changes no probability.
            bell = (precision * place) @ self.entries.t() - 0.5 * precision @ self.entries.square().t()
            return bell if free is None else bell + free.float()

    def _warp(self, places: Tensor) -> Tensor:
        """Return places (..., D) of the codebook's space as the coordinates of bells, with slope 1 in the middle."""
        return torch.erf((places - self.center) / self.scale / math.sqrt(3)) * math.sqrt(3 * math.pi) / 2


class QueryTokenHead(nn.Module):
    """A learned query a token that attends to the features, then mixer blocks over the tokens.

    It depends neither on the number of positions nor on their order: where a position lies must be in its features.

    Args:
        channels: Channels of the features, without the codes of their places.
        num_tokens: Tokens M.
        codebook: Entries (V, D) of the tokenizer's codebook.
        width: Width of the hidden vectors.
        num_heads: Attention heads.
        num_blocks: Pairs of attention and mixer block.
        position_channels: Last channels of the features, which say where each lies; none with 0.
    """

    def __init__(
        self,
        channels: int,
        num_tokens: int,
        codebook: Tensor,
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
        self.logits = CodebookLogits(width, codebook)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, P, channels + position_channels) to logits (B, M, V), float32."""
        memory = self.norm(self.project(features))
        x = self.queries.expand(len(features), -1, -1)
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
