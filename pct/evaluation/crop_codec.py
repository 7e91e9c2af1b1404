"""A tokenizer that works in pixels of its crop, so that errors of large and small persons have one unit."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.models.tokenizer import PoseTokenizer


class CropCodec:
    """``encode`` and ``decode`` of a 2D tokenizer for joints in crop pixels: [0, crop_size], x right, y down.

    It goes through the tokenizer's own ``encode`` and ``decode``, with the box whose crop is that square.

    Args:
        tokenizer: The model.

    Raises:
        ValueError: If the tokenizer is 3D.
    """

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        if tokenizer.space.kind != "crop2d":
            raise ValueError(f"crop pixels need a crop2d pose space; this tokenizer's is {tokenizer.space.kind}")
        self.tokenizer, self.space = tokenizer, tokenizer.space
        side = self.space.crop_size / self.space.padding
        first = (self.space.crop_size - side) / 2
        self._box = torch.tensor([[first, first, side, side]], dtype=torch.float64)

    def to_crop(self, keypoints: Tensor, bbox: Tensor) -> Tensor:
        """Bring joints (N, K, 2) in image pixels, with boxes (N, 4), into crop pixels."""
        return (self.space.normalise(keypoints, bbox) - self.space.bounds[0]) * self.space.report_scale

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Turn joints (N, K, 2) in crop pixels into tokens (N, M) on the CPU."""
        return self.tokenizer.encode(keypoints, visible, self._box.expand(len(keypoints), 4)).cpu()

    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (N, M) into joints (N, K, 2) in crop pixels on the CPU."""
        return self.tokenizer.decode(indices, self._box.expand(len(indices), 4)).cpu()

    def complete(self, keypoints: Tensor, visible: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Fill in joints (N, K, 2) that are not ``visible`` (N, K); all are, so ``wanted`` is not used."""
        return self.decode(self.encode(keypoints, visible))
