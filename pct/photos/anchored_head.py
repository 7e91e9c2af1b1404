"""AnchoredTokenHead: chooses among places where joints may be, and classifies tokens by the distance of entries."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pct.photos.token_head import CodebookLogits, QueryBlock

# How much more likely a joint's own best place is than any other one before training, as a logarithm.
_OWN_PLACE = 4.0


class AnchoredTokenHead(nn.Module):
    """Tokens from features that say where joints may be (:class:`~pct.photos.movenet.MoveNetFeatures`).

    A learned query a joint attends to all places and chooses among them; the frozen encoder of the tokenizer says what
    each token would see of the chosen pose, and an entry is the likelier, the nearer it lies to that. Only how sure
    each token is, and the choice, are learned: far fewer photos are needed than for free logits over 1,024 entries.

    Args:
        channels: Channels of the features, without the codes of their places; the first two are x and y in model units.
        grid: Joints K, and places told of each.
        num_tokens: Tokens M.
        tables: Entries of every token (M, V, D).
        see: Poses (B, K, 2) in model units to what each token sees of them (B, M, D).
        width: Width of the hidden vectors.
        num_heads: Attention heads.
        num_blocks: Pairs of attention and mixer block.
        position_channels: Last channels of the features, which say which joint and which of its places it is.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        num_tokens: int,
        tables: Tensor,
        see: Callable[[Tensor], Tensor],
        width: int = 128,
        num_heads: int = 8,
        num_blocks: int = 2,
        position_channels: int = 32,
    ) -> None:
        super().__init__()
        self.position_channels, self._see = position_channels, see
        joints, places = grid
        self.project = nn.Linear(channels + position_channels, width)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(joints, width) * 0.5)
        self.blocks = nn.ModuleList(QueryBlock(joints, width, num_heads) for _ in range(num_blocks))
        self.last_norm = nn.LayerNorm(width)
        self.choose, self.offer = nn.Linear(width, width), nn.Linear(width, width)
        self.preference = nn.Parameter(torch.zeros(joints, joints * places))
        self.shift = nn.Linear(width, 2)
        self.to_tokens = nn.Linear(joints, num_tokens)
        self.logits = CodebookLogits(width, tables, anchored=True)
        with torch.no_grad():
            self.preference[torch.arange(joints), torch.arange(joints) * places] = _OWN_PLACE
            self.choose.weight.mul_(0.1)
            self.shift.weight.zero_()
            self.shift.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, K * places, channels + position_channels) to logits (B, M, V), float32."""
        memory = self.norm(self.project(features))
        x = self.queries.expand(features.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, memory)
        x = self.last_norm(x)
        scores = self.choose(x) @ self.offer(memory).transpose(1, 2) / math.sqrt(x.shape[-1]) + self.preference
        pose = scores.float().softmax(dim=-1) @ features[..., :2].float() + self.shift(x).float()
        hidden = self.to_tokens(x.transpose(1, 2)).transpose(1, 2)
        return self.logits(hidden, self._see(pose))
