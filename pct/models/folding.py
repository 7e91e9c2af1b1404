"""Folded inference: the tokens and poses of the plain networks, with the products between fixed weights done once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, cast
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock, Mlp
from pct.layers.packed_linear import PackedLinear
from pct.layers.quantizer import EMAQuantizer, Quantizer
from pct.layers.search import NearestEntry, first_minimum
from pct.models.pose_networks import FlatDecoder, JointEmbedding, MixerDecoder, MixerEncoder, MlpEncoder, ResidualBlock
from pct.models.trunk_encoder import TrunkEncoder

if TYPE_CHECKING:
    from pct.models.tokenizer import PoseTokenizer

# Numbers that the activations of a chunk may have: chunks stay in the CPU's caches (4 MB), and memory does not grow
# with the number of poses. A GPU wants larger ones.
_CHUNK_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 27}


class FoldedTokenizer:
    """Encode and decode for one set of weights, without gradients.

    What is folded: coordinates, known flags and mask vector into one linear map of the joints (and on into the first
    layer of an MLP encoder); the codebook into the encoder's last linear layer where that saves work; the codebook into
    the decoder's first linear layer, which is then a table (V, width) where tokens are looked up.

    Args:
        tokenizer: The model whose present weights are folded.
    """

    _cache: ClassVar[WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], FoldedTokenizer]]] = WeakKeyDictionary()

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        self.embedding = tokenizer.embedding
        with torch.no_grad():
            encoder, decoder = tokenizer.encoder, tokenizer.decoder
            self.encoder: _FoldedMixerEncoder | _FoldedMlpEncoder | _PlainEncoder
            if isinstance(encoder, MixerEncoder):
                self.encoder = _FoldedMixerEncoder(tokenizer.embedding, encoder, tokenizer.quantizer)
            elif isinstance(encoder, TrunkEncoder):
                self.encoder = _PlainEncoder(tokenizer.embedding, encoder, tokenizer.quantizer)
            else:
                self.encoder = _FoldedMlpEncoder(tokenizer.embedding, encoder, tokenizer.quantizer)
            codebook = tokenizer.quantizer.codebook
            self.decoder: _FoldedMixerDecoder | _FoldedFlatDecoder = (
                _FoldedMixerDecoder(decoder, codebook)
                if isinstance(decoder, MixerDecoder)
                else _FoldedFlatDecoder(decoder, codebook)
            )

    @classmethod
    def of(cls, tokenizer: PoseTokenizer) -> FoldedTokenizer:
        """Return the folded form of ``tokenizer``, made anew only when its weights have changed."""
        # In-place changes raise a tensor's version; tensors of inference mode have none.
        tensors = list(_tensors_of(tokenizer))
        version = tuple(x for t in tensors for x in (t.data_ptr(), 0 if t.is_inference() else t._version))
        cached = cls._cache.get(tokenizer)
        if cached is None or cached[0] != version:
            cached = (version, cls(tokenizer))
            cls._cache[tokenizer] = cached
        return cached[1]

    @torch.no_grad()
    def encode(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Turn normalised poses (B, K, D), ``visible`` (B, K) and guidance (B, K, F), if any, into tokens (B, M)."""
        self.embedding.check_features(keypoints, features)
        indices = torch.empty(len(keypoints), self.encoder.num_tokens, dtype=torch.int64, device=keypoints.device)
        chunk = _chunk(keypoints.device, self.encoder.numbers)
        with torch.autocast(keypoints.device.type, enabled=False):
            for start in range(0, len(keypoints), chunk):
                rows = slice(start, start + chunk)
                known = visible[rows, :, None]
                parts = [self.embedding.start(keypoints[rows], visible[rows]), known.float()]
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


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Yield all parameters and buffers; ``parameters()``, which makes names of them, takes several times as long."""
    for tensors in (module._parameters, module._buffers):
        yield from (tensor for tensor in tensors.values() if tensor is not None)
    for child in module._modules.values():
        if child is not None:
            yield from _tensors_of(child)


def _chunk(device: torch.device, numbers: int) -> int:
    return max(1, _CHUNK_NUMBERS.get(device.type, _CHUNK_NUMBERS["cuda"]) // numbers)


def _joint_map(embedding: JointEmbedding) -> tuple[Tensor, Tensor]:
    """Fold an embedding into a linear map of coordinates, known flag, features: weight (C, D + 1 + F), bias (C)."""
    weight, bias = embedding.coordinates.weight.float(), embedding.coordinates.bias.float()
    mask_token, dims = embedding.mask_token.float(), embedding.coordinates.in_features
    if embedding.guidance is not None:
        weight = torch.block_diag(weight, embedding.guidance.weight.float())
        bias = torch.cat([bias, embedding.guidance.bias.float()])
    # An unknown joint is the mask vector alone, or its estimate plus the mask vector.
    unknown = mask_token if embedding.fill is None else bias + mask_token
    return torch.cat([weight[:, :dims], (bias - unknown)[:, None], weight[:, dims:]], dim=1), unknown


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


class _FoldedMixerEncoder:
    """A mixer encoder with its search.

    The last norm is followed by linear maps only: over the joints to tokens, over the channels to features, and the
    product with the codebook. They commute, so they run in the order that multiplies least.
    """

    def __init__(self, embedding: JointEmbedding, encoder: MixerEncoder, quantizer: Quantizer) -> None:
        self.start = PackedLinear(*_joint_map(embedding))
        self.blocks = [_FoldedMixer(cast(MixerBlock, block)) for block in encoder.blocks]
        self.norm = _Norm(encoder.norm)
        to_tokens, to_features = encoder.to_tokens, encoder.to_features
        self.num_tokens, joints = to_tokens.weight.shape
        dim, width = to_features.weight.shape
        entries = quantizer.codebook_size
        self.mix, offset = to_tokens.weight.float()[None], to_tokens.bias.float()[:, None]
        self.search = NearestEntry(quantizer.codebook) if isinstance(quantizer, EMAQuantizer) else quantizer.assign
        weight, bias = to_features.weight.float(), to_features.bias.float()
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
        first = torch.cat([encoder.start.weight, encoder.shortcut.weight]).float()
        per_joint = first.unflatten(1, (-1, weight.shape[0]))  # (H + M * D, K, C)
        bias = per_joint.sum(dim=1) @ bias
        bias[: encoder.start.out_features] += encoder.start.bias
        self.start = PackedLinear((per_joint @ weight).flatten(1), bias)
        self.width = encoder.start.out_features
        blocks = [cast(ResidualBlock, block) for block in encoder.blocks]
        self.blocks = [(_Norm(block.norm), *_packed(block.mlp)) for block in blocks]
        self.norm = _Norm(encoder.norm)
        self.last = PackedLinear(encoder.to_features.weight, encoder.to_features.bias)
        self.search = NearestEntry(quantizer.codebook) if isinstance(quantizer, EMAQuantizer) else quantizer.assign
        self.num_tokens = encoder.num_tokens
        self.features = encoder.num_tokens, encoder.codebook_dim
        # Input, norm, hidden layer and result of a block are alive at once.
        self.numbers = 4 * encoder.start.out_features + encoder.to_features.out_features

    def __call__(self, joints: Tensor) -> Tensor:
        x, shortcut = self.start(joints.flatten(1)).tensor_split([self.width], dim=1)
        for norm, first, second in self.blocks:
            x = x.add_(first.mlp(second, norm(x)))
        return self.search(self.last(self.norm(x)).add_(shortcut).unflatten(1, self.features))


class _PlainEncoder:
    """A lifting network as encoder, as it is: only the joints' embedding is folded."""

    def __init__(self, embedding: JointEmbedding, encoder: TrunkEncoder, quantizer: Quantizer) -> None:
        self.start = PackedLinear(*_joint_map(embedding))
        # Folding is inference, whatever mode the model is in.
        self.encoder = copy.deepcopy(encoder).eval()
        self.search = NearestEntry(quantizer.codebook) if isinstance(quantizer, EMAQuantizer) else quantizer.assign
        self.num_tokens = encoder.num_tokens
        trunk = encoder.trunk
        self.numbers = 8 * trunk.channels * max(trunk.num_positions, encoder.num_tokens)

    def __call__(self, joints: Tensor) -> Tensor:
        return self.search(self.encoder(self.start(joints)))


