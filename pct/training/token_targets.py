"""What token heads learn: the tokens that a frozen tokenizer gives true poses, hard or spread, and their accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.models.tokenizer import PoseTokenizer


@dataclass(frozen=True)
class TokenLabels:
    """Tokens of poses.

    Attributes:
        indices: The tokens (B, M).
        z: The encoder's features (B, M, codebook_dim) that they come from.
    """

    indices: Tensor
    z: Tensor


@torch.no_grad()
def token_labels(
    tokenizer: PoseTokenizer, keypoints: Tensor, visible: Tensor, features: Tensor | None = None
) -> TokenLabels:
    """Return the tokens of poses.

    Args:
        tokenizer: The tokenizer.
        keypoints: Joints (B, K, D) in model units.
        visible: True where the joint is known (B, K).
        features: Image features at the joints (B, K, F), for a guided tokenizer.
    """
    with torch.autocast(keypoints.device.type, enabled=False):
        z = tokenizer.encode_features(keypoints, visible, features)
        return TokenLabels(tokenizer.quantizer.assign(z), z)


class TokenTargets:
    """Targets of the cross-entropy from labels.

    Args:
        tokenizer: The frozen tokenizer that made them.
        softness: Deviation, in mean distances between neighbouring entries, of the bell that spreads a label over the
            codebook around the encoder's features; 0 takes the nearest entry alone.
    """

    def __init__(self, tokenizer: PoseTokenizer, softness: float) -> None:
        self.tokenizer = tokenizer
        codebook = tokenizer.quantizer.codebook.detach()
        distances = torch.cdist(codebook[:1024], codebook).topk(2, largest=False).values[:, 1]
        self.spread = softness * float(distances.mean())

    def __call__(self, labels: TokenLabels) -> Tensor:
        """Return the tokens (B, M), or where they are spread the entries' shares (B, M, V) with sums 1."""
        if not self.spread:
            return labels.indices
        z = labels.z
        distance = torch.cdist(z.flatten(0, 1), self.tokenizer.quantizer.codebook)
        return (-0.5 * (distance / self.spread).square()).softmax(dim=-1).view(*z.shape[:2], -1)


@torch.no_grad()
def token_accuracy(logits: Tensor, indices: Tensor) -> dict[str, Tensor]:
    """Return the shares of the tokens (B, M) that are the likeliest, and among the 5 likeliest, under logits."""
    # Counting who is likelier costs far less than sorting.
    likelier = (logits > logits.gather(-1, indices[..., None])).sum(dim=-1)
    return {"top1": (likelier < 1).float().mean(), "top5": (likelier < 5).float().mean()}
