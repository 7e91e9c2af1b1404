"""Quick numbers on held-out persons while models of photos are trained; the report measures more."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.evaluation.photos.predictions import NotedPersons
from pct.evaluation.poses import measure_poses, pose_distances
from pct.photos.classifier import PoseClassifier
from pct.photos.crop import PhotoBatch
from pct.photos.heatmap import HeatmapModel
from pct.photos.persons import PersonSource
from pct.photos.predict import restore_poses
from pct.training.batches import gather
from pct.training.photos.batches import evaluation_batches
from pct.training.photos.steps import photo_labels
from pct.training.photos.token_targets import token_accuracy

_BATCH = 64


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
        batches = evaluation_batches(persons, model.space.crop_space, model.image_size, _BATCH)
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
