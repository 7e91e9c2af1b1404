"""Persons on photos: what a sample is (PersonPhoto), what gives samples (PersonSource), and those of files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from pct.files.photo_folder import PhotoFolder, find_usable
from pct.files.pose_checks import are_numbers
from pct.files.pose_files import PoseCounts, file_skeleton, join_batches, read_poses, with_areas
from pct.poses import Poses
from pct.skeleton import H36M17, MPII16, Skeleton


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


class PhotoPersons:
    """The persons of a table with their photos, a :class:`PersonSource` in the table's order.

    A photo that turns out to be broken when it is read raises :class:`~pct.files.photo.PhotoError`.

    Attributes:
        photos: Of the persons, by image id.
        poses: Labels of the persons.
        visibility: COCO's labels of their joints (N, K), int64.

    Args:
        photos: The photos.
        poses: The table.
        visibility: The labels.
        keypoints3d: Human3.6M's joints (17, 3) of each person, None where they are not known.
    """

    def __init__(
        self,
        photos: PhotoFolder,
        poses: Poses,
        visibility: np.ndarray,
        keypoints3d: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self.photos, self.poses, self.visibility = photos, poses, visibility
        self._keypoints3d = [None] * len(poses) if keypoints3d is None else keypoints3d

    @property
    def skeleton(self) -> Skeleton:
        """The table's."""
        return self.poses.skeleton

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
            intrinsics=self.photos.intrinsics(image_id),
        )


class CocoPersons(PhotoPersons):
    """The labelled persons of a COCO-format file with its photos, in file order.

    Persons whose photo is missing or whose box lies outside it are reported and skipped.

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
        photos = PhotoFolder(annotations_path, image_folder, cache)
        skeleton = skeleton or file_skeleton(annotations_path, category)
        batches = read_poses(annotations_path, skeleton, category=category, need_names=False)
        found = join_batches(annotations_path, batches, report)
        for sentence in PoseCounts().add(found).say_odd(left_out=True):
            report(f"{annotations_path}: {sentence}")
        poses, persons = found.poses, found.entries
        names = [f"{annotations_path}: annotation {p['id']}" for p in persons]
        image_ids = [p["image_id"] for p in persons]
        usable = find_usable(photos, image_ids, [p["bbox"] for p in persons], names, report)
        labels = np.array([p["keypoints"][2::3] for p in persons], np.float64).reshape(poses.visible.shape)
        # Whatever is neither "not labelled" nor "labelled but hidden" is a joint that is seen.
        visibility = np.where(labels > 0, np.where(labels == 1, 1, 2), 0).astype(np.int64)
        usable &= (visibility > 0).sum(axis=1) >= min_keypoints
        keypoints3d = [_read_keypoints3d(p, name, report) for p, name in zip(persons, names, strict=True)]
        if need_3d:
            cameras = {i for i in set(image_ids) if photos.intrinsics(i) is not None}
            known = np.array([k is not None and i in cameras for k, i in zip(keypoints3d, image_ids, strict=True)])
            if lost := len(known) - int(known.sum()):
                lacking = "have no keypoints3d, or their photo no camera"
                report(f"{annotations_path}: {lost:,} persons {lacking}; they are skipped")
            usable &= known
        if not usable.any():
            wanted = f"a photo in {image_folder} and at least {min_keypoints} labelled joints"
            raise ValueError(f"{annotations_path}: no person with {wanted}{' and 3D joints' if need_3d else ''}")
        kept = np.flatnonzero(usable)
        poses = with_areas(poses.select(torch.from_numpy(kept)))
        super().__init__(photos, poses, visibility[kept], [keypoints3d[row] for row in kept])


class MpiiPersons(PhotoPersons):
    """The persons of an MPII file with photos, in file order.

    Persons whose photo is missing or whose box lies outside it are reported and skipped. MPII's JSON layout does not
    say which joints are hidden: all that are annotated count as seen (visibility 2).

    Args:
        path: MPII annotations in the JSON layout; see :func:`pct.files.mpii.read_mpii`.
        image_folder: Folder of the photos.
        report: Called with a sentence for what is skipped; by default a warning.

    Attributes:
        head_size: Head length (N,) in pixels, the normaliser of PCKh; NaN where the file has none.

    Raises:
        ValueError: If the file is not such a file, or none of its persons is good or has a photo.
    """

    def __init__(
        self, path: str | Path, image_folder: str | Path, *, report: Callable[[str], None] | None = None
    ) -> None:
        found = join_batches(path, read_poses(path, MPII16), report)
        if not len(found.poses):
            raise ValueError(f"{path}: {PoseCounts().add(found).explain_nothing()}")
        poses, names = found.poses, [str(person["image"]) for person in found.entries]
        images = [{"id": i, "file_name": n} for i, n in dict(zip(poses.image_ids.tolist(), names, strict=True)).items()]
        photos = PhotoFolder(path, image_folder, images=images)
        names = [f"{path}: person {row}" for row in poses.annotation_ids.tolist()]
        usable = find_usable(photos, poses.image_ids.tolist(), poses.bbox.tolist(), names, report or warnings.warn)
        if not usable.any():
            raise ValueError(f"{path}: none of its {len(images)} photos is in {image_folder}")
        rows = torch.from_numpy(usable)
        head_size = torch.tensor([person.get("head_size", math.nan) for person in found.entries])
        poses, self.head_size = poses.select(rows), head_size[rows]
        super().__init__(photos, poses, 2 * poses.visible.numpy().astype(np.int64))


def _read_keypoints3d(annotation: Mapping[str, Any], name: str, report: Callable[[str], None]) -> np.ndarray | None:
    """Return Human3.6M's joints (17, 3) of an annotation in camera millimetres; None where not known or bad."""
    values, k = annotation.get("keypoints3d"), H36M17.num_keypoints
    if values is None:
        return None
    if not are_numbers(values, k, 3):
        report(f"{name}: keypoints3d must be {k} joints [x, y, z] of finite millimetres; they are left out")
        return None
    return np.array(values, np.float32)
