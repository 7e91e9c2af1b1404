"""Any labelled keypoint file as a PoseTable: COCO format, or the MPII JSON layout, told apart by how it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pct.data.coco import load_coco_poses
from pct.data.mpii import load_mpii_poses
from pct.data.poses import PoseTable
from pct.skeleton import Skeleton


def is_mpii_file(path: str | Path) -> bool:
    """Whether a JSON file is a list, as MPII's is; a COCO-format file is an object.

    Raises:
        ValueError: If there is no such file.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; expected keypoints in COCO format or in the MPII JSON layout")
    with Path(path).open("rb") as file:
        return file.read(64).lstrip()[:1] == b"["


def load_keypoint_file(
    path: str | Path, skeleton: Skeleton | None = None, report: Callable[[str], None] | None = None
) -> PoseTable:
    """Read the labelled persons of a COCO-format or MPII file.

    Args:
        path: The file.
        skeleton: Joints that the file must have; by default its own.
        report: Called with a sentence for each bad annotation of a COCO-format file, which is then skipped.

    Raises:
        ValueError: If the file is neither, is broken, or has other joints.
    """
    if not is_mpii_file(path):
        return load_coco_poses(path, skeleton, report=report)
    table = load_mpii_poses(path).table
    if skeleton is not None and skeleton.keypoint_names != table.skeleton.keypoint_names:
        raise ValueError(f"{path}: this is a file of skeleton {table.skeleton.name}, but {skeleton.name} is wanted")
    return table
