"""JointNorm: batch normalisation of each channel over all poses and joints."""

from __future__ import annotations

from torch import Tensor, nn


class JointNorm(nn.BatchNorm1d):
    """Batch normalisation whose channels come last: (B, K, C) to (B, K, C), or with frames (B, T, K, C)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise joints (..., C)."""
        return super().forward(input.flatten(0, -2)).view_as(input)
