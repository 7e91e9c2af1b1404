"""The training step of tokenizers: a batch of poses in, the losses out."""

from __future__ import annotations

from torch import Tensor, nn

from pct.layers.losses import keypoint_loss
from pct.tokenizer import TokenizerOutput
from pct.training.tokenizer.augment import AugmentedPoses
from pct.training.tokenizer.config import LossSection


class TokenizerStep:
    """Stage one: smooth-L1 on the known joints + the weighted commitment loss (PCT, 2023, eq. 3).

    The joints hidden from the encoder count in the loss: filling them in is what the tokenizer learns from them. An
    encoder that gives a pose is also trained on that pose itself, and a quantizer with weights on what it says.
    """

    def __init__(self, config: LossSection) -> None:
        self.config = config

    def __call__(self, model: nn.Module, batch: AugmentedPoses) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        output: TokenizerOutput = model(batch.given_keypoints, batch.encoder_visible, prefix=batch.prefix)
        config = self.config
        parts = {
            "keypoint_loss": self._pose_loss(output.keypoints, batch),
            "commitment_loss": output.commitment_loss,
        }
        loss = parts["keypoint_loss"] + config.commitment_weight * output.commitment_loss
        if output.estimate is not None:
            parts["estimate_loss"] = self._pose_loss(output.estimate, batch)
            parts["codebook_loss"] = output.codebook_loss
            loss = loss + config.estimate_weight * parts["estimate_loss"]
            loss = loss + config.codebook_weight * output.codebook_loss
        return {**parts, "loss": loss}

    def _pose_loss(self, keypoints: Tensor, batch: AugmentedPoses) -> Tensor:
        return keypoint_loss(keypoints, batch.keypoints, batch.visible, self.config.beta, self.config.normalisation)
