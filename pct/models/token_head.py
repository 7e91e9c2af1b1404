"""Token heads: features to logits over the codebook for every token; they know nothing of photos."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock

# Logarithm of the precision that anchored bells start with: a fifth of the codebook's deviation wide.
_ANCHORED_PRECISION = 1.5
# Half the side, in model units, of the square around the highest place of a joint's map that counts.
_NEAR = 0.2


class CodebookLogits(nn.Module):
    """Logits over the entries of a codebook that know where the entries lie.

    A linear layer treats 1,024 entries as strangers and must see each of them often. Here each token's hidden vector
    also gives a place in the codebook's space and a precision a channel, and an entry's logit falls with its squared
    distance from that place, as under a normal distribution; the linear layer, which starts at zero, adds what such a
    bell cannot say (several modes, gaps).

    Args:
        width: Width of the hidden vectors.
        codebook: Entries (V, D).
        anchored: Whether places are given, from which the hidden vectors say the difference only.
    """

    entries: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, width: int, codebook: Tensor, anchored: bool = False) -> None:
        super().__init__()
        size, dim = codebook.shape
        self.place, self.precision, self.free = nn.Linear(width, dim), nn.Linear(width, dim), nn.Linear(width, size)
        for layer in (self.precision, self.free, *([self.place] if anchored else [])):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if anchored:
            nn.init.constant_(self.precision.bias, _ANCHORED_PRECISION)
        self.register_buffer("center", codebook.mean(dim=0))
        self.register_buffer("scale", codebook.std(dim=0).clamp(min=1e-6))
        self.register_buffer("entries", (codebook - self.center) / self.scale)

    def forward(self, x: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Map hidden vectors (B, M, width), and places (B, M, D) if anchored, to logits (B, M, V), float32."""
        place, log_precision, free = self.place(x), self.precision(x), self.free(x)
        with torch.autocast(x.device.type, enabled=False):
            place = place.float()
            if anchor is not None:
                place = place + (anchor.float() - self.center) / self.scale
            # Scalar levels lie about 1/30 of the deviation apart: nothing sharper can be told.
            precision = (2 * log_precision.float().clamp(-3.0, 4.0)).exp()
            # The square's term without the entry changes no probability.
            bell = (precision * place) @ self.entries.t() - 0.5 * precision @ self.entries.square().t()
            return bell + free.float()


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


class JointTokenHead(nn.Module):
    """Finds the joints, completes the pose, and says its tokens by way of the tokenizer's own encoder.

    1. A map of places for each joint; each position has several places, so that the maps are finer than the features.
       The means of the maps are the joints as they are seen, the features under them the joints' evidence.
    2. Mixer blocks over the joints move those that are not seen, or are seen wrongly, to where the others say.
    3. The encoder of stage one turns that pose into token features, around which the logits are a bell; mixer blocks
       over the tokens say how wide it is and what it misses.

    The maps can be taught directly where the joints are (``place_logits``), which is what a small data set or a short
    training needs most, and from then on the tokens are nearly right.

    Args:
        channels: Channels of the features.
        places: Where the R places of each of the P positions lie (P, R, 2), in model units.
        num_keypoints: Joints K.
        num_tokens: Tokens M.
        codebook: Entries (V, D) of the tokenizer's codebook.
        encode: The tokenizer's encoder, from joints (B, K, 2) in model units to features (B, M, D), frozen; without it
            the bells are learned from nothing, as for the tokens of 3D poses.
        width: Width of the hidden vectors.
        num_blocks: Mixer blocks over the joints, and as many over the tokens.
    """

    places: Tensor
    position_channels = 0

    def __init__(
        self,
        channels: int,
        places: Tensor,
        num_keypoints: int,
        num_tokens: int,
        codebook: Tensor,
        encode: Callable[[Tensor], Tensor] | None,
        width: int = 128,
        num_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.encode = encode
        self.num_keypoints = num_keypoints
        self.register_buffer("places", places, persistent=False)
        self.find = nn.Linear(channels, num_keypoints * places.shape[1])
        self.evidence = nn.Linear(channels, width)
        self.seen = nn.Linear(3, width)
        self.joints = nn.Parameter(torch.randn(num_keypoints, width) * 0.5)
        self.joint_blocks = _mixers(num_keypoints, width, num_blocks)
        self.move = nn.Linear(width, 2)
        nn.init.zeros_(self.move.weight)
        nn.init.zeros_(self.move.bias)
        self.to_tokens = nn.Linear(num_keypoints, num_tokens)
        self.token_blocks = _mixers(num_tokens, width, num_blocks)
        self.last_norm = nn.LayerNorm(width)
        self.logits = CodebookLogits(width, codebook, anchored=encode is not None)

    def place_logits(self, features: Tensor) -> Tensor:
        """Return where each joint is looked for (B, K, P * R), float32, before the softmax over the places."""
        found = self.find(features).unflatten(-1, (self.num_keypoints, -1))  # (B, P, K, R)
        return found.transpose(1, 2).flatten(2).float()

    def look(self, place_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the joints are seen (B, K, 2) and how widely they are looked for (B, K, 1), in model units.

        A joint is seen at the mean of its map around the map's highest place: the mean of a map with two humps would
        lie between them, where the joint surely is not.
        """
        places, weights = self.places.flatten(0, 1), place_logits.softmax(dim=-1)
        mean = weights @ places
        spread = weights @ places.square().sum(dim=-1, keepdim=True) - mean.square().sum(dim=-1, keepdim=True)
        peak = places[place_logits.argmax(dim=-1)]  # (B, K, 2)
        near = (peak[:, :, None] - places).abs().amax(dim=-1) < _NEAR
        around = weights * near
        seen = (around / around.sum(dim=-1, keepdim=True).clamp(min=1e-9)) @ places
        return seen, spread.clamp(min=0).sqrt()

    def forward(self, features: Tensor, place_logits: Tensor | None = None) -> Tensor:
        """Map features (B, P, C) to logits (B, M, V), float32; ``place_logits`` saves computing them again."""
        place_logits = self.place_logits(features) if place_logits is None else place_logits
        weights = place_logits.softmax(dim=-1)
        positions, per_position, _ = self.places.shape
        with torch.autocast(features.device.type, enabled=False):
            seen, spread = self.look(place_logits)
        under = weights.unflatten(-1, (positions, per_position)).sum(dim=-1)
        x = under.to(features.dtype) @ self.evidence(features) + self.joints
        x = self.joint_blocks(x + self.seen(torch.cat([seen, spread], dim=-1)))
        anchor = None
        if self.encode is not None:
            with torch.autocast(features.device.type, enabled=False):
                anchor = self.encode(seen + self.move(x.float()))
        tokens = self.token_blocks(self.to_tokens(x.transpose(1, 2)).transpose(1, 2))
        return self.logits(self.last_norm(tokens), anchor)


def _mixers(num_rows: int, width: int, num_blocks: int) -> nn.Sequential:
    return nn.Sequential(*(MixerBlock(num_rows, width, 2 * num_rows, 2 * width) for _ in range(num_blocks)))


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
