"""The training step of lifters, and quick numbers on held-out pairs meanwhile; the report measures more."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pct.evaluation.metrics3d import mpjpe, p_mpjpe
from pct.layers.losses import distance_loss, keypoint_loss
from pct.lifting.lifter import Lifter
from pct.training.batches import gather
from pct.training.lifting.config import LifterLoss
from pct.training.lifting.data import LiftingBatch
from pct.training.photos.token_targets import token_accuracy, token_labels, token_targets

_BATCH = 1024


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

    def __call__(self, model: nn.Module, batch: LiftingBatch) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        normalised = self.normalizer(batch.keypoints2d, batch.visible, batch.image_size)
        output = model(normalised, batch.visible)
        target = (batch.target_keypoints, batch.target_visible)
        parts = {"keypoint_loss": self.pose_loss(output.keypoints.float(), *target)}
        loss = parts["keypoint_loss"]
        if self.tokenizer is not None:
            if output.estimate is not None:
                # The logits lie around the estimate, so it must be good by itself.
                parts["estimate_loss"] = self.pose_loss(output.estimate.float(), *target)
                loss = (loss + parts["estimate_loss"]) / 2
            labels = token_labels(self.tokenizer, *target)
            tokens = token_targets(self.tokenizer, labels, self.loss.softness)
            parts["token_loss"] = F.cross_entropy(output.logits.float().flatten(0, 1), tokens.flatten(0, 1))
            loss = self.loss.keypoint_weight * loss + self.loss.token_weight * parts["token_loss"]
            parts |= token_accuracy(output.logits, labels.indices)
        return {**parts, "loss": loss}

    def pose_loss(self, keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return the loss of poses (B, K, 3) in model units, given the true ones and where these are known (B, K)."""
        if self.loss.kind == "smooth_l1":
            return keypoint_loss(keypoints, target_keypoints, visible, self.loss.beta)
        return distance_loss(keypoints, target_keypoints, visible, squared=self.loss.kind == "mse")


class LiftingValidation:
    """Errors in millimetres on fixed pairs, as a detector finds the joints and without its errors.

    Args:
        lifter: The lifter; its tokenizer, if it has one, gives the labels.
        noisy: Pairs with a detector's errors.
        clean: The same pairs without.

    Raises:
        ValueError: If no pair has all of its joints known in 3D: errors are means over all joints.
    """

    def __init__(self, lifter: Lifter, noisy: LiftingBatch, clean: LiftingBatch) -> None:
        whole = noisy.target_visible.all(dim=1)
        if not whole.any():
            raise ValueError("no pose to validate on has all of its joints known in 3D")
        self.lifter, self.noisy, self.clean = lifter, noisy.rows(whole), clean.rows(whole)
        self.scale, self.root = lifter.space.report_scale, lifter.space.root

    def __call__(self) -> dict[str, float]:
        """Return MPJPE and P-MPJPE; of token heads also what the likeliest and the true tokens reach, and accuracies.

        ``oracle_mpjpe_mm`` is the floor: the error of the tokenizer itself.
        """
        noisy, clean = (
            gather((pairs.rows(slice(i, i + _BATCH)) for i in range(0, len(pairs), _BATCH)), self._measure)
            for pairs in (self.noisy, self.clean)
        )
        numbers = {**noisy, "clean_mpjpe_mm": clean["mpjpe_mm"]}
        return {name: float(values.double().mean()) for name, values in numbers.items()}

    def _measure(self, pairs: LiftingBatch) -> dict[str, Tensor]:
        lifter, pairs = self.lifter, pairs.to(self.lifter.device)
        output = lifter(lifter.normalizer(pairs.keypoints2d, pairs.visible, pairs.image_size), pairs.visible)
        keypoints, truth = output.keypoints.float() * self.scale, pairs.target_keypoints * self.scale
        numbers = {"mpjpe_mm": mpjpe(keypoints, truth, root=self.root), "p_mpjpe_mm": p_mpjpe(keypoints, truth)}
        return numbers if output.logits is None else numbers | self._token_numbers(output.logits, pairs)

    def _token_numbers(self, logits: Tensor, batch: LiftingBatch) -> dict[str, Tensor]:
        tokenizer = self.lifter.tokenizer
        assert tokenizer is not None
        labels = token_labels(tokenizer, batch.target_keypoints, batch.target_visible)
        numbers = {
            "argmax_mpjpe_mm": self._error(tokenizer.decode(logits.argmax(dim=-1)), batch),
            "oracle_mpjpe_mm": self._error(tokenizer.decode(labels.indices), batch),
        }
        # Shares of all tokens, so each pose counts by itself.
        return numbers | {n: v.expand(len(batch)) for n, v in token_accuracy(logits, labels.indices).items()}

    def _error(self, keypoints: Tensor, batch: LiftingBatch) -> Tensor:
        return mpjpe(keypoints.float() * self.scale, batch.target_keypoints * self.scale, root=self.root)
