"""What token heads learn: the tokens that a frozen tokenizer gives true poses, hard or spread, and their accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.tokenizer import PoseTokenizer
from pct.training.photos.crops import PhotoBatch, photo_targets

# Entries whose mean distance is the unit of softness.
_NEAR = 4


@dataclass(frozen=True)
class TokenLabels:
    """Tokens of poses.

    Attributes:
        indices: The tokens (B, M).
        z: What each token sees of the pose (B, M, width of an entry).
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
        return TokenLabels(tokenizer.quantizer.assign(z), tokenizer.quantizer.features(z))


def photo_labels(tokenizer: PoseTokenizer, batch: PhotoBatch) -> TokenLabels:
    """Return the tokens of the poses on photos; a guided tokenizer takes the features of its guide at the joints."""
    features = tokenizer.guide(batch.images, batch.keypoints) if tokenizer.guide is not None else None
    return token_labels(tokenizer, *photo_targets(batch, tokenizer.space, tokenizer.skeleton), features)


def token_targets(tokenizer: PoseTokenizer, labels: TokenLabels, softness: float) -> Tensor:
    """Return the targets of the cross-entropy: tokens (B, M), or where they are spread the entries' shares (B, M, V).

    Args:
        tokenizer: The frozen tokenizer that made the labels.
        labels: Tokens of B poses.
        softness: Deviation of the Gaussian that spreads a label over the codebook around the encoder's features, in
            mean distances of these from the four nearest entries; 0 takes the nearest entry alone.
    """
    if not softness:
        return labels.indices
    distance = torch.cdist(labels.z.transpose(0, 1), tokenizer.quantizer.embeddings().detach())  # (M, B, V)
    # Entries lie far apart where poses are rare: a width for all would leave labels there hard.
    near = distance.topk(min(_NEAR, distance.shape[-1]), dim=-1, largest=False).values.mean(dim=-1, keepdim=True)
    width = softness * near.clamp(min=1e-6)
    return (-0.5 * (distance / width).square()).softmax(dim=-1).transpose(0, 1)


def label_weights(tokenizer: PoseTokenizer, visible: Tensor) -> Tensor:
    """Return how much each token of a pose counts (B, M), in [0, 1]: the squared share of its joints that are known.

    A token's label is as good as the joints that it is about; of a tokenizer whose tokens are each about all joints,
    every token counts alike.

    Args:
        tokenizer: Whose tokens.
        visible: True where the joint is known (B, K).
    """
    joints = tokenizer.quantizer.token_joints()
    if joints is None:
        return visible.new_ones((len(visible), tokenizer.config.num_tokens), dtype=torch.float32)
    about = joints.float()
    return (visible.float() @ about.T / about.sum(dim=1)).square()


@torch.no_grad()
def token_accuracy(logits: Tensor, indices: Tensor) -> dict[str, Tensor]:
    """Return the shares of the tokens (B, M) that are the likeliest, and among the 5 likeliest, under logits."""
    # Counting who is likelier costs far less than sorting.
    likelier = (logits > logits.gather(-1, indices[..., None])).sum(dim=-1)
    return {"top1": (likelier < 1).float().mean(), "top5": (likelier < 5).float().mean()}
