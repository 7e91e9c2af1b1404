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
from pct.tokenizer.coarse_fine import CoarseFineQuantizer
from pct.tokenizer.networks import JointEmbedding, JointMixer, PoseDecoder, PoseEncoder, TokenDecoder, TokenEncoder
from pct.tokenizer.quantizer import EMAQuantizer, Quantizer
from pct.tokenizer.search import NearestEntry, first_minimum

if TYPE_CHECKING:
    from pct.tokenizer.model import PoseTokenizer

# Numbers that the activations of a chunk may have: chunks stay in the CPU's caches (4 MB), and memory does not grow
# with the number of poses. A GPU wants larger ones.
_CHUNK_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 27}


class FoldedTokenizer:
    """Encode and decode for one set of weights, without gradients.

    What is folded: coordinates, known flags and mask vector into one linear map of the joints; the codebook into the
    encoder's last linear layer where that saves work; the codebook into the decoder's first linear layer, which is then
    a table (V, width) where tokens are looked up.

    Tokens do not depend on how many poses are encoded together, on threads or on the device: where float32 cannot tell
    two entries apart, the pose is encoded once more in float64, and of entries that are equally near even then, the
    first one is taken.

    Args:
        tokenizer: The model whose present weights are folded.
    """

    _cache: ClassVar[WeakKeyDictionary[nn.Module, tuple[list[int], FoldedTokenizer]]] = WeakKeyDictionary()

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        self.embedding, self.num_tokens = tokenizer.embedding, tokenizer.config.num_tokens
        self.keypoints_shape = tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims
        encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
        # Folding is inference, whatever mode the model is in.
        self.exact = [copy.deepcopy(m).double().eval() for m in (tokenizer.embedding, encoder, quantizer)]
        with torch.no_grad():
            trunk = _FoldedTrunk(tokenizer.embedding, encoder)
            self.encoder = (
                _FoldedPoseEncoder(trunk, encoder, quantizer)
                if isinstance(encoder, PoseEncoder)
                else _FoldedTokenEncoder(trunk, encoder, quantizer)
            )
            self.decoder = (
                _FoldedPoseDecoder(decoder, quantizer)
                if isinstance(decoder, PoseDecoder)
                else _FoldedTokenDecoder(decoder, quantizer.entries)
            )

    @classmethod
    def of(cls, tokenizer: PoseTokenizer) -> FoldedTokenizer:
        """Return the folded form of ``tokenizer``, made anew only when its weights have changed."""
        version = _version(tokenizer)
        cached = cls._cache.get(tokenizer)
        if cached is None or cached[0] != version:
            cached = (version, cls(tokenizer))
            cls._cache[tokenizer] = cached
        return cached[1]

    @torch.no_grad()
    def encode(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Turn normalised poses (B, K, D), ``visible`` (B, K) and guidance (B, K, F), if any, into tokens (B, M)."""
        self.embedding.check_features(keypoints, features)
        indices = torch.empty(len(keypoints), self.num_tokens, dtype=torch.int64, device=keypoints.device)
        with torch.autocast(keypoints.device.type, enabled=False):
            for rows in _chunks(keypoints, self.encoder.numbers):
                joints = torch.where(visible[rows, :, None], keypoints[rows].float(), 0.0)
                given = None if features is None else features[rows].float()
                found, unsure = self.encoder(joints, visible[rows], given)
                if unsure.any():
                    again = None if given is None else given[unsure]
                    found[unsure] = self._encode_exactly(joints[unsure], visible[rows][unsure], again)
                indices[rows] = found
        return indices

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (B, M), or a prefix of them, into joints (B, K, D) in model units."""
        keypoints = torch.empty(len(indices), *self.keypoints_shape, device=indices.device)
        with torch.autocast(indices.device.type, enabled=False):
            for rows in _chunks(indices, self.decoder.numbers):
                keypoints[rows] = self.decoder(indices[rows])
        return keypoints

    def _encode_exactly(self, keypoints: Tensor, visible: Tensor, features: Tensor | None) -> Tensor:
        embedding, encoder, quantizer = self.exact
        joints, given = keypoints.double(), None if features is None else features.double()
        z = encoder(embedding(joints, visible, given), joints, visible)
        return cast(Quantizer, quantizer).searcher(exact=True)(z)[0]


def _version(module: nn.Module) -> list[int]:
    """Return numbers that are others when a weight is another tensor, or was changed in place.

    It is asked for at every call: ``parameters()``, which makes names of them, takes several times as long.
    """
    modules, numbers = [module], list[int]()
    for each in modules:
        modules += [child for child in each._modules.values() if child is not None]
        for tensors in (each._parameters, each._buffers):
            for tensor in tensors.values():
                if tensor is not None:
                    # Tensors of inference mode have no version.
                    numbers += (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
    return numbers


def _chunks(rows: Tensor, numbers: int) -> Iterator[slice]:
    """Yield slices of the rows whose largest activation, of so many ``numbers`` a row, is small enough."""
    size = max(1, _CHUNK_NUMBERS.get(rows.device.type, _CHUNK_NUMBERS["cuda"]) // numbers)
    yield from (slice(start, start + size) for start in range(0, len(rows), size))


def _norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)


def _layer(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight.detach().float(), linear.bias.detach().float()


class _FoldedMixer:
    """A mixer block with products from the left over the joint axis, which need no transposed copies."""

    def __init__(self, block: MixerBlock) -> None:
        self.block = block
        (w1, b1), (w2, b2) = map(_layer, _linears(block.token_mlp))
        self.over_joints = w1[None], b1[:, None], w2[None], b2[:, None]
        self.over_channels = [PackedLinear(*_layer(linear)) for linear in _linears(block.channel_mlp)]
        self.numbers = len(w1) * block.norm1.normalized_shape[0]  # largest activation of a pose

    def __call__(self, x: Tensor) -> Tensor:
        """Map (b, K, C) to (b, K, C); the argument may be overwritten."""
        w1, b1, w2, b2 = self.over_joints
        count = len(x)
        hidden = F.gelu(torch.baddbmm(b1, w1.expand(count, -1, -1), _norm(x, self.block.norm1)))
        x = x.baddbmm_(w2.expand(count, -1, -1), hidden).add_(b2)
        first, second = self.over_channels
        return x.add_(first.mlp(second, _norm(x, self.block.norm2)))


def _linears(mlp: Mlp) -> tuple[nn.Linear, nn.Linear]:
    return cast(nn.Linear, mlp[0]), cast(nn.Linear, mlp[2])


class _FoldedBlocks:
    """Mixer blocks over the joints and their norm; the maps before and after are those of subclasses."""

    def __init__(self, mixer: JointMixer, least_numbers: int = 1) -> None:
        self.blocks = [_FoldedMixer(cast(MixerBlock, block)) for block in mixer.blocks]
        self.norm = mixer.norm
        self.numbers = max([block.numbers for block in self.blocks] + [least_numbers])

    def mixed(self, x: Tensor) -> Tensor:
        """Map joint vectors (b, K, C) to normed ones (b, K, C)."""
        for block in self.blocks:
            x = block(x)
        return _norm(x, self.norm)


class _FoldedTrunk(_FoldedBlocks):
    """Embedding and mixer blocks: coordinates, known flags and features of joints to normed joint vectors."""

    def __init__(self, embedding: JointEmbedding, trunk: JointMixer) -> None:
        super().__init__(trunk)
        weight, bias = _layer(embedding.coordinates)
        mask_token, dims = embedding.mask_token.float(), embedding.coordinates.in_features
        if embedding.guidance is not None:
            weight = torch.block_diag(weight, embedding.guidance.weight.float())
            bias = torch.cat([bias, embedding.guidance.bias.float()])
        # Of coordinates, known flag, features.
        weight = torch.cat([weight[:, :dims], (bias - mask_token)[:, None], weight[:, dims:]], dim=1)
        self.start = PackedLinear(weight, mask_token)

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> Tensor:
        known = visible[..., None]
        parts = [joints, known.float()]
        if features is not None:
            parts.append(torch.where(known, features, 0.0))
        return self.mixed(self.start(torch.cat(parts, dim=-1)))


class _FoldedPoseEncoder:
    """The trunk, the pose, and its tokens."""

    def __init__(self, trunk: _FoldedTrunk, encoder: PoseEncoder, quantizer: Quantizer) -> None:
        self.trunk, self.search, self.end = trunk, quantizer.searcher(), _layer(encoder.to_joints)
        width = quantizer.num_tokens * quantizer.embeddings().shape[2]
        self.numbers = max(trunk.numbers, encoder.width, width)

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.search(F.linear(self.trunk(joints, visible, features), *self.end) + joints)


class _FoldedTokenEncoder:
    """The paper's encoder with its search.

    The last norm is followed by linear maps only: over the joints to tokens, over the channels to features, and the
    product with the codebook. They commute, so they run in the order that multiplies least.
    """

    def __init__(self, trunk: _FoldedTrunk, encoder: TokenEncoder, quantizer: Quantizer) -> None:
        self.trunk, self.search = trunk, quantizer.searcher()
        (mix, offset), (weight, bias) = _layer(encoder.to_tokens), _layer(encoder.to_features)
        (tokens, joints), (dim, width), entries = mix.shape, weight.shape, quantizer.codebook_size
        self.mix = mix[None]
        self.nearest: NearestEntry | None = None
        if isinstance(quantizer, EMAQuantizer) and (
            joints * width * entries + tokens * joints * entries
            < joints * width * dim + tokens * joints * dim + tokens * dim * entries
        ):
            self.nearest = nearest = NearestEntry(quantizer.entries)
            weight, bias = nearest.weight @ weight, nearest.weight @ bias + nearest.bias
        # last(mix x + offset) = mix (last_w x) + offset sum(last_w) + last_b
        self.last = PackedLinear(weight, torch.zeros_like(bias))
        self.bias = offset[:, None] * weight.sum(dim=1) + bias
        self.numbers = max(trunk.numbers, tokens * len(bias), joints * width)

    def __call__(self, joints: Tensor, visible: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.last(self.trunk(joints, visible, features))
        out = torch.baddbmm(self.bias, self.mix.expand(len(x), -1, -1), x)
        if self.nearest is None:
            return self.search(out)
        indices, margin = (found.view(out.shape[:2]) for found in first_minimum(out.view(-1, out.shape[-1])))
        return indices, (margin < self.nearest.tolerance).any(dim=1)


class _FoldedTokenDecoder(_FoldedBlocks):
    """Codebook x first linear layer is a table (V, width); the linear map over the tokens follows the look-up."""

    def __init__(self, decoder: TokenDecoder, codebook: Tensor) -> None:
        (mix, offset), (weight, bias) = _layer(decoder.to_joints), _layer(decoder.start)
        self.table = codebook.float() @ weight.t()
        # start(mix z + offset) = mix (z start_w^T) + offset sum(start_w) + start_b
        self.mix, self.bias = mix[None], offset[:, None] * weight.sum(dim=1) + bias
        self.end = _layer(decoder.to_coordinates)
        super().__init__(decoder, self.mix.shape[2] * self.table.shape[1])

    def __call__(self, indices: Tensor) -> Tensor:
        tokens = F.embedding(indices, self.table)  # (b, M, width)
        x = torch.baddbmm(self.bias, self.mix.expand(len(tokens), -1, -1), tokens)
        return F.linear(self.mixed(x), *self.end)


class _FoldedPoseDecoder(_FoldedBlocks):
    """What the tokens say, and what the blocks add to it."""

    def __init__(self, decoder: PoseDecoder, quantizer: Quantizer) -> None:
        super().__init__(decoder, quantizer.num_tokens * quantizer.embeddings().shape[2])
        self.read = _FoldedReader(quantizer) if isinstance(quantizer, CoarseFineQuantizer) else quantizer.lookup
        self.start, self.end = _layer(decoder.start), _layer(decoder.to_coordinates)

    def __call__(self, indices: Tensor) -> Tensor:
        z_q = self.read(indices)
        return F.linear(self.mixed(F.linear(z_q, *self.start)), *self.end).add_(z_q[..., :-1])


class _FoldedReader:
    """What tokens say, as :meth:`CoarseFineQuantizer.lookup`, with what each fine entry says worked out before."""

    def __init__(self, quantizer: CoarseFineQuantizer) -> None:
        q = self.quantizer = quantizer
        self.table = torch.cat(q.fine_places(q.entries), dim=1)
        self.limbs = q.entries[:, : q.content].contiguous()
        (weight, bias), hidden = _layer(q.to_places), _layer(cast(nn.Linear, q.mix[0]))
        weight, bias = torch.cat([weight, hidden[0]]), torch.cat([bias, hidden[1]])
        # first(limbs - offsets) = first_w limbs + first_b - first_w offsets
        self.first = weight, bias - weight @ q.offsets[: q.num_coarse, : q.content].flatten()
        self.last = _layer(cast(nn.Linear, q.mix[2]))

    def __call__(self, indices: Tensor) -> Tensor:
        q = self.quantizer
        if indices.shape[1] < q.num_tokens:  # seldom asked for: the plain way will do
            return q.lookup(indices)
        x = F.linear(F.embedding(indices[:, : q.num_coarse], self.limbs).flatten(1), *self.first)
        split = q.num_keypoints * q.num_dims
        places = (x[:, :split] + F.linear(F.gelu(x[:, split:]), *self.last)).view(-1, q.num_keypoints, q.num_dims)
        fine = F.embedding(indices[:, q.num_coarse :], self.table).split(q.num_dims, dim=-1)
        joints, said = q.refine(places, *fine)
        return torch.cat([joints * q.unit + q.middle, said], dim=-1)
