"""Quick numbers on held-out persons while models of photos are trained; the report measures more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pct.evaluation.metrics import oks
from pct.evaluation.metrics3d import joint_errors_3d, mpjpe, p_mpjpe
from pct.layers.losses import keypoint_loss
from pct.photos.classifier import PoseClassifier
from pct.photos.crop import PhotoBatch
from pct.photos.heatmap import HeatmapModel
from pct.photos.person_views import photo_targets
from pct.photos.persons import PersonSource
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton
from pct.training.batches import mean_over_batches
from pct.training.photos.batches import evaluation_batches
from pct.training.photos.steps import photo_labels
from pct.training.photos.token_targets import token_accuracy

_BATCH = 64

# Maps a batch to joints (B, K, D) in model units and further numbers, each (B,).
Predict = Callable[[PhotoBatch], tuple[Tensor, dict[str, Tensor]]]


class PhotoValidation:
    """Errors of a model of photos on the first persons of a source.

    Args:
        predict: Maps a batch to joints (B, K, D) in model units and further numbers, each (B,).
        space: What these units mean.
        source: The persons, with the joints that the model finds.
        image_size: Of the model's input.
        limit: At most so many persons.
        device: Of the model.
    """

    def __init__(
        self,
        predict: Predict,
        space: PoseSpace,
        source: PersonSource,
        image_size: tuple[int, int],
        limit: int,
        device: torch.device,
    ) -> None:
        self.predict, self.space, self.skeleton = predict, space, source.skeleton
        self.batches: list[PhotoBatch] = []
        for batch in evaluation_batches(source, space.crop_space, image_size, _BATCH):
            self.batches.append(batch.rows(slice(0, limit - _BATCH * len(self.batches))).to(device))
            if _BATCH * len(self.batches) >= limit:
                break
        if not self.batches:
            raise ValueError("none of the photos to validate on can be read")

    def __call__(self) -> dict[str, float]:
        """Return the mean over the persons or joints of everything that is measured.

        On the photo these are the error of all labelled joints and of the occluded ones, in pixels of the crop, and
        OKS; in space MPJPE and P-MPJPE, and the mean error of the joints that are occluded on the photo, all in
        millimetres.
        """
        return mean_over_batches(self.batches, self._measure)

    def _measure(self, batch: PhotoBatch) -> dict[str, Tensor]:
        keypoints, numbers = self.predict(batch)
        measure = self._measure_3d if self.space.kind == "root3d" else self._measure_2d
        return {**measure(keypoints, batch), **numbers}

    def _measure_2d(self, keypoints: Tensor, batch: PhotoBatch) -> dict[str, Tensor]:
        distance = (keypoints - batch.keypoints).norm(dim=-1) * self.space.report_scale
        restored, truth = (self.space.restore(k, batch.bbox).cpu() for k in (keypoints, batch.keypoints))
        sigmas = torch.from_numpy(self.skeleton.oks_sigmas)
        similarity = oks(restored, truth, batch.visible.cpu(), batch.area.cpu(), sigmas)
        return {
            "mean_error_px": distance[batch.visible],
            "occluded_error_px": distance[batch.visibility == 1],
            "oks": similarity[batch.visible.any(dim=1).cpu()],
        }

    def _measure_3d(self, keypoints: Tensor, batch: PhotoBatch) -> dict[str, Tensor]:
        found, truth = pose_millimetres(keypoints, batch, self.space, self.skeleton)
        errors = joint_errors_3d(found, truth, root=self.space.root)
        return {
            "mpjpe_mm": errors.mean(dim=1),
            "p_mpjpe_mm": p_mpjpe(found, truth),
            "occluded_error_mm": errors[batch.visibility == 1],
        }


def pose_millimetres(
    keypoints: Tensor, batch: PhotoBatch, space: PoseSpace, skeleton: Skeleton
) -> tuple[Tensor, Tensor]:
    """Return found joints (B, K, 3) in model units, and the true ones of a batch, in millimetres from the root."""
    truth = photo_targets(batch, space, skeleton)[0]
    return keypoints.float() * space.report_scale, truth * space.report_scale


def classifier_predictor(model: PoseClassifier, beta: float) -> Predict:
    """Return the expected pose, token accuracies, and loss and error of the true tokens' pose: the floor of both."""
    tokenizer = model.tokenizer
    space, skeleton = tokenizer.space, tokenizer.skeleton

    def predict(batch: PhotoBatch) -> tuple[Tensor, dict[str, Tensor]]:
        output = model(batch.images)
        (truth, visible), labels = photo_targets(batch, space, skeleton), photo_labels(tokenizer, batch)
        oracle = tokenizer.decode(labels.indices)
        numbers = {name: value[None] for name, value in token_accuracy(output.logits, labels.indices).items()}
        for name, pose in (("oracle_loss", oracle), ("keypoint_loss", output.keypoints)):
            numbers[name] = keypoint_loss(pose, truth, visible, beta)[None]
        if space.kind == "root3d":
            likely = tokenizer.decode(output.logits.argmax(dim=-1))
            for name, pose in (("oracle_mpjpe_mm", oracle), ("argmax_mpjpe_mm", likely)):
                numbers[name] = mpjpe(*pose_millimetres(pose, batch, space, skeleton), root=space.root)
        else:
            distance = (oracle - truth).norm(dim=-1) * space.report_scale
            numbers["oracle_error_px"] = distance[visible]
        return output.keypoints, numbers

    return predict


def heatmap_predictor(model: HeatmapModel) -> Predict:
    """Return the joints at the tops of the heatmaps."""

    def predict(batch: PhotoBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return model.decode(model(batch.images))[0], {}

    return predict
