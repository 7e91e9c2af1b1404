"""A 3D tokenizer that works in millimetres from the root joint."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.models.tokenizer import PoseTokenizer


class RootCodec:
    """``encode`` and ``decode`` of a 3D tokenizer for joints in millimetres with the root joint at the origin.

    It goes through the tokenizer's own ``encode`` and ``decode``; the decoded root is subtracted from every joint.

    Args:
        tokenizer: The model.

    Raises:
        ValueError: If the tokenizer is 2D.
    """

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        if tokenizer.space.kind != "root3d":
            raise ValueError(f"millimetres need a root3d pose space; this tokenizer's is {tokenizer.space.kind}")
        self.tokenizer, self.root = tokenizer, tokenizer.space.root

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Turn joints (N, K, 3) in millimetres from the root into tokens (N, M) on the CPU."""
        return self.tokenizer.encode(keypoints, visible, torch.zeros(len(keypoints), 3)).cpu()

    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (N, M) into joints (N, K, 3) in millimetres from the root on the CPU."""
        decoded = self.tokenizer.decode(indices, torch.zeros(len(indices), 3)).cpu()
        return decoded - decoded[:, self.root : self.root + 1]

    def complete(self, keypoints: Tensor, visible: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Fill in joints (N, K, 3) that are not ``visible`` (N, K); all are, so ``wanted`` is not used.

        The root is the origin, so it is always known.
        """
        is_root = torch.arange(keypoints.shape[1]) == self.root
        return self.decode(self.encode(keypoints.masked_fill(is_root[:, None], 0.0), visible | is_root))