class _FoldedMixerDecoder:
    """Codebook x first linear layer is a table (V, width); the linear map over the tokens follows the look-up."""

    def __init__(self, decoder: MixerDecoder, codebook: Tensor) -> None:
        weight, bias = decoder.start.weight.float(), decoder.start.bias.float()
        self.table = codebook.float() @ weight.t()
        # start(mix z + offset) = mix (z start_w^T) + offset sum(start_w) + start_b
        self.mix, offset = decoder.to_joints.weight.float()[None], decoder.to_joints.bias.float()[:, None]
        self.bias = offset * weight.sum(dim=1) + bias
        self.blocks = [_FoldedMixer(cast(MixerBlock, block)) for block in decoder.blocks]
        self.norm = _Norm(decoder.norm)
        self.end = decoder.to_coordinates.weight.float(), decoder.to_coordinates.bias.float()
        self.shape = self.mix.shape[1], decoder.to_coordinates.out_features
        self.numbers = max([block.numbers for block in self.blocks] + [self.mix.shape[2] * self.table.shape[1]])

    def __call__(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.table)  # (b, M, width)
        x = torch.baddbmm(self.bias, self.mix.expand(len(tokens), -1, -1), tokens)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), *self.end)


class _FoldedFlatDecoder:
    """One product for the first layer and the linear path beside the blocks."""

    def __init__(self, decoder: FlatDecoder, codebook: Tensor) -> None:
        self.codebook = codebook
        weight = torch.cat([decoder.start.weight, decoder.shortcut.weight])
        bias = torch.cat([decoder.start.bias, decoder.start.bias.new_zeros(len(decoder.shortcut.weight))])
        self.start = PackedLinear(weight, bias)
        self.blocks = [_FoldedMixer(cast(MixerBlock, block)) for block in decoder.blocks]
        self.norm = _Norm(decoder.norm)
        self.end = decoder.to_coordinates.weight.float(), decoder.to_coordinates.bias.float()
        self.shape = decoder.joints, decoder.to_coordinates.out_features
        self.numbers = max([block.numbers for block in self.blocks] + [len(bias)])

    def __call__(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.codebook).flatten(1)  # (b, M * D)
        joints, dims = self.shape
        x, shortcut = self.start(tokens).tensor_split([len(self.norm.weight) * joints], dim=1)
        x = x.reshape(len(x), joints, -1)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), *self.end) + shortcut.reshape(-1, joints, dims)
