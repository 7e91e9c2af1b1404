"""Crops that models of photos are trained and measured on: a person's, batches of them, and what is true in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.photos.crop import CropTransform, fit_bbox_to_aspect, normalise_pixels
from pct.photos.person_views import rows_of
from pct.photos.persons import PersonPhoto
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17, Skeleton
from pct.training.batches import TensorBatch


@dataclass(frozen=True)
class PhotoBatch(TensorBatch):
    """Crops of B persons with their joints.

    Attributes:
        pixels: Crops (B, 3, H, W), uint8 RGB; models take :attr:`images`.
        keypoints: Joints (B, K, 2) in model units; 0 where unlabelled.
        visibility: COCO's labels (B, K), int64: 0 not labelled, 1 labelled but hidden, 2 labelled and seen.
        bbox: Boxes (B, 4) as x, y, width, height in image pixels, grown to the input's aspect: the reference of
            :meth:`PoseSpace.restore` for crops that are not augmented.
        image_ids: Photo of each person (B,), int64.
        annotation_ids: Annotation of each person (B,), int64.
        keypoints3d: Human3.6M's joints (B, 17, 3) in millimetres: x right and y down in the crop, z away from the
            camera; None where they are not known of all persons.
        features: A frozen backbone's features (B, C, h, w) where they were stored; the pixels are then black.
    """

    pixels: Tensor
    keypoints: Tensor
    visibility: Tensor
    bbox: Tensor
    image_ids: Tensor
    annotation_ids: Tensor
    keypoints3d: Tensor | None = None
    features: Tensor | None = None

    @classmethod
    def from_crops(cls, crops: Sequence[PersonPhoto]) -> PhotoBatch:
        """Stack crops (:func:`crop_person`) of one size."""

        def stack(name: str, dtype: Any) -> Tensor:
            return torch.from_numpy(np.stack([np.asarray(getattr(crop, name), dtype) for crop in crops]))

        in_space = all(crop.keypoints3d is not None for crop in crops)
        return cls(
            pixels=stack("image", np.uint8).permute(0, 3, 1, 2).contiguous(),
            keypoints=stack("keypoints", np.float32),
            visibility=stack("visibility", np.int64),
            bbox=stack("bbox", np.float32),
            image_ids=stack("image_id", np.int64),
            annotation_ids=stack("annotation_id", np.int64),
            keypoints3d=stack("keypoints3d", np.float32) if in_space else None,
        )

    @property
    def images(self) -> Tensor:
        """The model's input (B, 3, H, W): float32, with ImageNet's mean and deviation taken out."""
        return normalise_pixels(self.pixels)

    @property
    def visible(self) -> Tensor:
        """True where the joint is labelled (B, K)."""
        return self.visibility > 0


def crop_person(
    person: PersonPhoto, skeleton: Skeleton, crop: CropTransform, outside_margin: float = math.inf
) -> PersonPhoto:
    """Cut a person's crop out of the photo and bring the joints into model units; its box is one of the photo still.

    Args:
        person: The sample.
        skeleton: Whose left and right joints change places in a mirrored crop.
        crop: Where the crop lies.
        outside_margin: Joints farther outside the crop than this share of its half side become unlabelled.
    """
    order = skeleton.flip_index if crop.flipped else slice(None)
    points, visibility = person.keypoints[order], person.visibility[order]
    visibility = np.where(crop.contains(points, outside_margin), visibility, 0)
    return replace(
        person,
        image=crop.warp(person.image),
        keypoints=np.where(visibility[:, None] > 0, crop.to_model(points), np.float32(0)),
        visibility=visibility,
        bbox=fit_bbox_to_aspect(person.bbox, crop.image_size),
        keypoints3d=None if person.keypoints3d is None else _turn(person.keypoints3d, crop),
    )


def _turn(keypoints3d: np.ndarray, crop: CropTransform) -> np.ndarray:
    """Turn Human3.6M's joints (17, 3) in camera axes as a crop turns and mirrors the photo; float32.

    Perspective is neglected: scale and shift of the crop, and where it lies on the photo, leave them as they are.
    """
    linear = crop.frame[:, :2] / math.sqrt(abs(np.linalg.det(crop.frame[:, :2])))
    joints = keypoints3d[H36M17.flip_index] if crop.flipped else keypoints3d
    return np.column_stack([joints[:, :2].astype(np.float64) @ linear.T, joints[:, 2]]).astype(np.float32)


def photo_targets(batch: PhotoBatch, space: PoseSpace, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Return the true joints (B, K, D) of a batch in the units of a model of ``space``, and which are known (B, K).

    They are the joints in the crops, or for ``root3d`` all joints relative to the root: also what is outside the photo
    is known then.

    Raises:
        ValueError: If the space is 3D and the batch has no 3D joints, or ``skeleton`` has others than Human3.6M's.
    """
    if space.kind == "crop2d":
        return batch.keypoints, batch.visible
    if batch.keypoints3d is None:
        raise ValueError("persons without keypoints3d in a batch; models of 3D poses need them of all")
    joints = batch.keypoints3d[:, rows_of(skeleton)]
    keypoints = space.normalise(joints, joints[:, space.root])
    return keypoints, torch.ones_like(keypoints[..., 0], dtype=torch.bool)
