"""Token heads: features to logits over the codebook for every token; they know nothing of photos."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.photos.config import HeadSizes

# Logarithm of a Gaussian's precision: the least and the most.
_WIDEST, _SHARPEST = -3.0, 3.0
# How much more likely a joint's own best place is than any other one before training, as a logarithm.
_OWN_PLACE = 4.0


class CodebookLogits(nn.Module):
    """Logits over the entries of a codebook: a linear layer, or a Gaussian around a place that is given.

    Places are what the tokenizer's own encoder sees of a pose (:meth:`pct.tokenizer.quantizer.Quantizer.features`): the
    Gaussian starts as wide as neighbouring entries lie apart, and only its width is learned.

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


class QueryReader(nn.Module):
    """Learned queries that attend to features, with mixer blocks over the queries: what two heads share.

    Args:
        channels: Channels of the features, without the codes of their places.
        num_queries: Queries Q.
        sizes: Of the head.

    Attributes:
        position_channels: Last channels of the features, which say where each lies.
    """

    position_channels = 32

    def __init__(self, channels: int, num_queries: int, sizes: HeadSizes) -> None:
        super().__init__()
        width, num_heads = sizes.width, sizes.num_heads
        if width % num_heads:
            raise ValueError(f"head width {width} must divide by its {num_heads} attention heads")
        self.project = nn.Linear(channels + self.position_channels, width)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(num_queries, width) * 0.5)
        self.blocks = nn.ModuleList(QueryBlock(num_queries, width, num_heads) for _ in range(sizes.num_blocks))
        self.last_norm = nn.LayerNorm(width)

    def read(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, P, channels + position_channels) to queries (B, Q, width) and memory (B, P, width)."""
        memory = self.norm(self.project(features))
        x = self.queries.expand(features.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, memory)
        return self.last_norm(x), memory


class QueryTokenHead(QueryReader):
    """A learned query a token that attends to the features, then mixer blocks over the tokens.

    It depends neither on the number of positions nor on their order: where a position lies must be in its features.

    Args:
        channels: As for :class:`QueryReader`.
        tables: Entries of every token (M, V, D).
        sizes: Of the head.
    """

    def __init__(self, channels: int, tables: Tensor, sizes: HeadSizes) -> None:
        super().__init__(channels, len(tables), sizes)
        self.logits = CodebookLogits(sizes.width, tables)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, P, channels + position_channels) to logits (B, M, V), float32."""
        return self.logits(self.read(features)[0])


class PlaceReader(QueryReader):
    """A pose from features that say where joints may be: a learned query a joint chooses among all places.

    Args:
        channels: Channels of the features, without the codes of their places; the first two are x and y in model units.
        grid: Joints K, and places told of each.
        sizes: Of the head.
    """

    def __init__(self, channels: int, grid: tuple[int, int], sizes: HeadSizes) -> None:
        (joints, places), width = grid, sizes.width
        super().__init__(channels, joints, sizes)
        self.choose, self.offer = nn.Linear(width, width), nn.Linear(width, width)
        self.preference = nn.Parameter(torch.zeros(joints, joints * places))
        self.shift = nn.Linear(width, 2)
        with torch.no_grad():
            self.preference[torch.arange(joints), torch.arange(joints) * places] = _OWN_PLACE
            self.choose.weight.mul_(0.1)
            self.shift.weight.zero_()
            self.shift.bias.zero_()

    def read_pose(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, K * places, channels + position_channels) to joints (B, K, 2) and queries (B, K, width)."""
        x, memory = self.read(features)
        scores = self.choose(x) @ self.offer(memory).transpose(1, 2) / math.sqrt(x.shape[-1]) + self.preference
        return scores.float().softmax(dim=-1) @ features[..., :2].float() + self.shift(x).float(), x


class AnchoredTokenHead(PlaceReader):
    """Tokens from features that say where joints may be (:class:`~pct.photos.movenet.MoveNetFeatures`).

    A learned query a joint attends to all places and chooses among them; the frozen encoder of the tokenizer says what
    each token would see of the chosen pose, and an entry is the likelier, the nearer it lies to that. Only how sure
    each token is, and the choice, are learned: far fewer photos are needed than for free logits over 1,024 entries.

    Args:
        channels: As for :class:`PlaceReader`.
        grid: As for :class:`PlaceReader`.
        tables: Entries of every token (M, V, D).
        see: Poses (B, K, 2) in model units to what each token sees of them (B, M, D).
        sizes: Of the head.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        tables: Tensor,
        see: Callable[[Tensor], Tensor],
        sizes: HeadSizes,
    ) -> None:
        super().__init__(channels, grid, sizes)
        self._see = see
        self.to_tokens = nn.Linear(grid[0], len(tables))
        self.logits = CodebookLogits(sizes.width, tables, anchored=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, K * places, channels + position_channels) to logits (B, M, V), float32."""
        pose, x = self.read_pose(features)
        hidden = self.to_tokens(x.transpose(1, 2)).transpose(1, 2)
        return self.logits(hidden, self._see(pose))


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


def grid_positions(grid: tuple[int, int], channels: int) -> Tensor:
    """Return codes (h * w, channels) of the cells' centres, row by row.

    A quarter of the channels each holds sin and cos of x and of y in [0, 1], at frequencies from half a turn over the
    map, doubling, so that nearby cells have nearby codes and a map of another size has the same codes at the same
    places (after Vaswani et al., "Attention is all you need", 2017, section 3.5).

    Raises:
        ValueError: If ``channels`` does not divide by 4.
    """
    if channels % 4 or channels < 0:
        raise ValueError(f"position channels must be a multiple of 4, got {channels}")
    turns = math.pi * 2.0 ** (torch.arange(channels // 4) / 2)
    height, width = grid
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    codes = [torch.stack([torch.sin(p[:, None] * turns), torch.cos(p[:, None] * turns)], dim=-1) for p in (y, x)]
    rows = codes[0].flatten(1)[:, None].expand(height, width, -1)
    columns = codes[1].flatten(1)[None].expand(height, width, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1).contiguous()
