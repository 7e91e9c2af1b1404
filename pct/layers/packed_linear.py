"""PackedLinear: a linear map with fixed weights for inference, through the fastest float32 product at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class PackedLinear:
    """``x W^T + b`` over the last axis, in float32.

    On the CPU it goes through oneDNN, which ships with PyTorch and uses wider vector units than PyTorch's default BLAS
    on some CPUs (twice as fast on recent AMD ones), and through the default product elsewhere.

    Args:
        weight: Weights (out, in).
        bias: Bias (out).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach().float().contiguous(), bias.detach().float().contiguous()
        self.packed = self.weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        if self.packed:
            self.weight, self.bias = self.weight.to_mkldnn(), self.bias.to_mkldnn()

    def __call__(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return self._leave(F.linear(self._enter(x), self.weight, self.bias), x)

    def mlp(self, second: PackedLinear, x: Tensor) -> Tensor:
        """Return ``second(gelu(self(x)))``."""
        hidden = F.gelu(F.linear(self._enter(x), self.weight, self.bias))
        return self._leave(F.linear(hidden, second.weight, second.bias), x)

    def _enter(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, x.shape[-1])
        return x.to_mkldnn() if self.packed else x

    def _leave(self, y: Tensor, x: Tensor) -> Tensor:
        return (y.to_dense() if self.packed else y).view(*x.shape[:-1], -1)
