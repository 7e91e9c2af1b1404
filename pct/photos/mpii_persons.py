"""MPII's persons with their photos: a source of person photos with head sizes for PCKh."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from pct.files.mpii import load_mpii_poses
from pct.files.photo import read_photo
from pct.files.photo_folder import locate_photo
from pct.photos.persons import PersonPhoto
from pct.skeleton import MPII16, Skeleton

# Persons of one photo follow each other in MPII's files.
_DECODED = 4


class MpiiPersons:
    """The persons of an MPII file with photos, a :class:`~pct.photos.persons.PersonSource` in file order.

    Persons whose photo is missing are reported and skipped. MPII's JSON layout does not say which joints are hidden:
    all that are annotated count as seen (visibility 2).

    Args:
        path: MPII annotations in the JSON layout; see :func:`pct.files.mpii.load_mpii_poses`.
        image_folder: Folder of the photos.
        report: Called with a sentence for what is skipped; by default a warning.

    Attributes:
        skeleton: MPII's 16 joints.
        poses: Labels of the persons that are left.
        head_size: Head length (N,) in pixels, the normaliser of PCKh; NaN where the file has none.

    Raises:
        ValueError: If the file is not such a file, or no person has a photo.
    """

    skeleton: Skeleton = MPII16

    def __init__(
        self, path: str | Path, image_folder: str | Path, *, report: Callable[[str], None] | None = None
    ) -> None:
        found, folder = load_mpii_poses(path, report), Path(image_folder)
        self._paths = [locate_photo(folder, name) for name in found.image_names]
        there = torch.tensor([photo.is_file() for photo in self._paths])
        rows = there[found.table.image_ids]
        if not rows.any():
            raise ValueError(f"{path}: none of its {len(self._paths)} photos is in {folder}")
        if not there.all():
            missing = [photo.name for photo in self._paths if not photo.is_file()]
            listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            lost = int((~rows).sum())
            sentence = f"{folder}: {len(missing)} photos are missing ({listed}); their {lost} persons are skipped"
            (report or warnings.warn)(sentence)
        self.poses = found.table.select(rows)
        self.head_size = found.head_size[rows]
        self._read = lru_cache(_DECODED)(read_photo)

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> PersonPhoto:
        poses, image_id = self.poses, int(self.poses.image_ids[index])
        return PersonPhoto(
            image=self._read(self._paths[image_id]),
            bbox=poses.bbox[index].numpy(),
            keypoints=poses.keypoints[index].numpy(),
            visibility=np.where(poses.visible[index].numpy(), 2, 0).astype(np.int64),
            area=float(poses.area[index]),
            image_id=image_id,
            annotation_id=int(poses.annotation_ids[index]),
        )
