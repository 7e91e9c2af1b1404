"""HeatmapEstimator: photos and boxes of persons to poses in image pixels, by a heatmap model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from pct.files.photo import as_photo
from pct.photos.crop import fit_bbox_to_aspect, normalise_pixels, plain_crop
from pct.photos.heatmap import HeatmapModel
from pct.photos.predict import predict_heatmaps
from pct.photos.results.sources import Frame, check_boxes


@dataclass(frozen=True)
class HeatmapPoses:
    """Poses of the N persons of a photo, in the order of their boxes.

    Attributes:
        keypoints: Joints (N, K, 2) in image pixels, float32, x right and y down, the first pixel's centre at (0, 0).
        scores: Heights of the heatmaps at them (N, K): in [0, 1] for our models, without bounds for published ones.
    """

    keypoints: np.ndarray
    scores: np.ndarray


class HeatmapEstimator:
    """Poses of persons on photos, from boxes that say where they are, by a heatmap model.

    Example:
        >>> estimator = HeatmapEstimator.from_pretrained("runs/heatmap/model")
        >>> poses = estimator.predict("photo.jpg", [[40, 10, 80, 200]])

    Args:
        model: The heatmap model.
        flip: Average the heatmaps with those of the mirrored crop (the flip test); None does what the model's
            conventions say.
        batch_size: Crops at a time.
    """

    def __init__(self, model: HeatmapModel, flip: bool | None = None, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model, self.batch_size = model.eval(), batch_size
        self.flip = model.config.space.conventions.flip_test if flip is None else flip

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str | torch.device = "cpu", flip: bool | None = None, batch_size: int = 32
    ) -> HeatmapEstimator:
        """Load an estimator; arguments as for :meth:`HeatmapModel.from_pretrained` and the class.

        Raises:
            CheckpointError: If there is no such model or its files do not fit together.
        """
        return cls(HeatmapModel.from_pretrained(name, device), flip, batch_size)

    def predict(self, image: str | Path | np.ndarray, bboxes: ArrayLike | None = None) -> HeatmapPoses:
        """Estimate the poses of the persons on one photo; arguments and errors as for ``PoseEstimator.predict``."""
        photo = as_photo(image)
        height, width = photo.shape[:2]
        boxes, _ = check_boxes([[0, 0, width, height]] if bboxes is None else bboxes, Frame(photo))
        parts = [boxes[i : i + self.batch_size] for i in range(0, len(boxes), self.batch_size)]
        poses = [self._predict_boxes(photo, part) for part in parts]
        none = np.zeros((0, self.model.config.skeleton.num_keypoints), np.float32)
        return HeatmapPoses(
            np.concatenate([none[..., None].repeat(2, axis=-1), *(pose.keypoints for pose in poses)]),
            np.concatenate([none, *(pose.scores for pose in poses)]),
        )

    def _predict_boxes(self, photo: np.ndarray, boxes: np.ndarray) -> HeatmapPoses:
        space, size = self.model.config.space, self.model.config.backbone.image_size
        crops = np.stack([plain_crop(box, space, size).warp(photo) for box in boxes])
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
        images = normalise_pixels(pixels.to(next(self.model.parameters()).device))
        keypoints, scores = predict_heatmaps(self.model, images, self.flip)
        fitted = torch.from_numpy(fit_bbox_to_aspect(boxes, size[1] / size[0]))
        return HeatmapPoses(space.restore(keypoints.cpu(), fitted).numpy(), scores.cpu().numpy())
