"""Folded inference: the same tokens and poses as the plain networks, with the products between fixed weights done once."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock

if TYPE_CHECKING:
    from pct.models.tokenizer import PoseTokenizer

# Poses that go through the networks at once: activations of a block stay near the CPU's caches.
_CHUNK = 256


class FoldedTokenizer:
    """Encode and decode for one set of weights.

    Decoding needs no codebook-wide vectors: codebook x first linear layer of the decoder is a table (V, width), tokens
    are looked up in it, and the linear map over the token axis follows (both are linear, so they commute).

    Args:
        tokenizer: The model whose present weights are folded.
    """

    _cache: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], FoldedTokenizer]] = WeakKeyDictionary()

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        decoder = tokenizer.decoder
        self.embedding, self.encoder = tokenizer.embedding, tokenizer.encoder
        self.quantizer, self.decoder = tokenizer.quantizer, decoder
        with torch.no_grad():
            self.table = tokenizer.quantizer.codebook @ decoder.start.weight.t()  # (V, width)
            # start(to_joints(z)) = to_joints_w z start_w^T + (to_joints_b x sum_d start_w) + start_b
            self.mix = decoder.to_joints.weight  # (K, M)
            self.bias = decoder.to_joints.bias[:, None] * decoder.start.weight.sum(dim=1) + decoder.start.bias

    @classmethod
    def of(cls, tokenizer: PoseTokenizer) -> FoldedTokenizer:
        """Return the folded form of ``tokenizer``, made anew only when its weights have changed."""
        tensors = [*tokenizer.parameters(), *tokenizer.buffers()]
        version = tuple(x for t in tensors for x in (t.data_ptr(), t._version))
        cached = cls._cache.get(tokenizer)
        if cached is None or cached[0] != version:
            cached = (version, cls(tokenizer))
            cls._cache[tokenizer] = cached
        return cached[1]

    def encode(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Turn normalised poses (B, K, D) into tokens (B, M)."""
        parts = []
        for start in range(0, len(keypoints), _CHUNK):
            rows = slice(start, start + _CHUNK)
            guidance = None if features is None else features[rows]
            z = self.encoder(self.embedding(keypoints[rows], visible[rows], guidance))
            parts.append(self.quantizer.assign(z))
        return torch.cat(parts)

    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (B, M) into joints (B, K, D) in model units."""
        return torch.cat([self._decode(indices[i : i + _CHUNK]) for i in range(0, len(indices), _CHUNK)])

    def _decode(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.table)  # (b, M, width)
        x = torch.matmul(self.mix, tokens) + self.bias
        for block in self.decoder.blocks:
            assert isinstance(block, MixerBlock)
            x = _mixer(block, x)
        return self.decoder.to_coordinates(self.decoder.norm(x)).float()


def _mixer(block: MixerBlock, x: Tensor) -> Tensor:
    """Apply a mixer block with products from the left over the joint axis, which need no transposed copies."""
    first, _, second = block.token_mlp
    y = torch.matmul(first.weight, block.norm1(x)) + first.bias[:, None]
    x = x + torch.matmul(second.weight, F.gelu(y)) + second.bias[:, None]
    return x + block.channel_mlp(block.norm2(x))
