"""Motion capture: clips of 3D poses from an .npz file, split by clip or subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pct.files.motion.checks import find_wrong_unit
from pct.files.npz import NpzReader, check_shapes
from pct.skeleton import H36M17

# The file's short names of Human3.6M's joints, in the order of the built-in skeleton.
JOINT_NAMES = (
    "hip", "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "spine", "thorax",
    "neck_nose", "head", "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist",
)  # fmt: skip


@dataclass(frozen=True)
class MocapClips:
    """Clips of 3D poses of Human3.6M's 17 joints.

    Attributes:
        joints: (F, 17, 3) float32, world millimetres, y up, right-handed; the frames of all clips.
        clip_start: (C + 1,) int64: clip c is ``joints[clip_start[c]:clip_start[c + 1]]``.
        clip_ids: Name of each clip.
        subject_ids: Who is seen in each clip.
        actions: What they do.
        sources: Where each clip is from.
        fps: Frames a second of all clips.
    """

    joints: np.ndarray
    clip_start: np.ndarray
    clip_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    actions: tuple[str, ...]
    sources: tuple[str, ...]
    fps: float

    @property
    def num_clips(self) -> int:
        """Number of clips C."""
        return len(self.clip_ids)

    def clip(self, index: int) -> np.ndarray:
        """Return the frames (f, 17, 3) of a clip."""
        return self.joints[self.clip_start[index] : self.clip_start[index + 1]]

    def select(self, clips: Sequence[int]) -> MocapClips:
        """Return some of the clips, in the order given.

        Raises:
            ValueError: If there is none, or no such clip.
        """
        bad = [c for c in clips if not 0 <= c < self.num_clips]
        if bad or not clips:
            raise ValueError(f"clips {bad or 'none'} cannot be selected; there are clips 0 to {self.num_clips - 1}")
        parts = [self.clip(c) for c in clips]
        return MocapClips(
            joints=np.concatenate(parts),
            clip_start=np.cumsum([0, *(len(p) for p in parts)]),
            clip_ids=tuple(self.clip_ids[c] for c in clips),
            subject_ids=tuple(self.subject_ids[c] for c in clips),
            actions=tuple(self.actions[c] for c in clips),
            sources=tuple(self.sources[c] for c in clips),
            fps=self.fps,
        )


def load_mocap(path: str | Path) -> MocapClips:
    """Read clips from an ``.npz`` file with the arrays of :class:`MocapClips` and ``joint_names``; never pickles.

    Raises:
        ValueError: If the file is missing, broken, has other joints, or its numbers cannot be people in millimetres.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"mocap file {path} does not exist")
    names = ("joints", "clip_start", "clip_id", "subject_id", "action", "source", "fps", "joint_names")
    with NpzReader(path) as file:
        missing = [n for n in names if n not in file.names]
        if missing:
            raise ValueError(f"mocap file {path}: no array {', '.join(missing)}; the file has {', '.join(file.names)}")
        arrays = {n: file.array(n) for n in names}
    arrays["fps"] = arrays["fps"].reshape(()) if arrays["fps"].size == 1 else arrays["fps"]
    texts_of: dict[str, tuple[object, ...]] = {
        f"text:{name}": ("clips",) for name in ("clip_id", "subject_id", "action", "source")
    }
    shapes = {"joints": ("frames", 17, 3), "clip_start": ("starts",), "fps": (), "text:joint_names": ("joints",)}
    check_shapes(path, arrays, {**shapes, **texts_of})
    joint_names = tuple(str(n) for n in arrays["joint_names"])
    if joint_names != JOINT_NAMES:
        raise ValueError(
            f"mocap file {path}: its joints are {', '.join(joint_names)}; expected {', '.join(JOINT_NAMES)}"
        )
    texts = {n: tuple(str(t) for t in arrays[n]) for n in ("clip_id", "subject_id", "action", "source")}
    clips = MocapClips(
        joints=arrays["joints"].astype(np.float32),
        clip_start=arrays["clip_start"].astype(np.int64),
        clip_ids=texts["clip_id"],
        subject_ids=texts["subject_id"],
        actions=texts["action"],
        sources=texts["source"],
        fps=float(arrays["fps"]),
    )
    fault = _find_fault(clips)
    if fault is not None:
        raise ValueError(f"mocap file {path}: {fault}")
    return clips


def split_by_subject(clips: MocapClips, held_out: Sequence[str]) -> tuple[MocapClips, MocapClips]:
    """Split into the clips of other subjects and those of the subjects held out.

    Raises:
        ValueError: If a subject is not there, or one of the parts would be empty.
    """
    unknown = sorted(set(held_out) - set(clips.subject_ids))
    if unknown:
        raise ValueError(f"no subject {', '.join(unknown)}; there are {', '.join(sorted(set(clips.subject_ids)))}")
    out = [c for c, subject in enumerate(clips.subject_ids) if subject in held_out]
    return clips.select([c for c in range(clips.num_clips) if c not in out]), clips.select(out)


def split_by_clip(clips: MocapClips, share: float, seed: int) -> tuple[MocapClips, MocapClips]:
    """Split at random into clips to learn from and a ``share`` of clips held out (at least one); never by frame.

    Raises:
        ValueError: If ``share`` is not between 0 and 1, or there are fewer than two clips.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of clips held out must be between 0 and 1, got {share}")
    if clips.num_clips < 2:
        raise ValueError("a single clip cannot be split")
    number = min(max(1, round(share * clips.num_clips)), clips.num_clips - 1)
    order = np.random.default_rng(seed).permutation(clips.num_clips)
    return clips.select(sorted(order[number:].tolist())), clips.select(sorted(order[:number].tolist()))


def _find_fault(clips: MocapClips) -> str | None:
    joints, start = clips.joints, clips.clip_start
    if joints.ndim != 3 or joints.shape[1:] != (17, 3) or len(joints) == 0:
        return f"joints have shape {joints.shape}; expected (F, 17, 3)"
    lengths = {len(clips.clip_ids), len(clips.subject_ids), len(clips.actions), len(clips.sources), len(start) - 1}
    if len(lengths) != 1 or not clips.clip_ids:
        return f"its clip arrays disagree about the number of clips: {sorted(lengths)}"
    if start[0] != 0 or start[-1] != len(joints) or (np.diff(start) <= 0).any():
        return f"clip_start must rise from 0 to {len(joints)}"
    if not np.isfinite(joints).all():
        return f"frame {int(np.argwhere(~np.isfinite(joints))[0, 0])} is not finite"
    if not clips.fps > 0:
        return f"fps is {clips.fps}; it must be positive"
    everywhere = torch.ones(joints.shape[:2], dtype=torch.bool)
    return find_wrong_unit(torch.from_numpy(joints).float(), everywhere, H36M17)
