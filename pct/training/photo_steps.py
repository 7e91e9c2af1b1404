"""The training steps on photos: tokens of the pose, or heatmaps of its joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.data.photo_crop import PhotoBatch
from pct.layers.losses import keypoint_loss
from pct.models.heatmap import HeatmapModel
from pct.models.tokenizer import PoseTokenizer
from pct.training.photo_config import TokenLoss
from pct.training.steps import StepLosses


class TokenStep:
    """Cross-entropy of the tokens + smooth-L1 of the expected pose (PCT, 2023, eq. 5).

    The labels are the frozen encoder's tokens of the augmented pose, with no joint hidden from it; joints without a
    label are filled in by the tokenizer. A person without a labelled joint in the crop counts in no loss. A head that
    looks for joints is also taught where they are.

    Args:
        tokenizer: The frozen tokenizer.
        loss: Weights.
        places: Where the head looks for joints (N, 2) in model units, if it does.
    """

    def __init__(self, tokenizer: PoseTokenizer, loss: TokenLoss, places: Tensor | None) -> None:
        self.tokenizer, self.loss, self.places = tokenizer, loss, places
        codebook = tokenizer.quantizer.codebook.detach()
        distances = torch.cdist(codebook[:1024], codebook).topk(2, largest=False).values[:, 1]
        self.spread = loss.softness * float(distances.mean())

    def __call__(self, model: nn.Module, batch: PhotoBatch) -> StepLosses:
        """Run the model on a batch; ``model`` may be wrapped for several processes."""
        output = model(batch.images)
        labels = token_labels(self.tokenizer, batch.keypoints, batch.visible)
        target: Tensor = labels.indices
        if self.spread:
            target = self._soft(labels.z)
        losses = F.cross_entropy(output.logits.flatten(0, 1), target.flatten(0, 1), reduction="none")
        known = batch.visible.any(dim=1)
        tokens = (losses.view(labels.indices.shape).mean(dim=1) * known).sum() / known.sum().clamp(min=1)
        pose = keypoint_loss(output.keypoints, batch.keypoints, batch.visible, self.loss.beta)
        loss = self.loss.token_weight * tokens + self.loss.keypoint_weight * pose
        parts = {"token_loss": tokens, "keypoint_loss": pose}
        if self.places is not None and self.loss.place_weight:
            sigma, logits = self.loss.place_sigma, output.place_logits
            parts["place_loss"] = place_loss(logits, batch.keypoints, batch.visible, self.places, sigma)
            loss = loss + self.loss.place_weight * parts["place_loss"]
        parts |= {"loss": loss}
        parts |= token_accuracy(output.logits, labels.indices)
        return StepLosses(loss, {name: value.detach() for name, value in parts.items()})

    def _soft(self, z: Tensor) -> Tensor:
        """Spread each label over the entries around its features: (B, M, V), sums 1."""
        distance = torch.cdist(z.flatten(0, 1), self.tokenizer.quantizer.codebook)
        return (-0.5 * (distance / self.spread).square()).softmax(dim=-1).view(*z.shape[:2], -1)


def place_loss(place_logits: Tensor, keypoints: Tensor, visible: Tensor, places: Tensor, sigma: float) -> Tensor:
    """Cross-entropy between where joints are looked for and bells around them, over the labelled joints in the crop.

    Args:
        place_logits: (B, K, N), before the softmax over the places.
        keypoints: True joints (B, K, 2) in model units.
        visible: True where the joint is labelled (B, K).
        places: Where the places lie (N, 2) in model units.
        sigma: Deviation of the bells in model units.
    """
    distance = (keypoints[:, :, None] - places).square().sum(dim=-1)
    known = visible & (distance.amin(dim=-1) < (3 * sigma) ** 2)  # not those far outside the crop
    targets = (-distance / (2 * sigma**2)).softmax(dim=-1)
    losses = -(targets * place_logits.log_softmax(dim=-1)).sum(dim=-1)
    return (losses * known).sum() / known.sum().clamp(min=1)


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
def token_labels(tokenizer: PoseTokenizer, keypoints: Tensor, visible: Tensor) -> TokenLabels:
    """Return the tokens of poses (B, K, D) in model units, of which the joints ``visible`` (B, K) are known."""
    with torch.autocast(keypoints.device.type, enabled=False):
        z = tokenizer.encode_features(keypoints, visible)
        return TokenLabels(tokenizer.quantizer.assign(z), z)


@torch.no_grad()
def token_accuracy(logits: Tensor, indices: Tensor) -> dict[str, Tensor]:
    """Return the shares of the tokens (B, M) that are the likeliest, and among the 5 likeliest, under logits."""
    # Counting who is likelier costs far less than sorting.
    likelier = (logits > logits.gather(-1, indices[..., None])).sum(dim=-1)
    return {"top1": (likelier < 1).float().mean(), "top5": (likelier < 5).float().mean()}


class HeatmapStep:
    """Mean squared error to normal bells, over the labelled joints ("Simple Baselines", 2018, section 2).

    Args:
        model: The model, not wrapped; it says where its cells lie.
        sigma: Deviation of the bells in cells.
    """

    def __init__(self, model: HeatmapModel, sigma: float) -> None:
        self.model, self.sigma = model, sigma

    def __call__(self, model: nn.Module, batch: PhotoBatch) -> StepLosses:
        """Run the model on a batch; ``model`` may be wrapped for several processes."""
        heatmaps = model(batch.images).float()
        targets = self.model.targets(batch.keypoints, self.sigma)
        losses = (heatmaps - targets).square().mean(dim=(2, 3))  # (B, K)
        # A thousandfold the mean, or the loss and with it the gradient's clipping would be out of all proportion.
        loss = 1000 * (losses * batch.visible).sum() / batch.visible.sum().clamp(min=1)
        return StepLosses(loss, {"loss": loss.detach()})
