"""Detected persons: boxes from a COCO results file, and the photos that they lie on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.coco import AREA_SHARE
from pct.files.json_stream import iter_json_list
from pct.files.photo_folder import PhotoFolder, find_usable
from pct.photos.persons import PersonPhoto
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class Detections:
    """Boxes of N detected persons.

    Attributes:
        image_ids: Photo of each box (N,), int64.
        bbox: Boxes (N, 4) as x, y, width, height in image pixels, float32.
        scores: The detector's confidence of each box (N,), float32.
    """

    image_ids: np.ndarray
    bbox: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: np.ndarray) -> Detections:
        """Return the boxes of ``rows``: indices, or a mask (N,)."""
        return Detections(self.image_ids[rows], self.bbox[rows], self.scores[rows])


def load_detections(
    path: str | Path,
    *,
    category_id: int = 1,
    min_score: float = 0.0,
    report: Callable[[str], None] | None = None,
) -> Detections:
    """Read the boxes of persons from a COCO results file.

    Args:
        path: JSON list of objects with ``image_id``, ``category_id``, ``bbox`` and ``score``.
        category_id: Persons are 1 in COCO; entries of other categories are left out.
        min_score: Boxes with a lower score are left out.
        report: Called with a sentence for each bad entry, which is then skipped; by default a warning.

    Returns:
        The boxes in file order; none is a valid result of a detector.

    Raises:
        ValueError: If the file is not a JSON list.
    """
    report = report or warnings.warn
    rows: list[tuple[int, list[float], float]] = []
    for number, entry in enumerate(iter_json_list(path)):
        if isinstance(entry, Mapping) and entry.get("category_id", category_id) != category_id:
            continue
        fault = _find_fault(entry)
        if fault is not None:
            report(f"{path}: entry {number}: {fault}; it is skipped")
        elif entry["score"] >= min_score:
            rows.append((entry["image_id"], entry["bbox"], entry["score"]))
    return Detections(
        image_ids=np.array([image_id for image_id, _, _ in rows], np.int64),
        bbox=np.array([bbox for _, bbox, _ in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, _, score in rows], np.float32),
    )


class DetectedPersons:
    """Detected boxes with their photos, a :class:`~pct.photos.persons.PersonSource` whose persons have no labels.

    Boxes outside their photo, and boxes whose photo is missing, are reported and skipped. ``area`` is 0.52 of the box
    area, ``annotation_id`` the row of the box in ``detections``.

    Args:
        detections: The boxes.
        annotations_path: COCO-format file with the ``images``.
        image_folder: Folder of the photos.
        skeleton: Joints that are to be predicted.
        report: Called with a sentence for what is skipped; by default a warning.
        cache: Keep encoded photos in memory once read.

    Attributes:
        detections: The boxes that are left, in their order.
        rows: Their rows in the ``detections`` given.
    """

    def __init__(
        self,
        detections: Detections,
        annotations_path: str | Path,
        image_folder: str | Path,
        skeleton: Skeleton,
        *,
        report: Callable[[str], None] | None = None,
        cache: bool = False,
    ) -> None:
        self.skeleton = skeleton
        self.photos = PhotoFolder(annotations_path, image_folder, cache)
        names = [f"detection {row}" for row in range(len(detections))]
        image_ids, boxes = detections.image_ids.tolist(), detections.bbox.tolist()
        usable = find_usable(self.photos, image_ids, boxes, names, report or warnings.warn)
        self.rows = np.flatnonzero(usable)
        self.detections = detections.select(self.rows)

    def __len__(self) -> int:
        return len(self.detections)

    def __getitem__(self, index: int) -> PersonPhoto:
        bbox, image_id = self.detections.bbox[index], int(self.detections.image_ids[index])
        num_keypoints = self.skeleton.num_keypoints
        return PersonPhoto(
            image=self.photos.read(image_id),
            bbox=bbox,
            keypoints=np.zeros((num_keypoints, 2), np.float32),
            visibility=np.zeros(num_keypoints, np.int64),
            area=AREA_SHARE * float(bbox[2]) * float(bbox[3]),
            image_id=image_id,
            annotation_id=int(self.rows[index]),
        )


def _find_fault(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return f"{str(entry)[:40]!r} is not a detection; expected an object with image_id, category_id, bbox, score"
    image_id, bbox, score = entry.get("image_id"), entry.get("bbox"), entry.get("score")
    if not isinstance(image_id, int) or isinstance(image_id, bool):
        return f"image_id is {image_id!r}; it must be an integer"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        return f"bbox is {bbox!r}; it must be 4 finite numbers (x, y, width, height)"
    if not (bbox[2] > 0 and bbox[3] > 0):
        return f"bbox is {bbox!r}; width and height must be positive"
    if not _is_number(score):
        return f"score is {score!r}; it must be a finite number"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
