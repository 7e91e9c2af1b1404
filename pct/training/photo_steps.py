"""The training steps on photos: tokens of the pose, or heatmaps of its joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.data.photo_crop import PhotoBatch
from pct.layers.cells import CellGrid
from pct.layers.losses import keypoint_loss, similarity_loss
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
        cells: Where the cells of the head's heatmaps lie, if it has some.
    """

    def __init__(self, tokenizer: PoseTokenizer, loss: TokenLoss, cells: CellGrid | None) -> None:
        self.tokenizer, self.loss, self.cells = tokenizer, loss, cells
        self.sigmas = torch.tensor(tokenizer.skeleton.sigmas)
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
        if self.loss.similarity_weight:
            scale = 2 * self.sigmas.to(pose.device) * model_area(batch)[:, None].sqrt()
            parts["similarity_loss"] = similarity_loss(output.keypoints, batch.keypoints, batch.visible, scale)
            loss = loss + self.loss.similarity_weight * parts["similarity_loss"]
        if self.cells is not None and self.loss.heatmap_weight:
            targets = self.cells.bells(batch.keypoints, self.loss.heatmap_sigma)
            parts["heatmap_loss"] = heatmap_loss(output.heatmaps, targets, batch.visible)
            loss = loss + self.loss.heatmap_weight * parts["heatmap_loss"]
        parts |= {"loss": loss}
        parts |= token_accuracy(output.logits, labels.indices)
        return StepLosses(loss, {name: value.detach() for name, value in parts.items()})

    def _soft(self, z: Tensor) -> Tensor:
        """Spread each label over the entries around its features: (B, M, V), sums 1."""
        distance = torch.cdist(z.flatten(0, 1), self.tokenizer.quantizer.codebook)
        return (-0.5 * (distance / self.spread).square()).softmax(dim=-1).view(*z.shape[:2], -1)


def model_area(batch: PhotoBatch) -> Tensor:
    """Return the persons' areas (B,) in square model units (half a crop's side), whatever the crop's jitter."""
    pixels = batch.area * torch.linalg.det(batch.affine[..., :2]).abs()
    return pixels * (2 / max(batch.pixels.shape[2:])) ** 2


def heatmap_loss(heatmaps: Tensor, targets: Tensor, visible: Tensor) -> Tensor:
    """Return a thousand times the mean squared error of heatmaps (B, K, h, w), over the joints ``visible`` (B, K)."""
    # A thousandfold, or the loss and with it the gradient's clipping would be out of all proportion.
    losses = 1000 * (heatmaps.float() - targets).square().mean(dim=(2, 3))
    return (losses * visible).sum() / visible.sum().clamp(min=1)


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
        loss = heatmap_loss(model(batch.images), self.model.targets(batch.keypoints, self.sigma), batch.visible)
        return StepLosses(loss, {"loss": loss.detach()})
