"""Training steps on photos: tokens of the pose, or heatmaps of its joints; quick numbers on held-out persons."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.distributed import mean_over_all
from pct.evaluation.photos.predictions import NotedPersons
from pct.evaluation.poses import measure_poses, pose_distances
from pct.layers.losses import keypoint_loss
from pct.photos.classifier import PoseClassifier
from pct.photos.heatmap import HeatmapModel
from pct.photos.persons import PersonSource
from pct.photos.predict import restore_poses
from pct.tokenizer import PoseTokenizer
from pct.training.batches import gather
from pct.training.photos.batches import evaluation_batches
from pct.training.photos.config import TokenLoss
from pct.training.photos.crops import PhotoBatch, photo_targets
from pct.training.photos.token_targets import label_weights, photo_labels, token_accuracy, token_targets

_VAL_BATCH = 64


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
        error = _run(model, batch).float() - self.model.cells.heatmaps(batch.keypoints, self.sigma)
        # A thousandfold, or the loss and with it the gradient's clipping would be out of all proportion.
        return {"loss": mean_over_all(1000 * error.square().mean(dim=(2, 3)), batch.visible)}


class PhotoValidation:
    """Errors of a model of photos on the first persons of a source.

    Args:
        model: The model, on its device.
        source: The persons, with the joints that the model finds.
        limit: At most so many persons.

    Raises:
        ValueError: If no photo can be read.
    """

    def __init__(self, model: PoseClassifier | HeatmapModel, source: PersonSource, limit: int) -> None:
        self.model, self.space, persons = model, model.space, NotedPersons(source, limit)
        batches = evaluation_batches(persons, model.space.crop_space, model.image_size, _VAL_BATCH)
        self.batches = [batch.to(model.device) for batch in batches]
        if not self.batches:
            raise ValueError("none of the photos to validate on can be read")
        self.table = persons.table(model.space)

    def __call__(self) -> dict[str, float]:
        """Return AP, OKS and errors in pixels of the crop, or MPJPE, P-MPJPE and errors in millimetres.

        ``occluded`` is the error of the joints that are occluded on the photo; that of other forms of the poses has
        their name.
        """
        found = gather(self.batches, self._predict)
        numbers = {name: float(values.mean()) for name, values in found.items() if values.ndim == 1}
        (_, main), *others = ((name, poses) for name, poses in found.items() if poses.ndim == 3)
        labels, in_space = self.table.labels, self.space.kind == "root3d"
        measured, distances = measure_poses(main, labels, self.space)
        if in_space:
            numbers |= {f"{name}_mm": measured[name] for name in ("mpjpe", "p_mpjpe")}
        else:
            numbers |= {"ap": measured["coco"]["ap"], "oks": measured["mean_oks"]}
            numbers["mean_error_px"] = measured["error"]["mean"]
        unit = self.space.report_unit
        if self.table.occluded.any():
            numbers[f"occluded_error_{unit}"] = float(distances[self.table.occluded].mean())
        for name, joints in others:
            error = float(pose_distances(joints, labels, self.space)[labels.visible].mean())
            numbers[f"{name}_mpjpe_mm" if in_space else f"{name}_error_px"] = error
        return numbers

    def _predict(self, batch: PhotoBatch) -> dict[str, Tensor]:
        """Return poses in image pixels or millimetres, first those that people get, and accuracies of tokens."""
        if isinstance(self.model, HeatmapModel):
            poses, means = {"tops": self.model.decode(self.model(batch.images))[0]}, {}
        else:
            tokenizer, output = self.model.tokenizer, self.model(batch.images)
            labels = photo_labels(tokenizer, batch).indices
            # The true tokens are the floor of the error.
            decoded = {"oracle": labels, "argmax": output.logits.argmax(dim=-1)}
            poses = {"expected": output.keypoints, **{n: tokenizer.decode(ids) for n, ids in decoded.items()}}
            means = token_accuracy(output.logits, labels)
        restored = restore_poses(torch.stack(list(poses.values())).float(), batch.bbox, self.space)
        return {**dict(zip(poses, restored, strict=True)), **{n: mean.expand(len(batch)) for n, mean in means.items()}}
