"""Boxes of persons by photo, from a COCO results file or a COCO annotation file."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pct.files.coco import iter_coco_annotations, iter_coco_images
from pct.files.coco_categories import CocoCategory, find_persons
from pct.files.json_stream import is_json_object
from pct.files.photo_inputs import PhotoInput, number_in_name
from pct.photos.detections import Detections, load_detections, read_boxes
from pct.photos.results.sources import BoxFinder, Frame


@dataclass(frozen=True)
class PhotoBoxes:
    """The boxes of persons on some photos.

    Attributes:
        path: Where they come from.
        detections: The boxes with image ids and scores; 1 where the file has none.
        file_names: Image id by file name, from the file's ``images``; None where it has no such list.
    """

    path: Path
    detections: Detections
    file_names: dict[str, int] | None

    def finder(self, ids: Mapping[str, int], report: Callable[[str], None]) -> BoxFinder:
        """Return what gives the boxes of photos whose :meth:`image_ids` are ``ids``; none of others, with a report."""

        def find(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
            if frame.name not in ids:
                report(f"{frame.name}: {self.path} does not know this photo, so no person is looked for on it")
            # No image of COCO has a negative id.
            found = self.of(ids.get(frame.name, -1))
            return found.bbox, found.scores

        return find

    def image_ids(self, photos: Sequence[PhotoInput]) -> dict[str, int]:
        """Return the image ids of photos by their names; those that the file does not know are left out.

        A photo is looked up in ``images`` by its path, folders from the last one on, and then by the file's own name if
        only one entry has it; where the file has no ``images``, the last number in its name is its id
        (000000000139.jpg is image 139).

        Raises:
            ValueError: If there is a video, the file has boxes and none is of these photos, or a photo may be either of
                two entries.
        """
        videos = [photo.name for photo in photos if photo.is_video]
        if videos:
            raise ValueError(f"{videos[0]} is a video, and boxes of a file are of photos; give --detector NAME")
        if self.file_names is None:
            ids = {photo.name: number_in_name(photo.name) for photo in photos}
        else:
            entries: dict[str, list[tuple[tuple[str, ...], int]]] = {}
            for name, image_id in self.file_names.items():
                parts = _parts(name)
                entries.setdefault(_small_ending(parts[-1]) if parts else "", []).append((parts, image_id))
            ids = {photo.name: self._find(photo, entries) for photo in photos}
        found = {name: image_id for name, image_id in ids.items() if image_id is not None}
        if len(self.detections) and not np.isin(list(found.values()), self.detections.image_ids).any():
            how = "the numbers in their names" if self.file_names is None else "the names in its `images`"
            raise ValueError(f"{self.path}: no box is of one of the {len(photos)} photos, which are found by {how}")
        return found

    def _find(self, photo: PhotoInput, entries: dict[str, list[tuple[tuple[str, ...], int]]]) -> int | None:
        path = _parts(str(photo.path.absolute()))
        alike = entries.get(_small_ending(path[-1]), [])
        # `a.JPG` is `a.jpg`, unless there are both.
        same = [entry for entry in alike if entry[0][-1] == path[-1]] or alike
        whole = [(parts, image_id) for parts, image_id in same if path[-len(parts) : -1] == parts[:-1]]
        if whole:
            return max(whole, key=lambda entry: len(entry[0]))[1]
        if len(same) > 1:
            first, second = ("/".join(parts) for parts, _ in same[:2])
            raise ValueError(f"{self.path}: {photo.path} may be {first} or {second} in `images`; give it in its folder")
        return same[0][1] if same else None

    def of(self, image_id: int) -> Detections:
        """Return the boxes on a photo, in file order."""
        return self.detections.select(self.detections.image_ids == image_id)


def load_photo_boxes(
    path: str | Path,
    *,
    min_score: float = 0.0,
    category: str | int | None = None,
    report: Callable[[str], None] | None = None,
) -> PhotoBoxes:
    """Read boxes of persons.

    Args:
        path: COCO results (a list of objects with ``image_id``, ``category_id``, ``bbox``, ``score``) or a COCO
            annotation file with ``images`` and ``annotations``. Crowds and other categories than persons (in
            annotation files ``person`` and those with keypoints, else category 1) are left out.
        min_score: Boxes with a lower score are left out.
        category: Name or id of the only category that is read.
        report: Called with a sentence for each bad entry, which is then skipped, and for what is left out; by default
            a warning.

    Raises:
        ValueError: If the file is neither, malformed or truncated, or all its boxes are of other categories.
    """
    report = report or warnings.warn
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file of boxes")
    if not is_json_object(path):
        detections = load_detections(path, category=category, min_score=min_score, report=report)
        return PhotoBoxes(path, detections, None)
    names: dict[str, int] = {}
    for image in filter(_is_image, iter_coco_images(path)):
        first = names.setdefault(image["file_name"], image["id"])
        if first != image["id"]:
            raise ValueError(f"{path}: images {first} and {image['id']} have the same file_name {image['file_name']!r}")
    chosen = find_persons(path, category)
    detections = read_boxes(
        path, iter_coco_annotations(path), chosen, _name_persons(chosen), min_score, report, score=1.0
    )
    return PhotoBoxes(path, detections, names or None)


def _name_persons(chosen: CocoCategory) -> str:
    ids = sorted(chosen.category_ids or ())
    return ", ".join(f"category {chosen.names[id_]} (id {id_})" for id_ in ids) or "of any category"


def _parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path of any system, in one form of Unicode and without a leading slash."""
    parts = PurePosixPath(unicodedata.normalize("NFC", path).replace("\\", "/")).parts
    return parts[1:] if parts[:1] == ("/",) else parts


def _small_ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem + dot + ending.lower()


def _is_image(image: Any) -> bool:
    return isinstance(image, dict) and type(image.get("id")) is int and isinstance(image.get("file_name"), str)
