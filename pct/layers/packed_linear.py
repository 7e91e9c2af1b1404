"""PackedLinear: a linear map with fixed weights for inference, through the fastest float32 product at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Multiplications below which packing the input costs more than it gains.
_FEW = 1 << 21


class PackedLinear:
    """``x W^T + b`` over the last axis, in float32.

    On the CPU larger products go through oneDNN, which ships with PyTorch and uses wider vector units than PyTorch's
    default BLAS on some CPUs (twice as fast on recent AMD ones), and through the default product elsewhere.

    Args:
        weight: Weights (out, in).
        bias: Bias (out).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach().float().contiguous(), bias.detach().float().contiguous()
        self.packed: tuple[Tensor, Tensor] | None = None
        if self.weight.device.type == "cpu" and torch.backends.mkldnn.is_available():
            self.packed = self.weight.to_mkldnn(), self.bias.to_mkldnn()

    def __call__(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if self.packed is None or self._num_products(x) < _FEW:
            return F.linear(x, self.weight, self.bias)
        return F.linear(_enter(x), *self.packed).to_dense().view(*x.shape[:-1], -1)

    def mlp(self, second: PackedLinear, x: Tensor) -> Tensor:
        """Return ``second(gelu(self(x)))``."""
        if self.packed is None or second.packed is None or self._num_products(x) < _FEW:
            return second(F.gelu(self(x)))
        hidden = F.gelu(F.linear(_enter(x), *self.packed))
        return F.linear(hidden, *second.packed).to_dense().view(*x.shape[:-1], -1)

    def _num_products(self, x: Tensor) -> int:
        return x.numel() * len(self.weight)


def _enter(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).to_mkldnn()
