"""Persons of a source as a model takes them: boxes cut at the photo's edges, joints of 3D poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from pct.cameras import project
from pct.photos.persons import PersonPhoto, PersonSource
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17, Skeleton


class PersonView:
    """The persons of another source, each changed in the same way, a :class:`~pct.photos.persons.PersonSource`.

    Attributes:
        skeleton: Whose joints the changed persons have.

    Args:
        source: The persons.
        change: From a person to the changed one; it can be pickled, for worker processes.
        skeleton: The source's by default.
    """

    def __init__(
        self, source: PersonSource, change: Callable[[PersonPhoto], PersonPhoto], skeleton: Skeleton | None = None
    ) -> None:
        self.skeleton = source.skeleton if skeleton is None else skeleton
        self.source, self._change = source, change

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> PersonPhoto:
        return self._change(self.source[index])


def annotated_persons(source: PersonSource, space: PoseSpace) -> PersonSource:
    """Return persons with annotated boxes as a model of ``space`` takes them; boxes of detectors are taken as they are.

    Args:
        source: The persons.
        space: Says by its conventions whether the boxes are cut at the photo's edges.
    """
    return PersonView(source, _clip) if space.conventions.clip_boxes else source


def _clip(person: PersonPhoto) -> PersonPhoto:
    height, width = person.image.shape[:2]
    return replace(person, bbox=clip_boxes(person.bbox, width, height).astype(np.float32))


def clip_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Cut annotated boxes at the edges of their photo, as the published PCT release does before it crops.

    The upper left corner moves to 0 where it is less, and the box keeps its size; then the lower right one moves to
    (width - 1, height - 1) where it is more.

    Args:
        boxes: (..., 4) as x, y, width, height in image pixels.
        width: Of the photo in pixels.
        height: Of the photo in pixels.

    Returns:
        Boxes (..., 4), float64; one that would be empty is returned as it is.
    """
    boxes = np.asarray(boxes, np.float64)
    corner = np.maximum(boxes[..., :2], 0)
    size = np.minimum(corner + np.maximum(boxes[..., 2:], 0), [width - 1, height - 1]) - corner
    return np.where((size > 0).all(axis=-1, keepdims=True), np.concatenate([corner, size], axis=-1), boxes)


class Persons3D(PersonView):
    """The persons of another source with the joints of their 3D poses.

    ``keypoints`` are the 3D joints projected onto the photo. A joint outside the photo has visibility 0, one that the
    source says is hidden 1. The others have 2, also joints that the source has no label for.

    ``__getitem__`` raises a ValueError where a person's 3D joints or camera are not known.

    Args:
        source: Persons with Human3.6M's 17 joints in ``keypoints3d``, and ``intrinsics``.
        skeleton: Which of these joints the persons have, in which order.

    Raises:
        ValueError: If a joint of ``skeleton`` is none of Human3.6M's.
    """

    def __init__(self, source: PersonSource, skeleton: Skeleton = H36M17) -> None:
        super().__init__(source, self._project, skeleton)
        self._rows, names = rows_of(skeleton), source.skeleton.keypoint_names
        self._labels = [names.index(name) if name in names else -1 for name in skeleton.keypoint_names]

    def _project(self, person: PersonPhoto) -> PersonPhoto:
        if person.keypoints3d is None or person.intrinsics is None:
            raise ValueError(
                f"annotation {person.annotation_id} has no keypoints3d, or its photo no camera; leave such persons out "
                "(need_3d)"
            )
        joints = person.keypoints3d[self._rows]
        before = joints[:, 2] > 0
        pixels = np.full((len(joints), 2), np.nan, np.float32)
        pixels[before] = project(torch.from_numpy(joints[before]), torch.from_numpy(person.intrinsics)).numpy()
        height, width = person.image.shape[:2]
        limit = np.array([width - 0.5, height - 0.5])
        inside: np.ndarray = np.all((pixels >= -0.5) & (pixels < limit), axis=1)  # not where NaN: behind the camera
        labels = np.append(person.visibility, 0)[self._labels]
        visibility = np.where(inside, np.where(labels == 1, 1, 2), 0).astype(np.int64)
        return replace(person, keypoints=np.where(inside[:, None], pixels, np.float32(0)), visibility=visibility)


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
