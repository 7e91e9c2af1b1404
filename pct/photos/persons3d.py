"""Persons on photos for models of 3D poses: a source with the joints of their 3D poses, and targets from batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pct.cameras import project
from pct.photos.crop import PhotoBatch
from pct.photos.persons import PersonPhoto, PersonSource
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17, Skeleton


class Persons3D:
    """The persons of another source with the joints of their 3D poses, a :class:`~pct.photos.persons.PersonSource`.

    ``keypoints`` are the 3D joints projected onto the photo. A joint outside the photo has visibility 0, one that the
    source says is hidden 1. The others have 2, also joints that the source has no label for.

    Args:
        source: Persons with Human3.6M's 17 joints in ``keypoints3d``, and ``intrinsics``.
        skeleton: Which of these joints the persons have, in which order.

    Raises:
        ValueError: If a joint of ``skeleton`` is none of Human3.6M's.
    """

    def __init__(self, source: PersonSource, skeleton: Skeleton = H36M17) -> None:
        self.source, self._skeleton, self._rows = source, skeleton, rows_of(skeleton)
        names = source.skeleton.keypoint_names
        self._labels = [names.index(name) if name in names else -1 for name in skeleton.keypoint_names]

    @property
    def skeleton(self) -> Skeleton:
        """The 3D joints."""
        return self._skeleton

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> PersonPhoto:
        """Return a person.

        Raises:
            ValueError: If its 3D joints or camera are not known.
            PhotoError: If its photo cannot be read.
        """
        person = self.source[index]
        if person.keypoints3d is None or person.intrinsics is None:
            raise ValueError(
                f"annotation {person.annotation_id} (person {index}) has no keypoints3d, or its photo no camera; leave "
                "such persons out (need_3d)"
            )
        pixels = _project(person.keypoints3d[self._rows], person.intrinsics)
        height, width = person.image.shape[:2]
        limit = np.array([width - 0.5, height - 0.5])
        inside: np.ndarray = np.all((pixels >= -0.5) & (pixels < limit), axis=1)  # not where NaN
        labels = np.append(person.visibility, 0)[self._labels]
        visibility = np.where(inside, np.where(labels == 1, 1, 2), 0).astype(np.int64)
        keypoints = np.where(inside[:, None], pixels, np.float32(0))
        return replace(person, keypoints=keypoints, visibility=visibility)


@dataclass(frozen=True)
class PhotoTargets:
    """What a model is to make of photos.

    Attributes:
        keypoints: Joints (B, K, D) in model units.
        visible: True where the joint is known (B, K).
    """

    keypoints: Tensor
    visible: Tensor


def photo_targets(batch: PhotoBatch, space: PoseSpace, skeleton: Skeleton) -> PhotoTargets:
    """Return the true poses of a batch as a model of ``space`` sees them.

    They are the joints in the crops, or for ``root3d`` all joints relative to the root: also what is outside the photo
    is known then.

    Raises:
        ValueError: If the space is 3D and the batch has no 3D joints, or ``skeleton`` has others than Human3.6M's.
    """
    if space.kind == "crop2d":
        return PhotoTargets(batch.keypoints, batch.visible)
    if batch.keypoints3d is None:
        raise ValueError("persons without keypoints3d in a batch; models of 3D poses need them of all")
    joints = batch.keypoints3d[:, rows_of(skeleton)]
    keypoints = space.normalise(joints, joints[:, space.root])
    return PhotoTargets(keypoints, torch.ones_like(keypoints[..., 0], dtype=torch.bool))


def rows_of(skeleton: Skeleton) -> list[int]:
    """Return where the joints of a skeleton are among Human3.6M's 17.

    Raises:
        ValueError: If one is not among them.
    """
    names = H36M17.keypoint_names
    missing = [name for name in skeleton.keypoint_names if name not in names]
    if missing:
        raise ValueError(
            f"persons on photos have the 3D joints of {H36M17.name}; {', '.join(missing)} of {skeleton.name} are not "
            f"among them"
        )
    return [names.index(name) for name in skeleton.keypoint_names]


def _project(joints: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Return the pixels (K, 2) of joints (K, 3), float32; NaN for those that are not before the camera."""
    before = joints[:, 2] > 0
    pixels = np.full((len(joints), 2), np.nan, np.float32)
    pixels[before] = project(torch.from_numpy(joints[before]), torch.from_numpy(intrinsics)).numpy()
    return pixels
