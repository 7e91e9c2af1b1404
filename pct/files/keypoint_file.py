"""Any file of labelled poses as one Poses, for training and evaluation: the same poses that `pct encode` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from pct.files.coco import AREA_SHARE
from pct.files.coco_categories import find_category
from pct.files.json_stream import is_json_list
from pct.files.mpii import is_mpii_file
from pct.files.pose_checks import PoseFileError, notes_of
from pct.files.pose_files import check_pose_file, pose_suffix, read_poses
from pct.poses import Poses
from pct.skeleton import MPII16, Skeleton

Say = Callable[[str], None]


def load_keypoint_file(
    path: str | Path,
    skeleton: Skeleton | None = None,
    report: Say | None = None,
    category: str | int | None = None,
    note: Say | None = None,
) -> Poses:
    """Read the labelled persons of a file of :func:`pct.files.pose_files.read_poses`.

    Where a pose has no area, 0.52 of its box area is taken (the median over COCO's own annotations).

    Args:
        path: The file.
        skeleton: Joints that the file must have; by default its own.
        report: Called with a sentence for each bad pose, which is then skipped; by default it is an error.
        category: Name or id of the only category of a COCO file that is read.
        note: Called with what should be known of the file: what was left out, which joints count as unknown.

    Raises:
        ValueError: If the file is broken, has other joints or no good pose, or are COCO results: no labels.
    """
    path = check_pose_file(path)
    skeleton = _find_skeleton(path, category) if skeleton is None else skeleton
    tables, odd, left_out = [], Counter[str](), Counter[str]()
    if pose_suffix(path) == ".json" and is_json_list(path) and not is_mpii_file(path):
        raise PoseFileError(
            f"{path}: these are COCO results, predictions without labels; expected an annotation file in COCO "
            "format, with `categories` and `annotations`, or persons in the MPII JSON layout"
        )
    for batch in read_poses(path, skeleton, category=category, need_names=False):
        for fault in batch.faults:
            if report is None:
                raise PoseFileError(f"{path}: {fault}")
            report(f"{path}: {fault}")
        tables.append(batch.poses)
        odd, left_out = odd + batch.odd, left_out + batch.left_out
    for sentence in notes_of(odd, left_out):
        (note or (lambda _: None))(f"{path}: {sentence}")
    table = Poses.concatenate(tables)
    if not len(table):
        raise PoseFileError(f"{path}: no person with a labelled joint, so there is nothing to read")
    return with_areas(table)


def with_areas(table: Poses) -> Poses:
    """Return the poses with 0.52 of the box area where the area is not known."""
    box = table.bbox.double()
    return replace(table, area=torch.where(table.area.isnan(), AREA_SHARE * box[:, 2] * box[:, 3], table.area).float())


def _find_skeleton(path: Path, category: str | int | None) -> Skeleton:
    if pose_suffix(path) != ".json":
        raise PoseFileError(f"{path}: the file's skeleton is not known; give one")
    return MPII16 if is_mpii_file(path) else find_category(path, None, category).skeleton
