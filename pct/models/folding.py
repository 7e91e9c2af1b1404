"""Folded inference: the same tokens and poses as the plain networks, with the products between fixed weights done once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.layers.packed_linear import PackedLinear
from pct.layers.quantizer import EMAQuantizer, Quantizer
from pct.layers.search import NearestEntry, first_minimum
from pct.models.pose_networks import FlatDecoder, JointEmbedding, MixerDecoder, MixerEncoder, MlpEncoder

if TYPE_CHECKING:
    from pct.models.tokenizer import PoseTokenizer

# Numbers that the largest activation of a chunk may have: chunks stay in the CPU's caches (4 MB), and memory does not
# depend on the number of poses. A GPU wants larger ones.
_CHUNK_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 27}


class FoldedTokenizer:
    """Encode and decode for one set of weights, without gradients.

    What is folded: coordinates, known flags and mask vector into one linear map of the joints (and on into the first
    layer of an MLP encoder); the codebook into the encoder's last linear layer where that saves work; the codebook into
    the decoder's first linear layer, which is then a table (V, width) where tokens are looked up.

    Args:
        tokenizer: The model whose present weights are folded.
    """

    _cache: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], FoldedTokenizer]] = WeakKeyDictionary()

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        with torch.no_grad():
            self.encoder: _FoldedEncoder = (
                _FoldedMixerEncoder(tokenizer.embedding, tokenizer.encoder, tokenizer.quantizer)
                if isinstance(tokenizer.encoder, MixerEncoder)
                else _FoldedMlpEncoder(tokenizer.embedding, tokenizer.encoder, tokenizer.quantizer)
            )
            codebook = tokenizer.quantizer.codebook
            self.decoder: _FoldedMixerDecoder | _FoldedFlatDecoder = (
                _FoldedMixerDecoder(tokenizer.decoder, codebook)
                if isinstance(tokenizer.decoder, MixerDecoder)
                else _FoldedFlatDecoder(tokenizer.decoder, codebook)
            )

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

    @torch.no_grad()
    def encode(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Turn normalised poses (B, K, D) with ``visible`` (B, K) and, if guided, features (B, K, F) into tokens (B, M)."""
        indices = torch.empty(len(keypoints), self.encoder.num_tokens, dtype=torch.int64, device=keypoints.device)
        chunk = _chunk(keypoints.device, self.encoder.numbers)
        with torch.autocast(keypoints.device.type, enabled=False):
            for start in range(0, len(keypoints), chunk):
                rows = slice(start, start + chunk)
                known = visible[rows, :, None]
                parts = [torch.where(known, keypoints[rows].float(), 0.0), known.float()]
                if features is not None:
                    parts.append(torch.where(known, features[rows].float(), 0.0))
                indices[rows] = self.encoder(torch.cat(parts, dim=-1))
        return indices

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (B, M) into joints (B, K, D) in model units."""
        keypoints = torch.empty(len(indices), *self.decoder.shape, device=indices.device)
        chunk = _chunk(indices.device, self.decoder.numbers)
        with torch.autocast(indices.device.type, enabled=False):
            for start in range(0, len(indices), chunk):
                keypoints[start : start + chunk] = self.decoder(indices[start : start + chunk])
        return keypoints


def _chunk(device: torch.device, numbers: int) -> int:
    return max(1, _CHUNK_NUMBERS.get(device.type, _CHUNK_NUMBERS["cuda"]) // numbers)


class _FoldedEncoder(Protocol):
    """Tokens (b, M) of joints (b, K, D + 1 + F): coordinates, known flag and image features, 0 where unknown.

    Attributes:
        num_tokens: Tokens M.
        numbers: Size of the largest activation of a pose.
    """

    num_tokens: int
    numbers: int

    def __call__(self, joints: Tensor) -> Tensor: ...


def _joint_map(embedding: JointEmbedding) -> tuple[Tensor, Tensor]:
    """Fold an embedding into a linear map of (coordinates, known flag, features): weight (C, D + 1 + F) and bias (C)."""
    weight, bias = embedding.coordinates.weight, embedding.coordinates.bias
    if embedding.guidance is not None:
        weight = torch.block_diag(weight, embedding.guidance.weight)
        bias = torch.cat([bias, embedding.guidance.bias])
    dims = embedding.coordinates.in_features
    flag = (bias - embedding.mask_token)[:, None]
    return torch.cat([weight[:, :dims], flag, weight[:, dims:]], dim=1), embedding.mask_token


class _FoldedMixer:
    """A mixer block with products from the left over the joint axis, which need no transposed copies."""

    def __init__(self, block: MixerBlock) -> None:
        self.norms = block.norm1, block.norm2
        self.over_joints = [(m.weight[None], m.bias[:, None]) for m in (block.token_mlp[0], block.token_mlp[2])]
        first, _, second = block.channel_mlp
        self.over_channels = PackedLinear(first.weight, first.bias), PackedLinear(second.weight, second.bias)
        self.numbers = max(block.token_mlp[0].out_features * first.in_features, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (b, K, C) to (b, K, C); the argument may be overwritten."""
        (w1, b1), (w2, b2) = self.over_joints
        count = len(x)
        hidden = F.gelu(torch.baddbmm(b1, w1.expand(count, -1, -1), self.norms[0](x)))
        x = x.baddbmm_(w2.expand(count, -1, -1), hidden).add_(b2)
        first, second = self.over_channels
        return x.add_(first.mlp(second, self.norms[1](x)))


