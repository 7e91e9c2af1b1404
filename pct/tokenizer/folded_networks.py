"""Folded networks of a tokenizer: encoder with its search, and decoder, for fixed weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock, Mlp
from pct.layers.packed_linear import PackedLinear
from pct.tokenizer.coarse_fine import CoarseFineQuantizer
from pct.tokenizer.coarse_fine_folded import FoldedFeatures, FoldedReader
from pct.tokenizer.networks import JointEmbedding, JointMixer, PoseDecoder, PoseEncoder, TokenDecoder, TokenEncoder
from pct.tokenizer.quantizer import Assignment, EMAQuantizer, Quantizer
from pct.tokenizer.search import NearestEntry, first_minimum


class FoldedEncoder(Protocol):
    """Joints (b, K, D), ``visible`` (b, K) and guidance (b, K, F) to tokens; ``numbers``: of the largest activation."""

    numbers: int

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> Assignment: ...


class FoldedDecoder(Protocol):
    """Tokens (b, m) to joints (b, K, D); ``numbers``: of the largest activation."""

    numbers: int

    def __call__(self, indices: Tensor) -> Tensor: ...


def fold_encoder(embedding: JointEmbedding, encoder: TokenEncoder | PoseEncoder, quantizer: Quantizer) -> FoldedEncoder:
    """Return the folded form of an encoder with its search."""
    if isinstance(encoder, PoseEncoder):
        return _FoldedPoseEncoder(embedding, encoder, quantizer)
    return _FoldedTokenEncoder(embedding, encoder, quantizer)


def fold_decoder(decoder: TokenDecoder | PoseDecoder, quantizer: Quantizer) -> FoldedDecoder:
    """Return the folded form of a decoder with the look-up of its tokens."""
    if isinstance(decoder, PoseDecoder):
        return _FoldedPoseDecoder(decoder, quantizer)
    return _FoldedTokenDecoder(decoder, quantizer.embeddings()[0])


class _Norm:
    """Layer norm in float32."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight, self.bias = norm.weight.float(), norm.bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


def _layers(mlp: Mlp) -> tuple[nn.Linear, nn.Linear]:
    return cast(nn.Linear, mlp[0]), cast(nn.Linear, mlp[2])


def _packed(mlp: Mlp) -> tuple[PackedLinear, PackedLinear]:
    first, second = _layers(mlp)
    return PackedLinear(first.weight, first.bias), PackedLinear(second.weight, second.bias)


class _FoldedMixer:
    """A mixer block with products from the left over the joint axis, which need no transposed copies."""

    def __init__(self, block: MixerBlock) -> None:
        self.norms = _Norm(block.norm1), _Norm(block.norm2)
        first, second = _layers(block.token_mlp)
        self.over_joints = [(m.weight.float()[None], m.bias.float()[:, None]) for m in (first, second)]
        self.over_channels = _packed(block.channel_mlp)
        self.numbers = first.out_features * block.norm1.normalized_shape[0]  # largest activation of a pose

    def __call__(self, x: Tensor) -> Tensor:
        """Map (b, K, C) to (b, K, C); the argument may be overwritten."""
        (w1, b1), (w2, b2) = self.over_joints
        count = len(x)
        hidden = F.gelu(torch.baddbmm(b1, w1.expand(count, -1, -1), self.norms[0](x)))
        x = x.baddbmm_(w2.expand(count, -1, -1), hidden).add_(b2)
        first, second = self.over_channels
        return x.add_(first.mlp(second, self.norms[1](x)))


