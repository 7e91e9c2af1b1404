"""Quick numbers of a lifter on pairs of held-out clips while it is trained; the report measures more."""

from __future__ import annotations

from torch import Tensor

from pct.evaluation.metrics3d import mpjpe, p_mpjpe
from pct.lifting.lifter import Lifter
from pct.training.batches import mean_over_batches
from pct.training.lifting.data import LiftingBatch
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
        noisy, clean = (
            mean_over_batches((pairs.rows(slice(i, i + _BATCH)) for i in range(0, len(pairs), _BATCH)), self._measure)
            for pairs in (self.noisy, self.clean)
        )
        return {**noisy, "clean_mpjpe_mm": clean["mpjpe_mm"]}

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
        accuracy = token_accuracy(logits, labels.indices)
        return {**numbers, **{name: value.expand(len(batch)) for name, value in accuracy.items()}}

    def _error(self, keypoints: Tensor, batch: LiftingBatch) -> Tensor:
        return mpjpe(keypoints.float() * self.scale, batch.target_keypoints * self.scale, root=self.root)
