"""ResidualQuantizer: each token says what the tokens before it left out, so that a prefix is a coarser pose."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.tokenizer.codebook import EMACodebook, EMARule
from pct.tokenizer.quantizer import Assignment, Quantizer, QuantizerOutput
from pct.tokenizer.search import NearestEntry, nearest_exactly


class ResidualQuantizer(Quantizer):
    """Reads a whole pose token by token (residual vector quantization).

    Token m is the entry nearest to what is left of the pose after tokens 1 to m - 1; a pose is the sum of its entries.
    After Zeghidour et al., "SoundStream", 2021, section III.C. Every token position has entries of its own.

    Args:
        num_tokens: Tokens M.
        num_keypoints: Joints K.
        num_dims: Coordinates a joint.
        codebook_size: Number of entries V.
        middle: Middle of the model units' range.
        unit: Half of that range.
        rule: How the entries follow the features.
    """

    def __init__(
        self,
        num_tokens: int,
        num_keypoints: int,
        num_dims: int,
        codebook_size: int,
        middle: float,
        unit: float,
        rule: EMARule,
    ) -> None:
        super().__init__(num_tokens, codebook_size)
        self.shortest_prefix = 1
        self.num_keypoints, self.num_dims, self.middle, self.unit = num_keypoints, num_dims, middle, unit
        width = num_keypoints * num_dims
        self.stages = nn.ModuleList(EMACodebook(codebook_size, width, rule, seed) for seed in range(num_tokens))

    def forward(self, z: Tensor, lengths: Tensor | None = None) -> QuantizerOutput:
        """Quantize joints (B, K, D) in model units; the entries used are those from before this call's update."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if lengths is None:
                lengths = torch.full((len(z),), self.num_tokens, device=z.device)
            left = self._flat(z.detach())
            kept, indices = torch.zeros_like(left), []
            for number, stage in enumerate(self._stages()):
                if self.training:
                    stage.start_from(left)
                index = stage.assign(left)
                entry = stage.lookup(index)
                if self.training:
                    stage.update(left, index)
                left = left - entry
                kept = torch.where((number < lengths)[:, None], kept + entry, kept)
                indices.append(index)
            tokens = torch.stack(indices, dim=1)
            if self.training:
                self.count(tokens)
            commitment_loss = F.mse_loss(self._flat(z), self._flat(z.detach()) - left)
            joints = self._joints(kept)
            straight = joints + (z - z.detach())
            z_q = torch.cat([straight, self._said(lengths, joints)], dim=-1)
            return QuantizerOutput(z_q, tokens, commitment_loss, z.new_zeros(()))

    def searcher(self) -> Callable[[Tensor], Assignment]:
        """See :class:`Quantizer`."""
        searches = [NearestEntry(stage.entries) for stage in self._stages()]

        def search(z: Tensor) -> Assignment:
            left, indices = self._flat(z.float()), []
            unsure = torch.zeros(len(z), dtype=torch.bool, device=z.device)
            for nearest, stage in zip(searches, self._stages(), strict=True):
                found = nearest.search(left)
                unsure |= found.margin < nearest.tolerance
                left = left - stage.lookup(found.indices)
                indices.append(found.indices)
            return Assignment(torch.stack(indices, dim=1), unsure)

        return search

    def assign_exactly(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        left, indices = self._flat(z), []
        for stage in self._stages():
            entries = stage.entries.double()
            index = nearest_exactly(left, entries)
            left = left - entries[index]
            indices.append(index)
        return torch.stack(indices, dim=1)

    def features(self, z: Tensor) -> Tensor:
        """Return what is left of joints (B, K, D) before each token (B, M, K * D)."""
        left, features = self._flat(z.float()), []
        for stage in self._stages():
            features.append(left)
            left = left - stage.lookup(stage.assign(left))
        return torch.stack(features, dim=1)

    def embeddings(self) -> Tensor:
        """See :class:`Quantizer`."""
        return torch.stack([stage.entries for stage in self._stages()])

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what tokens (B, m), m at least 1, say: see :meth:`combine`."""
        total = torch.zeros(indices.shape[0], self.num_keypoints * self.num_dims, device=indices.device)
        for stage, index in zip(self._stages(), indices.unbind(dim=1), strict=False):
            total = total + stage.lookup(index)
        return self._with_length(total, indices.shape[1])

    def combine(self, entries: Tensor) -> Tensor:
        """Turn entries (B, m, D) into joints in model units, with how much is said: (B, K, num_dims + 1)."""
        return self._with_length(entries.sum(dim=1), entries.shape[1])

    def _stages(self) -> list[EMACodebook]:
        return [stage for stage in self.stages if isinstance(stage, EMACodebook)]

    def _flat(self, z: Tensor) -> Tensor:
        return ((z - self.middle) / self.unit).flatten(1)

    def _joints(self, flat: Tensor) -> Tensor:
        return flat.unflatten(1, (self.num_keypoints, self.num_dims)) * self.unit + self.middle

    def _with_length(self, flat: Tensor, length: int) -> Tensor:
        joints = self._joints(flat)
        lengths = torch.full((flat.shape[0],), length, device=flat.device)
        return torch.cat([joints, self._said(lengths, joints)], dim=-1)

    def _said(self, lengths: Tensor, joints: Tensor) -> Tensor:
        """Return the share of the tokens that is known, for every joint (B, K, 1)."""
        return (lengths / self.num_tokens)[:, None, None].to(joints.dtype).expand(*joints.shape[:2], 1)
