"""BodyTable: 3D poses of people as tensors, from mocap or generated, split by subject and clip and never by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pct.files.motion.mocap import MocapClips
from pct.people.kinematics import generate_bodies
from pct.people.poses import body_joints
from pct.skeleton import H36M17, Skeleton

# From y up to the axes of an upright camera that looks along the world's -z: x right, y down, z forward.
_UPRIGHT = (1.0, -1.0, -1.0)
_CHUNK = 8192


@dataclass(frozen=True)
class BodyTable:
    """N 3D poses of one skeleton.

    Attributes:
        skeleton: Whose joints they have.
        keypoints: Joints (N, K, 3) float32 in millimetres, in the axes of an upright camera: x right, y down, z
            forward. Where the origin is does not matter.
        visible: True where the joint is known (N, K).
        clip_index: Clip of each pose (N,), int64: a row of the tuples below.
        clip_ids: Name of each clip.
        subject_ids: Who is seen in each clip.
        actions: What they do in each clip.
    """

    skeleton: Skeleton
    keypoints: Tensor
    visible: Tensor
    clip_index: Tensor
    clip_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    actions: tuple[str, ...]

    def __post_init__(self) -> None:
        n, k = len(self.keypoints), self.skeleton.num_keypoints
        shapes = {"keypoints": (n, k, 3), "visible": (n, k), "clip_index": (n,)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(
                    f"{name} must have shape {shape} for skeleton {self.skeleton.name}; "
                    f"got {tuple(getattr(self, name).shape)}"
                )
        if not len(self.clip_ids) == len(self.subject_ids) == len(self.actions):
            raise ValueError(
                f"{len(self.clip_ids)} clips, {len(self.subject_ids)} subjects and {len(self.actions)} actions; "
                "each clip has one of each"
            )
        if n and not 0 <= int(self.clip_index.min()) <= int(self.clip_index.max()) < len(self.clip_ids):
            raise ValueError(f"clip_index must be from 0 to {len(self.clip_ids) - 1}")

    def __len__(self) -> int:
        return len(self.keypoints)

    def select(self, rows: Tensor) -> BodyTable:
        """Return the poses of ``rows``: indices, or a mask (N,); the list of clips stays."""
        return replace(
            self, keypoints=self.keypoints[rows], visible=self.visible[rows], clip_index=self.clip_index[rows]
        )

    def roots(self, root: int = 0) -> Tensor:
        """Return the position (N, 3) of a joint in millimetres."""
        return self.keypoints[:, root]

    @classmethod
    def from_mocap(cls, clips: MocapClips) -> BodyTable:
        """Take every frame of mocap clips, as an upright camera with the world's x to its right has it."""
        lengths = np.diff(clips.clip_start)
        return cls(
            skeleton=H36M17,
            keypoints=torch.from_numpy(clips.joints) * torch.tensor(_UPRIGHT),
            visible=torch.ones(clips.joints.shape[:2], dtype=torch.bool),
            clip_index=torch.from_numpy(np.repeat(np.arange(clips.num_clips), lengths)),
            clip_ids=clips.clip_ids,
            subject_ids=clips.subject_ids,
            actions=clips.actions,
        )

    @classmethod
    def generated(cls, n: int, skeleton: Skeleton = H36M17, seed: int = 0) -> BodyTable:
        """Generate poses (one clip, subject and action, all named ``generated``).

        Raises:
            ValueError: If ``n`` is not positive, or a joint is none that generated bodies have.
        """
        if n < 1:
            raise ValueError(f"the number of generated bodies must be positive, got {n}")
        joints = body_joints(skeleton)
        generator = torch.Generator().manual_seed(seed)
        chunks = [generate_bodies(_CHUNK, generator)[:, joints] for _ in range(-(-n // _CHUNK))]
        keypoints = torch.cat(chunks)[:n] * torch.tensor(_UPRIGHT)
        return cls(
            skeleton=skeleton,
            keypoints=keypoints,
            visible=torch.ones(keypoints.shape[:2], dtype=torch.bool),
            clip_index=torch.zeros(n, dtype=torch.int64),
            clip_ids=("generated",),
            subject_ids=("generated",),
            actions=("generated",),
        )

    @classmethod
    def concatenate(cls, tables: Sequence[BodyTable]) -> BodyTable:
        """Put tables of one skeleton, and their clips, one after the other.

        Raises:
            ValueError: If there is no table or their skeletons differ.
        """
        if not tables:
            raise ValueError("no body tables to concatenate")
        names = {table.skeleton.keypoint_names for table in tables}
        if len(names) > 1:
            raise ValueError(f"body tables have different skeletons: {', '.join(t.skeleton.name for t in tables)}")
        offsets = np.cumsum([0, *(len(table.clip_ids) for table in tables[:-1])])
        return cls(
            skeleton=tables[0].skeleton,
            keypoints=torch.cat([t.keypoints for t in tables]),
            visible=torch.cat([t.visible for t in tables]),
            clip_index=torch.cat([t.clip_index + int(o) for t, o in zip(tables, offsets, strict=True)]),
            clip_ids=tuple(c for t in tables for c in t.clip_ids),
            subject_ids=tuple(s for t in tables for s in t.subject_ids),
            actions=tuple(a for t in tables for a in t.actions),
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
