"""Any labelled keypoint file as Poses: COCO format, or the MPII JSON layout, told apart by how it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pct.files.coco import load_coco_poses
from pct.files.json_stream import is_json_list
from pct.files.mpii import is_mpii_file, load_mpii_poses
from pct.poses import Poses
from pct.skeleton import Skeleton


def load_keypoint_file(
    path: str | Path, skeleton: Skeleton | None = None, report: Callable[[str], None] | None = None
) -> Poses:
    """Read the labelled persons of a COCO-format or MPII file.

    Args:
        path: The file.
        skeleton: Joints that the file must have; by default its own.
        report: Called with a sentence for each bad annotation of a COCO-format file, which is then skipped.

    Raises:
        ValueError: If the file is neither, is broken, or has other joints.
    """
    if not is_mpii_file(path):
        if is_json_list(path):
            raise ValueError(
                f"{path}: these are COCO results, predictions without labels; expected an annotation file in COCO "
                "format, with `categories` and `annotations`, or persons in the MPII JSON layout"
            )
        return load_coco_poses(path, skeleton, report=report)
    table = load_mpii_poses(path).table
    if skeleton is not None and skeleton.keypoint_names != table.skeleton.keypoint_names:
        raise ValueError(f"{path}: this is a file of skeleton {table.skeleton.name}, but {skeleton.name} is wanted")
    return table
