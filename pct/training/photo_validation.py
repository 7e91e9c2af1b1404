"""Quick numbers on held-out persons while models of photos are trained; the report measures more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pct.data.photo_crop import PhotoBatch
from pct.data.photos import PersonSource
from pct.evaluation.metrics import oks
from pct.layers.losses import keypoint_loss
from pct.models.classifier import PoseClassifier
from pct.models.heatmap import HeatmapModel
from pct.models.tokenizer import PoseTokenizer
from pct.training.photo_batches import evaluation_batches
from pct.training.photo_steps import photo_labels
from pct.training.token_targets import token_accuracy

_BATCH = 64


class PhotoValidation:
    """Errors of a model of photos on the first persons of a source.

    Args:
        predict: Maps a batch to joints (B, K, 2) in model units and further numbers, each (B,).
        tokenizer: Its space and skeleton are the poses'.
        source: The persons.
        image_size: Of the model's input.
        limit: At most so many persons.
        device: Of the model.
    """

    def __init__(
        self,
        predict: Callable[[PhotoBatch], tuple[Tensor, dict[str, Tensor]]],
        tokenizer: PoseTokenizer,
        source: PersonSource,
        image_size: tuple[int, int],
        limit: int,
        device: torch.device,
    ) -> None:
        self.predict, self.space, self.sigmas = predict, tokenizer.space, torch.tensor(tokenizer.skeleton.sigmas)
        self.batches: list[PhotoBatch] = []
        for batch in evaluation_batches(source, tokenizer.space, image_size, _BATCH):
            self.batches.append(batch.rows(slice(0, limit - _BATCH * len(self.batches))).to(device))
            if _BATCH * len(self.batches) >= limit:
                break
        if not self.batches:
            raise ValueError("none of the photos to validate on can be read")

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return mean error in pixels of the crop and mean OKS, over all labelled joints and over the occluded ones."""
        errors, similarities, occluded, more = [], [], [], dict[str, list[Tensor]]()
        for batch in self.batches:
            keypoints, numbers = self.predict(batch)
            distance = (keypoints - batch.keypoints).norm(dim=-1) * self.space.report_scale
            errors.append(distance[batch.visible])
            occluded.append(distance[batch.visibility == 1])
            restored, truth = (self.space.restore(k, batch.bbox).cpu() for k in (keypoints, batch.keypoints))
            labelled = batch.visible.any(dim=1).cpu()
            similarity = oks(restored, truth, batch.visible.cpu(), batch.area.cpu(), self.sigmas)
            similarities.append(similarity[labelled])
            for name, value in numbers.items():
                more.setdefault(name, []).append(value)
        values = {
            f"mean_error_{self.space.report_unit}": torch.cat(errors),
            f"occluded_error_{self.space.report_unit}": torch.cat(occluded),
            "oks": torch.cat(similarities),
            **{name: torch.cat(parts) for name, parts in more.items()},
        }
        return {name: float(value.mean()) for name, value in values.items() if len(value)}


def classifier_predictor(
    model: PoseClassifier, beta: float
) -> Callable[[PhotoBatch], tuple[Tensor, dict[str, Tensor]]]:
    """Return the expected pose, token accuracies, and the loss of the true tokens' pose: the floor of the loss."""

    def predict(batch: PhotoBatch) -> tuple[Tensor, dict[str, Tensor]]:
        output = model(batch.images)
        labels = photo_labels(model.tokenizer, batch)
        oracle = model.tokenizer.decode(labels.indices)
        numbers = {name: value[None] for name, value in token_accuracy(output.logits, labels.indices).items()}
        numbers["oracle_loss"] = keypoint_loss(oracle, batch.keypoints, batch.visible, beta)[None]
        distance = (oracle - batch.keypoints).norm(dim=-1) * model.tokenizer.space.report_scale
        numbers["oracle_error_px"] = distance[batch.visible]
        numbers["keypoint_loss"] = keypoint_loss(output.keypoints, batch.keypoints, batch.visible, beta)[None]
        return output.keypoints, numbers

    return predict


def heatmap_predictor(model: HeatmapModel) -> Callable[[PhotoBatch], tuple[Tensor, dict[str, Tensor]]]:
    """Return the joints at the tops of the heatmaps."""

    def predict(batch: PhotoBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return model.decode(model(batch.images))[0], {}

    return predict
