"""The training steps on photos: tokens of the pose, or heatmaps of its joints."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pct.distributed import mean_over_all
from pct.layers.losses import keypoint_loss
from pct.photos.crop import PhotoBatch
from pct.photos.heatmap import HeatmapModel
from pct.photos.person_views import photo_targets
from pct.tokenizer import PoseTokenizer
from pct.training.photos.config import TokenLoss
from pct.training.photos.token_targets import TokenLabels, label_weights, token_accuracy, token_labels, token_targets


class TokenStep:
    """Cross-entropy of the tokens + smooth-L1 of the expected pose (PCT, 2023, eq. 5).

    The labels are the frozen encoder's tokens of the augmented pose, with no joint hidden from it; joints without a
    label are filled in by the tokenizer, and tokens that are about them count less. A person without a labelled joint
    in the crop counts in no loss. The poses of a 3D tokenizer are known whole, also outside the crop.

    Args:
        tokenizer: The frozen tokenizer.
        loss: Weights.
    """

    def __init__(self, tokenizer: PoseTokenizer, loss: TokenLoss) -> None:
        self.tokenizer, self.loss = tokenizer, loss

    def __call__(self, model: nn.Module, batch: PhotoBatch) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        output = _run(model, batch)
        truth, visible = photo_targets(batch, self.tokenizer.space, self.tokenizer.skeleton)
        labels = photo_labels(self.tokenizer, batch)
        target = token_targets(self.tokenizer, labels, self.loss.softness)
        losses = F.cross_entropy(output.logits.flatten(0, 1), target.flatten(0, 1), reduction="none")
        known = visible.any(dim=1)
        weights = label_weights(self.tokenizer, visible) * known[:, None]
        tokens = mean_over_all(losses.view(labels.indices.shape), weights)
        beta, normalisation = self.loss.beta, self.loss.normalisation
        poses = keypoint_loss(output.keypoints, truth, visible, beta, normalisation)
        parts = {"token_loss": tokens, "keypoint_loss": poses}
        loss = self.loss.token_weight * tokens + self.loss.keypoint_weight * poses
        return {**parts, "loss": loss, **token_accuracy(output.logits, labels.indices)}


def _run(model: nn.Module, batch: PhotoBatch) -> Any:
    return model(batch.images) if batch.features is None else model(batch.pixels, batch.features)


def heatmap_loss(heatmaps: Tensor, targets: Tensor, visible: Tensor) -> Tensor:
    """Return a thousand times the mean squared error of heatmaps (B, K, h, w), over the joints ``visible`` (B, K).

    The joints of all processes of a run; see :func:`pct.distributed.mean_over_all`.
    """
    # A thousandfold, or the loss and with it the gradient's clipping would be out of all proportion.
    losses = 1000 * (heatmaps.float() - targets).square().mean(dim=(2, 3))
    return mean_over_all(losses, visible)


def photo_labels(tokenizer: PoseTokenizer, batch: PhotoBatch) -> TokenLabels:
    """Return the tokens of the poses on photos; a guided tokenizer takes the features of its guide at the joints."""
    features = tokenizer.guide(batch.images, batch.keypoints) if tokenizer.guide is not None else None
    return token_labels(tokenizer, *photo_targets(batch, tokenizer.space, tokenizer.skeleton), features)


class HeatmapStep:
    """Mean squared error to Gaussian heatmaps, over the labelled joints ("Simple Baselines", 2018, section 2).

    Args:
        model: The model, not wrapped; it says where its cells lie.
        sigma: Deviation of the Gaussians in cells.
    """

    def __init__(self, model: HeatmapModel, sigma: float) -> None:
        self.model, self.sigma = model, sigma

    def __call__(self, model: nn.Module, batch: PhotoBatch) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        loss = heatmap_loss(_run(model, batch), self.model.cells.heatmaps(batch.keypoints, self.sigma), batch.visible)
        return {"loss": loss}