class _FoldedBlocks:
    """Mixer blocks over the joints and their norm; the maps before and after are those of subclasses."""

    def __init__(self, mixer: JointMixer, least_numbers: int = 1) -> None:
        self.blocks = [_FoldedMixer(cast(MixerBlock, block)) for block in mixer.blocks]
        self.norm = _Norm(mixer.norm)
        self.numbers = max([block.numbers for block in self.blocks] + [least_numbers])

    def mixed(self, x: Tensor) -> Tensor:
        """Map joint vectors (b, K, C) to normed ones (b, K, C)."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class _FoldedTrunk(_FoldedBlocks):
    """Embedding and mixer blocks: coordinates, known flags and features of joints to normed joint vectors."""

    def __init__(self, embedding: JointEmbedding, trunk: JointMixer) -> None:
        super().__init__(trunk)
        self.start = PackedLinear(*_joint_map(embedding))

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> Tensor:
        known = visible[..., None]
        parts = [joints, known.float()]
        if features is not None:
            parts.append(torch.where(known, features, 0.0))
        return self.mixed(self.start(torch.cat(parts, dim=-1)))


def _joint_map(embedding: JointEmbedding) -> tuple[Tensor, Tensor]:
    """Fold an embedding into a linear map of coordinates, known flag, features: weight (C, D + 1 + F), bias (C)."""
    weight, bias = embedding.coordinates.weight.float(), embedding.coordinates.bias.float()
    mask_token, dims = embedding.mask_token.float(), embedding.coordinates.in_features
    if embedding.guidance is not None:
        weight = torch.block_diag(weight, embedding.guidance.weight.float())
        bias = torch.cat([bias, embedding.guidance.bias.float()])
    return torch.cat([weight[:, :dims], (bias - mask_token)[:, None], weight[:, dims:]], dim=1), mask_token


def _searcher(quantizer: Quantizer) -> Callable[[Tensor], Assignment]:
    """Return what finds the tokens of ``z``, with what they see folded where that is known."""
    if not isinstance(quantizer, CoarseFineQuantizer):
        return quantizer.searcher()
    see, nearest = FoldedFeatures(quantizer), NearestEntry(quantizer.codebook.entries)
    return lambda z: Assignment.of(nearest.search(see(z)), nearest.tolerance)


class _FoldedPoseEncoder:
    """The trunk, the pose, and its tokens."""

    def __init__(self, embedding: JointEmbedding, encoder: PoseEncoder, quantizer: Quantizer) -> None:
        self.trunk, self.search = _FoldedTrunk(embedding, encoder), _searcher(quantizer)
        self.end = encoder.to_joints.weight.float(), encoder.to_joints.bias.float()
        joints, width = encoder.to_joints.in_features, quantizer.num_tokens * quantizer.embeddings().shape[2]
        self.numbers = max(self.trunk.numbers, joints, width)

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> Assignment:
        z = F.linear(self.trunk(joints, visible, features), *self.end) + joints
        return self.search(z)


class _FoldedTokenEncoder:
    """The paper's encoder with its search.

    The last norm is followed by linear maps only: over the joints to tokens, over the channels to features, and the
    product with the codebook. They commute, so they run in the order that multiplies least.
    """

    def __init__(self, embedding: JointEmbedding, encoder: TokenEncoder, quantizer: Quantizer) -> None:
        self.trunk, self.search = _FoldedTrunk(embedding, encoder), quantizer.searcher()
        to_tokens, to_features = encoder.to_tokens, encoder.to_features
        tokens, joints = to_tokens.weight.shape
        dim, width = to_features.weight.shape
        entries = quantizer.codebook_size
        self.mix, offset = to_tokens.weight.float()[None], to_tokens.bias.float()[:, None]
        weight, bias = to_features.weight.float(), to_features.bias.float()
        self.tolerance: float | None = None
        if isinstance(quantizer, EMAQuantizer) and (
            joints * width * entries + tokens * joints * entries
            < joints * width * dim + tokens * joints * dim + tokens * dim * entries
        ):
            search = NearestEntry(quantizer.codebook.entries)
            self.tolerance = search.tolerance
            weight, bias = search.weight @ weight, search.weight @ bias + search.bias
        # last(mix x + offset) = mix (last_w x) + offset sum(last_w) + last_b
        self.last = PackedLinear(weight, torch.zeros_like(bias))
        self.bias = offset * weight.sum(dim=1) + bias
        self.numbers = max(self.trunk.numbers, tokens * len(bias), joints * width)

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> Assignment:
        x = self.last(self.trunk(joints, visible, features))
        out = torch.baddbmm(self.bias, self.mix.expand(len(x), -1, -1), x)
        if self.tolerance is None:
            return self.search(out)
        indices, margin = first_minimum(out.view(-1, out.shape[-1]))
        return Assignment(indices.view(out.shape[:2]), (margin.view(out.shape[:2]) < self.tolerance).any(dim=1))


class _FoldedTokenDecoder(_FoldedBlocks):
    """Codebook x first linear layer is a table (V, width); the linear map over the tokens follows the look-up."""

    def __init__(self, decoder: TokenDecoder, codebook: Tensor) -> None:
        weight, bias = decoder.start.weight.float(), decoder.start.bias.float()
        self.table = codebook.float() @ weight.t()
        # start(mix z + offset) = mix (z start_w^T) + offset sum(start_w) + start_b
        self.mix, offset = decoder.to_joints.weight.float()[None], decoder.to_joints.bias.float()[:, None]
        self.bias = offset * weight.sum(dim=1) + bias
        self.end = decoder.to_coordinates.weight.float(), decoder.to_coordinates.bias.float()
        super().__init__(decoder, self.mix.shape[2] * self.table.shape[1])

    def __call__(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.table)  # (b, M, width)
        x = torch.baddbmm(self.bias, self.mix.expand(len(tokens), -1, -1), tokens)
        return F.linear(self.mixed(x), *self.end)


class _FoldedPoseDecoder(_FoldedBlocks):
    """What the tokens say, and what the blocks add to it."""

    def __init__(self, decoder: PoseDecoder, quantizer: Quantizer) -> None:
        super().__init__(decoder, quantizer.num_tokens * quantizer.embeddings().shape[2])
        self.read = FoldedReader(quantizer) if isinstance(quantizer, CoarseFineQuantizer) else quantizer.lookup
        self.start = decoder.start.weight.float(), decoder.start.bias.float()
        self.end = decoder.to_coordinates.weight.float(), decoder.to_coordinates.bias.float()

    def __call__(self, indices: Tensor) -> Tensor:
        z_q = self.read(indices)
        return F.linear(self.mixed(F.linear(z_q, *self.start)), *self.end).add_(z_q[..., :-1])
