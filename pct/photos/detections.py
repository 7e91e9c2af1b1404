"""Detected persons: boxes from a COCO results file, and the photos that they lie on."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.coco import AREA_SHARE
from pct.files.coco_categories import CocoCategory, is_crowd, show_id
from pct.files.json_stream import iter_json_list
from pct.files.photo_folder import PhotoFolder, find_usable
from pct.files.pose_checks import LARGEST_PIXEL
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17, Skeleton


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
    category: str | int | None = None,
    min_score: float = 0.0,
    report: Callable[[str], None] | None = None,
) -> Detections:
    """Read the boxes of persons from a COCO results file.

    Args:
        path: JSON list of objects with ``image_id``, ``category_id``, ``bbox`` and ``score``.
        category: Id of the persons; 1, as in COCO, by default. Entries of other categories are left out.
        min_score: Boxes with a lower score are left out.
        report: Called with a sentence for each bad entry, which is then skipped, and for what is left out; by default
            a warning.

    Returns:
        The boxes in file order; none is a valid result of a detector.

    Raises:
        ValueError: If the file is not a JSON list, or all its boxes are of other categories.
    """
    if category is not None and not str(category).lstrip("-").isdecimal():
        raise ValueError(f"{path}: COCO results name no categories; choose {category!r} by its id")
    person = 1 if category is None else int(category)
    chosen = CocoCategory(COCO17, frozenset([person]))
    return read_boxes(path, iter_json_list(path), chosen, f"category {person}", min_score, report or warnings.warn)


def read_boxes(
    path: str | Path,
    entries: Iterable[Any],
    chosen: CocoCategory,
    persons: str,
    min_score: float,
    report: Callable[[str], None],
    score: float | None = None,
) -> Detections:
    """Read boxes from entries of a file.

    Args:
        path: What messages call the file.
        entries: Objects with ``image_id``, ``bbox``, ``score``, and if known ``category_id`` and ``iscrowd``.
        chosen: Which entries are persons.
        persons: What messages call their category.
        min_score: Boxes with a lower score are left out.
        report: Called with a sentence for each bad entry, which is then skipped, and for what is left out.
        score: Of each entry, where they have none.

    Raises:
        ValueError: If there are entries, and all are of other categories.
    """
    rows: list[tuple[int, list[float], float]] = []
    left_out: Counter[str] = Counter()
    number = -1
    for number, entry in enumerate(entries):
        entry = {"score": score, **entry} if score is not None and isinstance(entry, Mapping) else entry
        other = "crowds" if is_crowd(entry) else chosen.find_other(entry, all_persons=True)
        fault = None if other is not None else _find_fault(entry)
        if other is not None:
            left_out[other] += 1
        elif fault is not None:
            report(f"{path}: entry {number}: {fault}; it is skipped")
        elif entry["score"] >= min_score:
            rows.append((entry["image_id"], entry["bbox"], entry["score"]))
    shown = ", ".join(f"{kind}: {count:,}" for kind, count in left_out.most_common(5))
    if left_out and left_out.total() == number + 1:
        raise ValueError(
            f"{path}: none of {number + 1:,} boxes is of a person, {persons} ({shown}); choose another (--category)"
        )
    if left_out:
        report(f"{path}: left out {left_out.total():,} boxes ({shown})")
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
    if type(image_id) is not int or not -(2**63) <= image_id < 2**63:
        return f"image_id is {show_id(image_id)}; it must be an integer of 64 bits"
    if type(entry.get("category_id", 1)) is not int:
        return f"category_id is {repr(entry['category_id'])[:40]}; it must be an integer"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        return f"bbox is {str(bbox)[:80]}; it must be 4 finite numbers (x, y, width, height) below {LARGEST_PIXEL:.0f}"
    if not (bbox[2] > 0 and bbox[3] > 0):
        return f"bbox is {bbox!r}; width and height must be positive"
    if max(map(abs, bbox)) <= 1 and any(value != round(value) for value in bbox):
        return f"bbox is {bbox!r}, shares of the image; multiply them by its width and height"
    if not _is_number(score):
        return f"score is {repr(score)[:40]}; it must be a finite number"
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST_PIXEL
