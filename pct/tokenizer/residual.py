"""ResidualQuantizer: each token says what the tokens before it left out, so that a prefix is a coarser pose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.tokenizer.codebook import EMACodebook
from pct.tokenizer.config import TokenizerConfig
from pct.tokenizer.quantizer import Quantizer, QuantizerOutput, Search
from pct.tokenizer.search import entry_search


class ResidualQuantizer(Quantizer):
    """Reads a whole pose token by token (residual vector quantization).

    Token m is the entry nearest to what is left of the pose after tokens 1 to m - 1; a pose is the sum of its entries.
    After Zeghidour et al., "SoundStream", 2021, section III.C. Every token position has entries of its own.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config)
        self.shortest_prefix = 1
        width = self.num_keypoints * self.num_dims
        self.stages = nn.ModuleList(EMACodebook(config, width, seed) for seed in range(self.num_tokens))

    def quantize(self, z: Tensor, lengths: Tensor | None) -> QuantizerOutput:
        """Quantize joints (B, K, D) in model units."""
        if lengths is None:
            lengths = torch.full((len(z),), self.num_tokens, device=z.device)
        left = self._flat(z.detach())
        kept, indices = torch.zeros_like(left), []
        for number, stage in enumerate(self.codebooks):
            if self.training:
                stage.start_from(left)
            index = stage.assign(left)
            entry = stage.lookup(index)
            if self.training:
                stage.update(left, index)
            left = left - entry
            kept = torch.where((number < lengths)[:, None], kept + entry, kept)
            indices.append(index)
        commitment_loss = F.mse_loss(self._flat(z), self._flat(z.detach()) - left)
        # The gradient of the joints goes straight to z.
        z_q = self._said(kept, lengths) + F.pad(z - z.detach(), (0, 1))
        return QuantizerOutput(z_q, torch.stack(indices, dim=1), commitment_loss, z.new_zeros(()))

    def searcher(self, exact: bool = False) -> Search:
        """See :class:`Quantizer`."""
        searches = [(entry_search(stage.entries, exact), stage) for stage in self.codebooks]

        def search(z: Tensor) -> tuple[Tensor, Tensor]:
            left, found = self._flat(z), []
            for nearest, stage in searches:
                found.append(nearest(left))
                left = left - stage.lookup(found[-1][0])
            indices, unsure = (torch.stack(parts, dim=1) for parts in zip(*found, strict=True))
            return indices, unsure.any(dim=1)

        return search

    def features(self, z: Tensor) -> Tensor:
        """Return what is left of joints (B, K, D) before each token (B, M, K * D)."""
        left, features = self._flat(z.float()), []
        for stage in self.codebooks:
            features.append(left)
            left = left - stage.lookup(stage.assign(left))
        return torch.stack(features, dim=1)

    def embeddings(self) -> Tensor:
        """See :class:`Quantizer`."""
        return torch.stack([stage.entries for stage in self.codebooks])

    def lookup(self, indices: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        entries = [stage.lookup(index) for stage, index in zip(self.codebooks, indices.unbind(dim=1), strict=False)]
        return self._said(sum(entries, start=torch.zeros((), device=indices.device)), indices.shape[1])

    def expected(self, probs: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        with torch.autocast(probs.device.type, enabled=False):
            return self.combine(torch.einsum("bmv,mvd->bmd", probs.float(), self.embeddings()))

    def combine(self, entries: Tensor) -> Tensor:
        """Turn entries (B, m, D) into joints in model units, with how much is said: (B, K, num_dims + 1)."""
        return self._said(entries.sum(dim=1), entries.shape[1])

    def _flat(self, z: Tensor) -> Tensor:
        return ((z - self.middle) / self.unit).flatten(1)

    def _said(self, flat: Tensor, lengths: Tensor | int) -> Tensor:
        """Return joints in model units, and behind them the share of the tokens that is known (B, K, num_dims + 1)."""
        joints = flat.unflatten(1, (self.num_keypoints, self.num_dims)) * self.unit + self.middle
        share = torch.as_tensor(lengths, device=flat.device) / self.num_tokens
        return torch.cat([joints, share.to(joints.dtype).view(-1, 1, 1).expand(*joints.shape[:2], 1)], dim=-1)
