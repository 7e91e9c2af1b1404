"""Files of 3D poses (npz, mocap npz) as a stream of checked batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pct.files.coco_categories import explain_mismatch
from pct.files.motion.checks import check_bodies, find_odd_axes, find_wrong_unit
from pct.files.motion.mocap import JOINT_NAMES
from pct.files.npz import NpzReader
from pct.files.pose_checks import PoseBatch, note_repeated_ids
from pct.files.pose_files import (
    PoseFileError,
    check_pose_file,
    is_mocap,
    number_array,
    read_arrays,
    read_names,
)
from pct.skeleton import H36M17, Skeleton

_ARRAYS = ("keypoints", "visible", "image_ids", "annotation_ids")
# Arrays of 2D files that mean nothing here, but are no mistakes either.
_UNUSED = ("bbox", "area", "keypoint_names")
# From y up, as mocap has it, to the axes of an upright camera: x right, y down, z away.
_UPRIGHT = np.array([1.0, -1.0, -1.0])


def read_bodies(path: str | Path, skeleton: Skeleton, root: int = 0, batch_size: int = 4096) -> Iterator[PoseBatch]:
    """Yield the 3D poses of a file in order, at most ``batch_size`` at a time, whatever the length of the file.

    - ``.npz`` with ``keypoints`` (N, K, 3) in millimetres, x right, y down, z away, the origin anywhere;
      and if given ``visible`` (N, K), ``image_ids`` (N,), ``annotation_ids`` (N,), ``keypoint_names`` (K,).
    - ``.npz`` in the layout of :class:`pct.files.motion.mocap.MocapClips`: ``joints`` (N, 17, 3) in millimetres, y up,
      are brought into those axes. Image ids are the clips' rows, annotation ids the frames' rows.

    The first batch tells the unit, and whether left and right are swapped; the latter is only noted.

    Args:
        path: The file.
        skeleton: Joints that it must have.
        root: The joint at the origin of the model's poses; every pose needs it.
        batch_size: Poses at a time.

    Raises:
        PoseFileError: If the file cannot be used as a whole: no 3D poses, other joints, another unit.
        ValueError: If the file is missing, malformed, truncated or pickled.
    """
    path = check_pose_file(path)
    if path.suffix.lower() != ".npz":
        raise PoseFileError(
            f"{path}: a {path.suffix} file holds 2D poses, and the model's are 3D; give a .npz with keypoints "
            f"(N, {skeleton.num_keypoints}, 3) in millimetres"
        )
    for number, batch in enumerate(note_repeated_ids(_read(path, skeleton, root, batch_size))):
        keypoints, visible = batch.poses.keypoints, batch.poses.visible
        wrong = find_wrong_unit(keypoints, visible, skeleton)
        if wrong is not None:
            raise PoseFileError(f"{path}: {wrong}")
        yield batch if number else replace(batch, notes=tuple(find_odd_axes(keypoints, visible, skeleton)))


def _read(path: Path, skeleton: Skeleton, root: int, batch_size: int) -> Iterator[PoseBatch]:
    with NpzReader(path) as file:
        if is_mocap(file):
            pieces = _read_mocap(file, skeleton, batch_size)
        else:
            pieces = read_arrays(file, skeleton, 3, _ARRAYS, batch_size, _UNUSED)
        for start, values in pieces:
            n, k = values["keypoints"].shape[:2]
            rows = np.arange(start, start + n)
            yield check_bodies(
                [f"row {row}" for row in rows.tolist()],
                values["keypoints"],
                values.get("visible", np.ones((n, k))),
                (values.get("image_ids", rows), values.get("annotation_ids", rows)),
                skeleton,
                root,
            )


def _read_mocap(file: NpzReader, skeleton: Skeleton, batch_size: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    path = file.path
    names = read_names(file, "joint_names")
    if names != JOINT_NAMES or skeleton.keypoint_names != H36M17.keypoint_names:
        raise PoseFileError(explain_mismatch(path, "array 'joint_names'", names, skeleton))
    found = file.shape("joints")
    if len(found) != 3 or found[1:] != (17, 3) or not found[0]:
        raise PoseFileError(f"{path}: joints have shape {found}; expected (N, 17, 3) in millimetres")
    starts = np.concatenate([number_array(path, "clip_start", part) for part in file.rows("clip_start", 4096)])
    start = 0
    for joints in file.rows("joints", batch_size):
        rows = np.arange(start, start + len(joints))
        clips = np.searchsorted(starts, rows, side="right") - 1
        yield start, {"keypoints": number_array(path, "joints", joints) * _UPRIGHT, "image_ids": clips}
        start += len(joints)
