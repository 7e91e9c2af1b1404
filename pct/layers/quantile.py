"""Quantile quantizer: finite scalar quantization whose levels follow the data, so that each is used equally often."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pct import distributed
from pct.layers.quantizer import Quantizer, QuantizerOutput


class QuantileQuantizer(Quantizer):
    """A codebook that is the product of one scale a channel, each scale at the quantiles of its channel.

    As in finite scalar quantization (Mentzer et al., 2023) a token is one digit a channel, found without any search
    over the codebook. The levels are not an even grid behind a saturating function: level ``i`` of ``L`` is the running
    ``(i + 1/2) / L`` quantile of the channel's features over all tokens. So the levels lie dense where features are,
    every level is used alike, the code is near its full entropy with no further loss, and the straight-through
    gradient is that of the identity. A batch's quantiles are taken over all processes.

    Args:
        levels: Number of levels a channel; their product is the codebook size.
        decay: Of the running mean of the batches' quantiles.
    """

    scale: Tensor
    updates: Tensor
    strides: Tensor

    def __init__(self, levels: Sequence[int], decay: float = 0.98) -> None:
        if not levels or any(level < 2 for level in levels):
            raise ValueError(f"quantizer levels must be integers of at least 2, got {list(levels)}")
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must be in [0, 1), got {decay}")
        super().__init__(math.prod(levels), len(levels))
        self.levels, self.decay = tuple(levels), decay
        strides = torch.cumprod(torch.tensor([1, *levels[:-1]]), dim=0)
        self.register_buffer("strides", strides, persistent=False)
        # Until the first batch: the quantiles of a normal distribution.
        shares = torch.cat([(torch.arange(n) + 0.5) / n for n in levels])
        self.register_buffer("scale", torch.special.ndtri(shares))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def codebook(self) -> Tensor:
        """All entries (V, D), float32."""
        ids = torch.arange(self.codebook_size, device=self.scale.device)
        scales = self.scale.split(self.levels)
        columns = [s[ids // stride % len(s)] for s, stride in zip(scales, self.strides.tolist(), strict=True)]
        return torch.stack(columns, dim=1)

    def assign(self, z: Tensor) -> Tensor:
        """Return the index of the nearest entry (...) for features ``z`` (..., D)."""
        indices = torch.zeros(z.shape[:-1], dtype=torch.int64, device=z.device)
        for channel, scale, stride in zip(
            z.float().unbind(-1), self.scale.split(self.levels), self.strides, strict=True
        ):
            middles = (scale[1:] + scale[:-1]) / 2
            indices += torch.bucketize(channel.contiguous(), middles) * stride
        return indices

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize features (B, M, D); in training mode the levels move first, by this batch's quantiles."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training:
                self._update(z.detach())
            indices = self.assign(z.detach())
            if self.training:
                self.epoch_counts += torch.bincount(indices.reshape(-1), minlength=self.codebook_size)
            z_q = self.lookup(indices)
            return QuantizerOutput(z + (z_q - z).detach(), indices, F.mse_loss(z, z_q))

    @torch.no_grad()
    def _update(self, z: Tensor) -> None:
        channels = distributed.all_gather_rows(z.reshape(-1, self.codebook_dim)).sort(dim=0).values.t()
        rows = channels.shape[1]
        quantiles = [
            channel[((torch.arange(n, device=z.device) + 0.5) / n * rows).long()]
            for channel, n in zip(channels, self.levels, strict=True)
        ]
        weight = 1.0 if int(self.updates) == 0 else 1 - self.decay
        self.scale.lerp_(torch.cat(quantiles), weight)
        self.updates += 1
