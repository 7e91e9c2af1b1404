"""Motion capture: clips of 3D poses from an .npz file, split by subject and clip and never by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pct.files.motion.checks import check_unit
from pct.files.npz import NpzError, NpzReader
from pct.poses import Poses
from pct.skeleton import H36M17

# The file's short names of Human3.6M's joints, in the order of the built-in skeleton.
JOINT_NAMES = (
    "hip", "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "spine", "thorax",
    "neck_nose", "head", "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist",
)  # fmt: skip
# From y up, as mocap has it, to the axes of an upright camera that looks along the world's -z: x right, y down, z away.
UPRIGHT = np.array([1.0, -1.0, -1.0], np.float32)


def load_mocap(path: str | Path) -> Poses:
    """Read clips of Human3.6M's 17 joints, every frame as an upright camera with the world's x to its right has it.

    The ``.npz`` file holds ``joints`` (F, 17, 3) in millimetres, y up, right-handed, of all clips; ``clip_start``
    (C + 1,): clip c is ``joints[clip_start[c]:clip_start[c + 1]]``; ``clip_id``, ``subject_id``, ``action``, ``source``
    (C,), ``fps``, and ``joint_names`` (17,).

    Raises:
        ValueError: If the file is missing, broken, has other joints, or its numbers cannot be people in millimetres.
    """
    texts = {f"text:{name}": ("clips",) for name in ("clip_id", "subject_id", "action", "source")}
    with NpzReader(path) as file:
        arrays = file.arrays(
            {"joints": ("frames", 17, 3), "clip_start": ("starts",), "text:joint_names": (17,), **texts}
        )
        fps = file.array("fps")
    names = tuple(map(str, arrays["joint_names"]))
    if names != JOINT_NAMES:
        raise NpzError(f"{path}: its joints are {', '.join(names)}; expected {', '.join(JOINT_NAMES)}")
    if fps.size != 1 or fps.dtype.kind not in "biuf" or not (fps > 0).all():
        raise NpzError(f"{path}: fps is {fps}; it must be a positive number")
    start, joints = arrays["clip_start"].astype(np.int64), arrays["joints"].astype(np.float32)
    check_clips(path, start, len(arrays["clip_id"]), len(joints))
    keypoints, visible = torch.from_numpy(joints * UPRIGHT), torch.ones(joints.shape[:2], dtype=torch.bool)
    check_unit(keypoints, visible, H36M17, path)
    index = torch.from_numpy(np.repeat(np.arange(len(start) - 1), np.diff(start)))
    ids, subjects, actions, _ = (tuple(map(str, arrays[name.removeprefix("text:")])) for name in texts)
    return Poses(H36M17, keypoints, visible, clip_index=index, clip_ids=ids, subject_ids=subjects, actions=actions)


def check_clips(path: str | Path, start: np.ndarray, clips: int, frames: int) -> None:
    """Check where the clips of a file start, with the end of the last one (C + 1,).

    Raises:
        NpzError: If there is no frame, or these are not the starts of so many clips.
    """
    if len(start) != clips + 1:
        raise NpzError(f"{path}: clip_start has {len(start)} numbers for {clips} clips; it must have one more")
    if not frames or start[0] != 0 or start[-1] != frames or (np.diff(start) < 0).any():
        raise NpzError(f"{path}: clip_start must rise from 0 to {frames}, the number of frames, at least 1")


@dataclass(frozen=True)
class MocapSplit:
    """Clips to learn from, to choose settings with, and to measure on; no clip is in two."""

    train: Poses
    val: Poses
    test: Poses


def split_mocap(
    poses: Poses,
    test_subjects: Sequence[str] = ("cmu06", "cmu07"),
    test_share: float = 0.2,
    val_share: float = 0.1,
    seed: int = 0,
) -> MocapSplit:
    """Split clips three ways: test has whole subjects and, of every other subject, a share of the clips.

    Args:
        poses: The frames of all clips.
        test_subjects: Subjects of whom all clips are test clips.
        test_share: Share of the clips of each other subject that are test clips.
        val_share: The same for validation.
        seed: Of the choice of clips.

    Raises:
        ValueError: If a subject is not there, a share is out of range, or a part would be empty.
    """
    subjects = sorted(set(poses.subject_ids))
    unknown = sorted(set(test_subjects) - set(subjects))
    if unknown:
        raise ValueError(f"test_subjects: no subject {', '.join(unknown)}; there are {', '.join(subjects)}")
    if not (0 <= test_share < 1 and 0 <= val_share < 1 and test_share + val_share < 1):
        raise ValueError(f"test_share {test_share} and val_share {val_share} must be shares with a sum below 1")
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    rng = np.random.default_rng(seed)
    for subject in subjects:
        own = np.array([c for c, s in enumerate(poses.subject_ids) if s == subject])
        if subject not in test_subjects:
            own = own[rng.permutation(len(own))]
        first, second = (round(share * len(own)) for share in (test_share, test_share + val_share))
        cuts = [len(own)] if subject in test_subjects else [first, second]
        for name, rows in zip(("test", "val", "train"), np.split(own, cuts), strict=False):
            parts[name].extend(rows.tolist())
    empty = [name for name, rows in parts.items() if not rows]
    if empty:
        number = len(poses.clip_ids)
        raise ValueError(f"no clip left for {', '.join(empty)}: {number} clips are too few for these shares")
    return MocapSplit(**{name: _select_clips(poses, sorted(clips)) for name, clips in parts.items()})


def _select_clips(poses: Poses, clips: list[int]) -> Poses:
    """Return the frames of some clips, given in their order, which are numbered anew."""
    chosen = poses.select(torch.isin(poses.clip_index, torch.tensor(clips)))
    ids, subjects, actions = (
        tuple(names[c] for c in clips) for names in (poses.clip_ids, poses.subject_ids, poses.actions)
    )
    index = torch.searchsorted(torch.tensor(clips), chosen.clip_index)
    return replace(chosen, clip_index=index, clip_ids=ids, subject_ids=subjects, actions=actions)
