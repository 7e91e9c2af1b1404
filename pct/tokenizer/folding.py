"""Folded inference: the tokens and poses of the plain networks, with the products between fixed weights done once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pct.tokenizer.folded_networks import fold_decoder, fold_encoder
from pct.tokenizer.quantizer import Quantizer

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

    _cache: ClassVar[WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], FoldedTokenizer]]] = WeakKeyDictionary()

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        self.embedding, self.num_tokens = tokenizer.embedding, tokenizer.config.num_tokens
        self.keypoints_shape = tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims
        quantizer = tokenizer.quantizer
        # Folding is inference, whatever mode the model is in.
        self.exact = [copy.deepcopy(m).double().eval() for m in (tokenizer.embedding, tokenizer.encoder, quantizer)]
        with torch.no_grad():
            self.encoder = fold_encoder(tokenizer.embedding, tokenizer.encoder, quantizer)
            self.decoder = fold_decoder(tokenizer.decoder, quantizer)

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
        indices = torch.empty(len(keypoints), self.num_tokens, dtype=torch.int64, device=keypoints.device)
        chunk = _chunk(keypoints.device, self.encoder.numbers)
        with torch.autocast(keypoints.device.type, enabled=False):
            for start in range(0, len(keypoints), chunk):
                rows = slice(start, start + chunk)
                joints = torch.where(visible[rows, :, None], keypoints[rows].float(), 0.0)
                given = None if features is None else features[rows].float()
                found = self.encoder(joints, visible[rows], given)
                if found.unsure.any():
                    unsure = found.unsure
                    again = None if given is None else given[unsure]
                    found.indices[unsure] = self._encode_exactly(joints[unsure], visible[rows][unsure], again)
                indices[rows] = found.indices
        return indices

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (B, M), or a prefix of them, into joints (B, K, D) in model units."""
        keypoints = torch.empty(len(indices), *self.keypoints_shape, device=indices.device)
        chunk = _chunk(indices.device, self.decoder.numbers)
        with torch.autocast(indices.device.type, enabled=False):
            for start in range(0, len(indices), chunk):
                keypoints[start : start + chunk] = self.decoder(indices[start : start + chunk])
        return keypoints

    def _encode_exactly(self, keypoints: Tensor, visible: Tensor, features: Tensor | None) -> Tensor:
        embedding, encoder, quantizer = self.exact
        joints, given = keypoints.double(), None if features is None else features.double()
        z = encoder(embedding(joints, visible, given), joints, visible)
        return cast(Quantizer, quantizer).assign_exactly(z)


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Yield all parameters and buffers; ``parameters()``, which makes names of them, takes several times as long."""
    for tensors in (module._parameters, module._buffers):
        yield from (tensor for tensor in tensors.values() if tensor is not None)
    for child in module._modules.values():
        if child is not None:
            yield from _tensors_of(child)


def _chunk(device: torch.device, numbers: int) -> int:
    return max(1, _CHUNK_NUMBERS.get(device.type, _CHUNK_NUMBERS["cuda"]) // numbers)
