"""Persons on photos: what a sample is (PersonPhoto), what gives samples (PersonSource), and COCO files with photos."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from pct.files.coco3d import read_keypoints3d
from pct.files.coco_categories import CocoCategory, find_category
from pct.files.keypoint_file import with_areas
from pct.files.photo_folder import PhotoFolder, find_usable
from pct.files.pose_checks import notes_of
from pct.files.pose_json import read_annotations
from pct.poses import Poses
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class PersonPhoto:
    """A photo and one person on it.

    Image pixels are counted as in COCO and OpenCV: the centre of the first pixel is (0, 0), x right and y down.

    Attributes:
        image: The photo (H, W, 3), uint8 RGB. It may be shared between persons: not to be written to.
        bbox: Box (4,) as x, y, width, height in image pixels, float32.
        keypoints: Joints (K, 2) in image pixels, float32; 0 where unlabelled.
        visibility: COCO's labels (K,), int64: 0 not labelled, 1 labelled but hidden, 2 labelled and seen.
        area: Segment area in square pixels, the scale of OKS.
        image_id: Of the photo.
        annotation_id: Of the person.
        keypoints3d: Human3.6M's joints (17, 3) in camera millimetres, float32: x right, y down, z away from the
            camera; None where they are not known.
        intrinsics: The camera's fx, fy, cx, cy (4,) in pixels, float32; None where they are not known.
    """

    image: np.ndarray
    bbox: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    area: float
    image_id: int
    annotation_id: int
    keypoints3d: np.ndarray | None = None
    intrinsics: np.ndarray | None = None


class PersonSource(Protocol):
    """Persons by number: the same number always gives the same sample.

    ``__getitem__`` raises :class:`~pct.files.photo.PhotoError` where the person's photo cannot be read.
    """

    @property
    def skeleton(self) -> Skeleton: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> PersonPhoto: ...


class CocoPersons:
    """The labelled persons of a COCO-format file with its photos, a :class:`PersonSource` in file order.

    Persons whose photo is missing or whose box lies outside it are reported and skipped. A photo that turns out to be
    broken when it is read raises :class:`~pct.files.photo.PhotoError`.

    Args:
        annotations_path: COCO-format keypoint file.
        image_folder: Folder of its photos.
        skeleton: Joints of the file; by default those of its keypoint category.
        min_keypoints: Persons with fewer labelled joints are left out.
        report: Called with a sentence for what is skipped; by default a warning.
        cache: Keep encoded photos in memory once read.
        need_3d: Leave out persons without ``keypoints3d``, or on photos without ``camera``, as
            :mod:`pct.people.write` writes them; without it, persons have them where the file does.
        category: Name or id of the only category that is read.

    Raises:
        ValueError: If the file is not such a file, or no person is left.
    """

    def __init__(
        self,
        annotations_path: str | Path,
        image_folder: str | Path,
        skeleton: Skeleton | None = None,
        *,
        min_keypoints: int = 1,
        report: Callable[[str], None] | None = None,
        cache: bool = False,
        need_3d: bool = False,
        category: str | int | None = None,
    ) -> None:
        report = report or warnings.warn
        self.photos = PhotoFolder(annotations_path, image_folder, cache)
        chosen = find_category(annotations_path, skeleton, category)
        poses, persons = _read_persons(annotations_path, chosen, report)
        names = [f"{annotations_path}: annotation {p['id']}" for p in persons]
        image_ids, boxes = [p["image_id"] for p in persons], [p["bbox"] for p in persons]
        usable = find_usable(self.photos, image_ids, boxes, names, report)
        triplets = np.array([p["keypoints"] for p in persons], np.float64)
        triplets = triplets.reshape(len(persons), chosen.skeleton.num_keypoints, 3)
        # Whatever is neither "not labelled" nor "labelled but hidden" is a joint that is seen.
        visibility = np.where(triplets[..., 2] > 0, np.where(triplets[..., 2] == 1, 1, 2), 0).astype(np.int64)
        usable &= (visibility > 0).sum(axis=1) >= min_keypoints
        keypoints3d = [read_keypoints3d(p, name, report) for p, name in zip(persons, names, strict=True)]
        cameras = {i: self.photos.intrinsics(i) for i in set(image_ids)}
        if need_3d:
            known = [k is not None and cameras[i] is not None for k, i in zip(keypoints3d, image_ids, strict=True)]
            usable &= _find_3d(annotations_path, known, report)
        if not usable.any():
            wanted = f"a photo in {image_folder} and at least {min_keypoints} labelled joints"
            raise ValueError(f"{annotations_path}: no person with {wanted}{' and 3D joints' if need_3d else ''}")
        self.skeleton = chosen.skeleton
        self.poses = with_areas(poses.select(torch.from_numpy(usable)))
        self.visibility = visibility[usable]
        self._keypoints3d = [joints for joints, keep in zip(keypoints3d, usable, strict=True) if keep]
        self._cameras = cameras

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> PersonPhoto:
        poses, image_id = self.poses, int(self.poses.image_ids[index])
        return PersonPhoto(
            image=self.photos.read(image_id),
            bbox=poses.bbox[index].numpy(),
            keypoints=poses.keypoints[index].numpy(),
            visibility=self.visibility[index],
            area=float(poses.area[index]),
            image_id=image_id,
            annotation_id=int(poses.annotation_ids[index]),
            keypoints3d=self._keypoints3d[index],
            intrinsics=self._cameras[image_id],
        )


def _read_persons(
    path: str | Path, category: CocoCategory, report: Callable[[str], None]
) -> tuple[Poses, list[Mapping[str, Any]]]:
    """Return the good poses of a file with their annotations."""
    tables, entries, left_out = [], list[Mapping[str, Any]](), Counter[str]()
    for batch in read_annotations(path, category):
        for fault in batch.faults:
            report(f"{path}: {fault}")
        tables.append(batch.poses)
        entries += batch.entries
        left_out += batch.left_out
    for sentence in notes_of({}, left_out):
        report(f"{path}: {sentence}")
    return Poses.concatenate(tables), entries


def _find_3d(path: str | Path, known: Sequence[bool], report: Callable[[str], None]) -> np.ndarray:
    """Return a mask (N,) of the persons whose pose in space and camera are known, and report the number of others."""
    there = np.array(known, bool)
    if not there.all():
        report(f"{path}: {(~there).sum():,} persons have no keypoints3d, or their photo no camera; they are skipped")
    return there
