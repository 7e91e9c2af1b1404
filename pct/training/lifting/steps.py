"""The training step of lifters: 2D poses in, losses of the lifted poses and, for token heads, of their tokens out."""

from __future__ import annotations

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

    def pose_loss(self, keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return the loss of poses (B, K, 3) in model units, given the true ones and where these are known (B, K)."""
        if self.loss.kind == "smooth_l1":
            return keypoint_loss(keypoints, target_keypoints, visible, self.loss.beta)
        return distance_loss(keypoints, target_keypoints, visible, squared=self.loss.kind == "mse")