class _FoldedMixerEncoder:
    """A mixer encoder with its search.

    The last norm is followed by linear maps only: over the joints to tokens, over the channels to features, and the
    product with the codebook. They commute, so they run in the order that multiplies least.
    """

    def __init__(self, embedding: JointEmbedding, encoder: MixerEncoder, quantizer: Quantizer) -> None:
        self.start = PackedLinear(*_joint_map(embedding))
        self.blocks = [_FoldedMixer(block) for block in encoder.blocks if isinstance(block, MixerBlock)]
        self.norm = encoder.norm
        to_tokens, to_features = encoder.to_tokens, encoder.to_features
        self.num_tokens, joints = to_tokens.weight.shape
        dim, width = to_features.weight.shape
        entries = quantizer.codebook_size
        self.mix, offset = to_tokens.weight[None], to_tokens.bias[:, None]
        self.search = NearestEntry(quantizer.codebook) if isinstance(quantizer, EMAQuantizer) else quantizer.assign
        weight, bias = to_features.weight, to_features.bias
        self.scored = isinstance(quantizer, EMAQuantizer) and (
            joints * width * entries + self.num_tokens * joints * entries
            < joints * width * dim + self.num_tokens * joints * dim + self.num_tokens * dim * entries
        )
        if self.scored:
            assert isinstance(self.search, NearestEntry)
            weight, bias = self.search.weight @ weight, self.search.weight @ bias + self.search.bias
        # last(mix x + offset) = mix (last_w x) + offset sum(last_w) + last_b
        self.last = PackedLinear(weight, torch.zeros_like(bias))
        self.bias = offset * weight.sum(dim=1) + bias
        self.numbers = max([block.numbers for block in self.blocks] + [self.num_tokens * len(bias), joints * width])

    def __call__(self, joints: Tensor) -> Tensor:
        x = self.start(joints)
        for block in self.blocks:
            x = block(x)
        x = self.last(self.norm(x))
        out = torch.baddbmm(self.bias, self.mix.expand(len(x), -1, -1), x)
        return first_minimum(out.view(-1, out.shape[-1])).view(out.shape[:2]) if self.scored else self.search(out)


