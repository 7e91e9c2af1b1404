"""JointNorm: batch normalisation of each channel over all poses and joints."""

from __future__ import annotations

from torch import Tensor, nn


class JointNorm(nn.BatchNorm1d):
    """Batch normalisation whose channels come last: (B, K, C) to (B, K, C)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise joints (B, K, C)."""
        return super().forward(input.flatten(0, 1)).view_as(input)
