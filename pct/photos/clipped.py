"""Annotated boxes as publishers of models take them: cut at the edges of the photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pct.photos.persons import PersonPhoto, PersonSource
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton


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


class ClippedPersons:
    """The persons of another source with their boxes cut at the photo's edges, a :class:`PersonSource`.

    Args:
        source: Persons with annotated boxes; see :func:`clip_boxes`.
    """

    def __init__(self, source: PersonSource) -> None:
        self._source = source

    @property
    def skeleton(self) -> Skeleton:
        """The source's."""
        return self._source.skeleton

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> PersonPhoto:
        person = self._source[index]
        height, width = person.image.shape[:2]
        return replace(person, bbox=clip_boxes(person.bbox, width, height).astype(np.float32))


def annotated_persons(source: PersonSource, space: PoseSpace) -> PersonSource:
    """Return persons with annotated boxes as a model of ``space`` takes them; boxes of detectors are taken as they are.

    Args:
        source: The persons.
        space: Says by its conventions whether the boxes are cut at the photo's edges.
    """
    return ClippedPersons(source) if space.conventions.clip_boxes else source