class _FoldedMlpEncoder:
    """An MLP encoder; the joints' embedding is folded into its first layer."""

    def __init__(self, embedding: JointEmbedding, encoder: MlpEncoder, quantizer: Quantizer) -> None:
        weight, bias = _joint_map(embedding)
        first = torch.cat([encoder.start.weight, encoder.shortcut.weight])
        per_joint = first.unflatten(1, (-1, weight.shape[0]))  # (H + M * D, K, C)
        bias = per_joint.sum(dim=1) @ bias
        bias[: encoder.start.out_features] += encoder.start.bias
        self.start = PackedLinear((per_joint @ weight).flatten(1), bias)
        self.width = encoder.start.out_features
        self.blocks = [
            (b.norm, PackedLinear(b.mlp[0].weight, b.mlp[0].bias), PackedLinear(b.mlp[2].weight, b.mlp[2].bias))
            for b in encoder.blocks
        ]
        self.norm = encoder.norm
        self.last = PackedLinear(encoder.to_features.weight, encoder.to_features.bias)
        self.search = NearestEntry(quantizer.codebook) if isinstance(quantizer, EMAQuantizer) else quantizer.assign
        self.num_tokens = encoder.num_tokens
        self.features = encoder.num_tokens, encoder.codebook_dim
        self.numbers = encoder.start.out_features + encoder.to_features.out_features

    def __call__(self, joints: Tensor) -> Tensor:
        x, shortcut = self.start(joints.flatten(1)).tensor_split([self.width], dim=1)
        for norm, first, second in self.blocks:
            x = x.add_(first.mlp(second, norm(x)))
        return self.search(self.last(self.norm(x)).add_(shortcut).unflatten(1, self.features))


class _FoldedMixerDecoder:
    """Codebook x first linear layer is a table (V, width); the linear map over the tokens follows the look-up."""

    def __init__(self, decoder: MixerDecoder, codebook: Tensor) -> None:
        self.table = codebook @ decoder.start.weight.t()
        # start(to_joints(z)) = to_joints_w z start_w^T + (to_joints_b x sum_d start_w) + start_b
        self.mix = decoder.to_joints.weight[None]
        self.bias = decoder.to_joints.bias[:, None] * decoder.start.weight.sum(dim=1) + decoder.start.bias
        self.blocks = [_FoldedMixer(block) for block in decoder.blocks if isinstance(block, MixerBlock)]
        self.norm, self.end = decoder.norm, decoder.to_coordinates
        self.shape = self.mix.shape[1], decoder.to_coordinates.out_features
        self.numbers = max([block.numbers for block in self.blocks] + [self.mix.shape[2] * self.table.shape[1]])

    def __call__(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.table)  # (b, M, width)
        x = torch.baddbmm(self.bias, self.mix.expand(len(tokens), -1, -1), tokens)
        for block in self.blocks:
            x = block(x)
        return self.end(self.norm(x))


class _FoldedFlatDecoder:
    """One product for the first layer and the linear path beside the blocks."""

    def __init__(self, decoder: FlatDecoder, codebook: Tensor) -> None:
        self.codebook = codebook
        weight = torch.cat([decoder.start.weight, decoder.shortcut.weight])
        bias = torch.cat([decoder.start.bias, decoder.start.bias.new_zeros(len(decoder.shortcut.weight))])
        self.start = PackedLinear(weight, bias)
        self.blocks = [_FoldedMixer(block) for block in decoder.blocks if isinstance(block, MixerBlock)]
        self.norm, self.end = decoder.norm, decoder.to_coordinates
        self.shape = decoder.joints, decoder.to_coordinates.out_features
        self.numbers = max([block.numbers for block in self.blocks] + [len(bias)])

    def __call__(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.codebook).flatten(1)  # (b, M * D)
        joints, dims = self.shape
        x, shortcut = self.start(tokens).tensor_split([len(self.norm.weight) * joints], dim=1)
        x = x.reshape(len(x), joints, -1)
        for block in self.blocks:
            x = block(x)
        return self.end(self.norm(x)) + shortcut.reshape(-1, joints, dims)
