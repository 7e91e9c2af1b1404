"""The training step of lifters: 2D poses in, losses of the lifted poses and, for token heads, of their tokens out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.losses import distance_loss, keypoint_loss
from pct.lifting.lifter import Lifter
from pct.training.lifting.config import LifterLoss
from pct.training.lifting.data import LiftingBatch
from pct.training.photos.token_targets import TokenTargets, token_accuracy, token_labels


class LiftingStep:
    """The loss of the lifted pose, and for token heads the cross-entropy of its tokens (PCT, 2023, eq. 5).

    The labels are the frozen encoder's tokens of the true pose as it was photographed, that is after mirroring and
    turning, with no joint hidden from it: noise and missing joints are the lifter's input alone.

    Args:
        lifter: The lifter, not wrapped: its normalizer, and of token heads the frozen tokenizer, are used.
        loss: Kind and weights.
    """

    def __init__(self, lifter: Lifter, loss: LifterLoss) -> None:
        self.normalizer, self.tokenizer, self.loss = lifter.normalizer, lifter.tokenizer, loss
        self.pose_loss = pose_loss(loss.kind, loss.beta)
        self.targets = TokenTargets(lifter.tokenizer, loss.softness) if lifter.tokenizer is not None else None

    def __call__(self, model: nn.Module, batch: LiftingBatch) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        normalised = self.normalizer(batch.keypoints2d, batch.visible, batch.image_size)
        output = model(normalised, batch.visible)
        target = (batch.target_keypoints, batch.target_visible)
        parts = {"keypoint_loss": self.pose_loss(output.keypoints.float(), *target)}
        loss = parts["keypoint_loss"]
        if self.tokenizer is not None and self.targets is not None:
            if output.estimate is not None:
                # The logits lie around the estimate, so it must be good by itself.
                parts["estimate_loss"] = self.pose_loss(output.estimate.float(), *target)
                loss = (loss + parts["estimate_loss"]) / 2
            labels = token_labels(self.tokenizer, *target)
            tokens = self.targets(labels)
            parts["token_loss"] = F.cross_entropy(output.logits.float().flatten(0, 1), tokens.flatten(0, 1))
            loss = self.loss.keypoint_weight * loss + self.loss.token_weight * parts["token_loss"]
            parts |= token_accuracy(output.logits, labels.indices)
        return {**parts, "loss": loss}


def pose_loss(kind: Literal["mpjpe", "mse", "smooth_l1"], beta: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a loss of poses (B, K, 3) in model units, given the true ones and where these are known (B, K).

    ``mpjpe`` is the mean distance of a joint, ``mse`` its mean square (the sum over x, y, z, as AMPose, 2023, has
    it), ``smooth_l1`` the mean over the coordinates, linear from ``beta`` on.

    Raises:
        ValueError: On another kind.
    """
    losses: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "mpjpe": distance_loss,
        "mse": _mean_square_distance,
        "smooth_l1": lambda keypoints, target, visible: keypoint_loss(keypoints, target, visible, beta),
    }
    if kind not in losses:
        raise ValueError(f"loss kind is {kind!r}; allowed are {', '.join(losses)}")
    return losses[kind]


def _mean_square_distance(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
    difference = (keypoints - target_keypoints).where(visible[..., None], keypoints.new_zeros(()))
    return difference.square().sum() / visible.sum().clamp(min=1)
