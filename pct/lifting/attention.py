"""Transformer encoder block: every joint looks at all joints."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import Mlp


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
