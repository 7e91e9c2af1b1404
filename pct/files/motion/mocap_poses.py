"""Mocap as poses that an upright camera sees, split by subject and clip and never by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pct.files.motion.mocap import MocapClips
from pct.poses import Poses
from pct.skeleton import H36M17

# From y up to the axes of an upright camera that looks along the world's -z: x right, y down, z forward.
_UPRIGHT = (1.0, -1.0, -1.0)


def mocap_poses(clips: MocapClips) -> Poses:
    """Take every frame of mocap clips, as an upright camera with the world's x to its right has it."""
    lengths = np.diff(clips.clip_start)
    return Poses(
        skeleton=H36M17,
        keypoints=torch.from_numpy(clips.joints) * torch.tensor(_UPRIGHT),
        visible=torch.ones(clips.joints.shape[:2], dtype=torch.bool),
        clip_index=torch.from_numpy(np.repeat(np.arange(clips.num_clips), lengths)),
        clip_ids=clips.clip_ids,
        subject_ids=clips.subject_ids,
        actions=clips.actions,
    )


@dataclass(frozen=True)
class MocapSplit:
    """Clips to learn from, to choose settings with, and to measure on; no clip is in two."""

    train: MocapClips
    val: MocapClips
    test: MocapClips


def split_mocap(
    clips: MocapClips,
    test_subjects: Sequence[str] = ("cmu06", "cmu07"),
    test_share: float = 0.2,
    val_share: float = 0.1,
    seed: int = 0,
) -> MocapSplit:
    """Split clips three ways: test has whole subjects and, of every other subject, a share of the clips.

    Args:
        clips: The clips.
        test_subjects: Subjects of whom all clips are test clips.
        test_share: Share of the clips of each other subject that are test clips.
        val_share: The same for validation.
        seed: Of the choice of clips.

    Raises:
        ValueError: If a subject is not there, a share is out of range, or a part would be empty.
    """
    unknown = sorted(set(test_subjects) - set(clips.subject_ids))
    if unknown:
        raise ValueError(
            f"test_subjects: no subject {', '.join(unknown)}; there are {', '.join(sorted(set(clips.subject_ids)))}"
        )
    if not (0 <= test_share < 1 and 0 <= val_share < 1 and test_share + val_share < 1):
        raise ValueError(f"test_share {test_share} and val_share {val_share} must be shares with a sum below 1")
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    rng = np.random.default_rng(seed)
    for subject in sorted(set(clips.subject_ids)):
        own = np.array([c for c, s in enumerate(clips.subject_ids) if s == subject])
        if subject in test_subjects:
            parts["test"].extend(own.tolist())
            continue
        order = own[rng.permutation(len(own))]
        first, second = round(test_share * len(own)), round((test_share + val_share) * len(own))
        for name, rows in (("test", order[:first]), ("val", order[first:second]), ("train", order[second:])):
            parts[name].extend(rows.tolist())
    empty = [name for name, rows in parts.items() if not rows]
    if empty:
        raise ValueError(f"no clip left for {', '.join(empty)}: {clips.num_clips} clips are too few for these shares")
    return MocapSplit(**{name: clips.select(sorted(rows)) for name, rows in parts.items()})
