"""The training step of each stage: a batch in, the losses out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pct.data.augment import AugmentedPoses
from pct.layers.losses import distance_loss, keypoint_loss
from pct.models.tokenizer import TokenizerOutput
from pct.training.config import LossSection


@dataclass(frozen=True)
class StepLosses:
    """Losses of one step.

    Attributes:
        loss: What is minimised.
        parts: Every single loss by its name in the logs, detached.
    """

    loss: Tensor
    parts: dict[str, Tensor]


class TokenizerStep:
    """Stage one: smooth-L1 on the known joints + the weighted commitment loss (PCT, 2023, eq. 3).

    The joints hidden from the encoder count in the loss: filling them in is what the tokenizer learns from them.
    """

    def __init__(self, config: LossSection) -> None:
        self.config = config

    def __call__(self, model: nn.Module, batch: AugmentedPoses) -> StepLosses:
        """Run the model on a batch; ``model`` may be wrapped for several processes."""
        return self.losses(model(batch.keypoints, batch.encoder_visible), batch)

    def losses(self, output: TokenizerOutput, batch: AugmentedPoses) -> StepLosses:
        """Return the losses of what the model made of a batch."""
        pose = keypoint_loss(
            output.keypoints, batch.keypoints, batch.visible, self.config.beta, self.config.normalisation
        )
        loss = pose + self.config.commitment_weight * output.commitment_loss
        parts = {"keypoint_loss": pose, "commitment_loss": output.commitment_loss}
        if output.estimate is not None:
            hidden = batch.visible & ~batch.encoder_visible
            parts["completion_loss"] = keypoint_loss(output.estimate, batch.keypoints, hidden, self.config.beta)
            loss = loss + self.config.completion_weight * parts["completion_loss"]
        parts["loss"] = loss
        return StepLosses(loss, {name: value.detach() for name, value in parts.items()})


class CompletionStep:
    """Train the network that estimates unknown joints alone, on the joints hidden from it."""

    def __call__(self, model: nn.Module, batch: AugmentedPoses) -> StepLosses:
        """Run the network on a batch; ``model`` may be wrapped for several processes."""
        estimate = model(batch.keypoints, batch.encoder_visible)
        loss = distance_loss(estimate, batch.keypoints, batch.visible & ~batch.encoder_visible)
        return StepLosses(loss, {"loss": loss.detach()})
