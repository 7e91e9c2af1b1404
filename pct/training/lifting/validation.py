"""Quick numbers of a lifter on pairs of held-out clips while it is trained; the report measures more."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.evaluation.metrics3d import mpjpe, p_mpjpe
from pct.lifting.lifter import Lifter
from pct.training.lifting.batches import LiftingBatch
from pct.training.photos.token_targets import token_accuracy, token_labels

_BATCH = 1024


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
        values, poses = self._measure(self.noisy)
        truth = self.noisy.target_keypoints * self.scale
        values["p_mpjpe_mm"] = float(p_mpjpe(poses, truth).mean())
        clean, _ = self._measure(self.clean)
        return {**values, "clean_mpjpe_mm": clean["mpjpe_mm"]}

    @torch.no_grad()
    def _measure(self, pairs: LiftingBatch) -> tuple[dict[str, float], Tensor]:
        """Return the numbers on some pairs, and the lifted poses (N, K, 3) in millimetres."""
        parts: dict[str, list[Tensor]] = {}
        poses = []
        for start in range(0, len(pairs), _BATCH):
            batch = pairs.rows(slice(start, start + _BATCH)).to(self.lifter.device)
            lifter = self.lifter
            normalised = lifter.normalizer(batch.keypoints2d, batch.visible, batch.image_size)
            output = lifter(normalised, batch.visible)
            numbers = {"mpjpe_mm": self._error(output.keypoints, batch)}
            if output.logits is not None:
                numbers |= self._token_numbers(output.logits, batch)
            for name, value in numbers.items():
                parts.setdefault(name, []).append(value.double().cpu())
            poses.append(output.keypoints.float().cpu() * self.scale)
        return {name: float(torch.cat(value).mean()) for name, value in parts.items()}, torch.cat(poses)

    def _token_numbers(self, logits: Tensor, batch: LiftingBatch) -> dict[str, Tensor]:
        tokenizer = self.lifter.tokenizer
        assert tokenizer is not None
        labels = token_labels(tokenizer, batch.target_keypoints, batch.target_visible)
        numbers = {
            "argmax_mpjpe_mm": self._error(tokenizer.decode(logits.argmax(dim=-1)), batch),
            "oracle_mpjpe_mm": self._error(tokenizer.decode(labels.indices), batch),
        }
        # Shares of all tokens, so each pose counts by itself.
        accuracy = token_accuracy(logits, labels.indices)
        return {**numbers, **{name: value.expand(len(batch)) for name, value in accuracy.items()}}

    def _error(self, keypoints: Tensor, batch: LiftingBatch) -> Tensor:
        return mpjpe(keypoints.float() * self.scale, batch.target_keypoints * self.scale, root=self.root)
