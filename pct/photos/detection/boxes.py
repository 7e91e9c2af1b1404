"""Boxes of persons by photo, from a COCO results file or a COCO annotation file."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from pct.files.coco import AREA_SHARE, CocoCategory, find_persons, is_crowd
from pct.files.json_stream import find_bad_id, is_json_object, iter_json
from pct.files.photo_folder import PhotoFolder, find_usable
from pct.files.photo_inputs import PhotoInput, number_in_name
from pct.files.pose_checks import LARGEST_PIXEL, are_numbers
from pct.photos.persons import PhotoPersons
from pct.photos.results.sources import BoxFinder, Frame
from pct.poses import Poses
from pct.skeleton import COCO17, Skeleton

Parts = tuple[str, ...]


@dataclass(frozen=True)
class PhotoBoxes:
    """N boxes of persons on photos.

    Attributes:
        path: Where they come from.
        image_ids: Photo of each box (N,), int64.
        bbox: Boxes (N, 4) as x, y, width, height in image pixels, float32.
        scores: The detector's confidence of each box (N,), float32; 1 where the file has none.
        file_names: Image id by the parts of the file name, from the file's ``images``; None where it has no such list.
    """

    path: Path
    image_ids: np.ndarray
    bbox: np.ndarray
    scores: np.ndarray
    file_names: Mapping[Parts, int] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: np.ndarray) -> PhotoBoxes:
        """Return the boxes of ``rows``: indices, or a mask (N,)."""
        return replace(self, image_ids=self.image_ids[rows], bbox=self.bbox[rows], scores=self.scores[rows])

    def of(self, image_id: int) -> PhotoBoxes:
        """Return the boxes on a photo, in file order."""
        return self.select(self.image_ids == image_id)

    def finder(self, ids: Mapping[str, int], report: Callable[[str], None]) -> BoxFinder:
        """Return what gives the boxes of photos that :meth:`match` gave ``ids``; none of others, with a report."""

        def find(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
            if frame.name not in ids:
                report(f"{frame.name}: {self.path} does not know this photo, so no person is looked for on it")
            # No image of COCO has a negative id.
            found = self.of(ids.get(frame.name, -1))
            return found.bbox, found.scores

        return find

    def match(self, photos: Sequence[PhotoInput]) -> dict[str, int]:
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
            first: dict[int, str] = {}
            for name, number in ids.items():
                if number is None or number not in self.image_ids:
                    continue
                if first.setdefault(number, name) != name:
                    raise ValueError(
                        f"{self.path}: {first[number]} and {name} may both be image {number}, and the file names no "
                        "photos; give photos whose names have different numbers"
                    )
        else:
            by_ending: dict[str, list[tuple[Parts, int]]] = {}
            for parts, image_id in self.file_names.items():
                by_ending.setdefault(_small_ending(parts)[-1], []).append((parts, image_id))
            ids = {photo.name: self._find(photo, by_ending) for photo in photos}
        found = {name: image_id for name, image_id in ids.items() if image_id is not None}
        if len(self) and not np.isin(list(found.values()), self.image_ids).any():
            how = "the numbers in their names" if self.file_names is None else "the names in its `images`"
            raise ValueError(f"{self.path}: no box is of one of the {len(photos)} photos, which are found by {how}")
        return found

    def _find(self, photo: PhotoInput, by_ending: dict[str, list[tuple[Parts, int]]]) -> int | None:
        path = _parts(str(photo.path.absolute()))
        alike = by_ending.get(_small_ending(path)[-1], [])
        # `a.JPG` is `a.jpg`, unless there are both.
        same = [entry for entry in alike if entry[0][-1] == path[-1]] or alike
        whole = [(parts, image_id) for parts, image_id in same if path[-len(parts) : -1] == parts[:-1]]
        if whole:
            return max(whole, key=lambda entry: len(entry[0]))[1]
        if len({image_id for _, image_id in same}) > 1:
            first, second = ("/".join(parts) for parts, _ in same[:2])
            raise ValueError(f"{self.path}: {photo.path} may be {first} or {second} in `images`; give it in its folder")
        return same[0][1] if same else None


class DetectedPersons(PhotoPersons):
    """Detected boxes with their photos: persons without labels.

    Boxes outside their photo, and boxes whose photo is missing, are reported and skipped. ``area`` is 0.52 of the box
    area, ``annotation_id`` the row of the box in ``detections``.

    Args:
        detections: The boxes.
        annotations_path: COCO-format file with the ``images``.
        image_folder: Folder of the photos.
        skeleton: Joints that are to be predicted.
        report: Called with a sentence for what is skipped; by default a warning.

    Attributes:
        detections: The boxes that are left, in their order.
    """

    def __init__(
        self,
        detections: PhotoBoxes,
        annotations_path: str | Path,
        image_folder: str | Path,
        skeleton: Skeleton,
        *,
        report: Callable[[str], None] | None = None,
    ) -> None:
        photos = PhotoFolder(annotations_path, image_folder)
        names = [f"detection {row}" for row in range(len(detections))]
        image_ids, boxes = detections.image_ids.tolist(), detections.bbox.tolist()
        rows = np.flatnonzero(find_usable(photos, image_ids, boxes, names, report or warnings.warn))
        self.detections = found = detections.select(rows)
        shape, bbox = (len(rows), skeleton.num_keypoints), torch.from_numpy(found.bbox)
        area, ids = AREA_SHARE * bbox[:, 2] * bbox[:, 3], torch.from_numpy(found.image_ids)
        unknown = torch.zeros(*shape, dtype=torch.bool)
        poses = Poses(skeleton, torch.zeros(*shape, 2), unknown, bbox, area, ids, torch.from_numpy(rows))
        super().__init__(photos, poses, np.zeros(shape, np.int64))


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
        chosen = CocoCategory.of_results(path, COCO17, 1 if category is None else category)
        boxes = _read(path, iter_json(path), chosen, min_score, report)
        # Results of `pct predict` say whose they are.
        found = ({**e, "id": e.get("image_id")} for e in iter_json(path) if isinstance(e, dict))
        return replace(boxes, file_names=_name_photos(path, found) or None)
    names = _name_photos(path, iter_json(path, "images"))
    annotations = iter_json(path, "annotations", required=True)
    entries = ({"score": 1.0, **a} if isinstance(a, Mapping) else a for a in annotations)
    boxes = _read(path, entries, find_persons(path, category), min_score, report)
    return replace(boxes, file_names=names or None)


def _read(
    path: Path, entries: Iterable[Any], chosen: CocoCategory, min_score: float, report: Callable[[str], None]
) -> PhotoBoxes:
    """Read the boxes of persons from entries with ``image_id``, ``bbox``, ``score``, ``category_id`` and ``iscrowd``.

    Raises:
        ValueError: If there are entries, and all are of other categories.
    """
    rows: list[tuple[int, list[float], float]] = []
    left_out: Counter[str] = Counter()
    number = -1
    for number, entry in enumerate(entries):
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
        ids = sorted(chosen.category_ids or ())
        names = (f"category {chosen.names[i]} (id {i})" if i in chosen.names else f"category {i}" for i in ids)
        persons = ", ".join(names) or "of any category"
        raise ValueError(
            f"{path}: none of {number + 1:,} boxes is of a person, {persons} ({shown}); choose another (--category)"
        )
    if left_out:
        report(f"{path}: left out {left_out.total():,} boxes ({shown})")
    return PhotoBoxes(
        path,
        image_ids=np.array([image_id for image_id, _, _ in rows], np.int64),
        bbox=np.array([bbox for _, bbox, _ in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, _, score in rows], np.float32),
    )


def _name_photos(path: Path, images: Iterable[Any]) -> dict[Parts, int]:
    """Return image ids by file name; refuse a name of two images, and an image of two names."""
    ids: dict[Parts, int] = {}
    names: dict[int, Parts] = {}
    for image in images:
        named = isinstance(image, dict) and isinstance(image.get("file_name"), str)
        if not (named and type(image.get("id")) is int):
            continue
        name, image_id = _parts(image["file_name"]), image["id"]
        first = ids.setdefault(name, image_id)
        if first != image_id:
            raise ValueError(f"{path}: images {first} and {image_id} have the same file_name {'/'.join(name)!r}")
        # `val/a.jpg` and `a.JPG` are two spellings of one name.
        short, long = sorted((_small_ending(name), _small_ending(names.setdefault(image_id, name))), key=len)
        if long[len(long) - len(short) :] != short:
            others = f"{'/'.join(names[image_id])!r} and {'/'.join(name)!r}"
            raise ValueError(f"{path}: {others} have the same image id {image_id}")
    return ids


def _find_fault(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return f"{str(entry)[:40]!r} is not a detection; expected an object with image_id, category_id, bbox, score"
    bbox, score = entry.get("bbox"), entry.get("score")
    fault = find_bad_id("image_id", entry.get("image_id"))
    if fault is not None:
        return fault
    if type(entry.get("category_id", 1)) is not int:
        return f"category_id is {repr(entry['category_id'])[:40]}; it must be an integer"
    if bbox is None or not are_numbers(bbox, 4):
        return f"bbox is {str(bbox)[:80]}; it must be 4 finite numbers (x, y, width, height) below {LARGEST_PIXEL:.0f}"
    if not (bbox[2] > 0 and bbox[3] > 0):
        return f"bbox is {bbox!r}; width and height must be positive"
    if max(map(abs, bbox)) <= 1 and any(value != round(value) for value in bbox):
        return f"bbox is {bbox!r}, shares of the image; multiply them by its width and height"
    if not are_numbers(score):
        return f"score is {repr(score)[:40]}; it must be a finite number"
    return None


def _parts(path: str) -> Parts:
    """Return the parts of a path of any system, in one form of Unicode and without a leading slash."""
    parts = PurePosixPath(unicodedata.normalize("NFC", path).replace("\\", "/")).parts
    return parts[1:] if parts[:1] == ("/",) else parts


def _small_ending(parts: Parts) -> Parts:
    stem, dot, ending = parts[-1].rpartition(".") if parts else ("", "", "")
    return (*parts[:-1], stem + dot + ending.lower())
