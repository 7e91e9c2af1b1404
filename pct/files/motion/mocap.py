"""Motion capture: clips of 3D poses from an .npz file, split by clip or subject, and completed to whole bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pct.files.motion.checks import find_wrong_unit
from pct.files.npz import NpzReader, check_shapes
from pct.people.kinematics import BODY_POINTS, HEAD_PLACES
from pct.skeleton import H36M17

# The file's short names of Human3.6M's joints, in the order of the built-in skeleton.
JOINT_NAMES = (
    "hip", "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "spine", "thorax",
    "neck_nose", "head", "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist",
)  # fmt: skip
# Lengths that mocap does not have, against bones that it has (Drillis and Contini, as in pct.people.kinematics).
_HAND_OF_FOREARM, _FOOT_OF_SHANK, _SKULL_OF_THIGH = 0.63, 0.52, 0.52
# A knee bent by less than the angle with this sine does not tell where the shank's front is.
_BENT = 0.35


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


def complete_bodies(joints: np.ndarray) -> np.ndarray:
    """Add face, hands and feet to poses of Human3.6M's 17 joints.

    The face looks where the chest does, along the head; hands go on from the forearms; feet stand on the shanks in
    the direction that a bent knee tells, else in that of the pelvis.

    Args:
        joints: (N, 17, 3) in millimetres, y up.

    Returns:
        The :data:`pct.people.kinematics.BODY_POINTS` (N, P, 3), float64: as the joints, but with the lowest point at
        y = 0 and the pelvis at x = z = 0, like generated bodies.
    """
    p = {name: joints[:, i].astype(np.float64) for i, name in enumerate(H36M17.keypoint_names)}
    p["pelvis"], p["upper_neck"] = p.pop("hip"), p.pop("neck_nose")
    p["neck"] = (p["thorax"] + p["upper_neck"]) / 2
    thigh = (_length(p["left_knee"] - p["left_hip"]) + _length(p["right_knee"] - p["right_hip"])) / 2
    head = _frame(p["left_shoulder"] - p["right_shoulder"], p["head"] - p["upper_neck"])
    for name, place in HEAD_PLACES.items():
        if name == "head":
            continue
        p[name] = p["upper_neck"] + _SKULL_OF_THIGH * thigh * (head @ np.array(place))
    hips = _frame(p["left_hip"] - p["right_hip"], p["spine"] - p["pelvis"])
    for side in ("left", "right"):
        wrist, shank = p[f"{side}_wrist"], p[f"{side}_ankle"] - p[f"{side}_knee"]
        p[f"{side}_hand"] = wrist + _HAND_OF_FOREARM * (wrist - p[f"{side}_elbow"])
        front = _front_of_shank(p[f"{side}_knee"] - p[f"{side}_hip"], shank, hips)
        foot = 0.35 * _unit(shank) + 0.93 * front
        p[f"{side}_foot"] = p[f"{side}_ankle"] + _FOOT_OF_SHANK * _length(shank) * foot
    bodies = np.stack([p[name] for name in BODY_POINTS], axis=1)
    origin = bodies[:, :1] * (1.0, 0.0, 1.0)
    origin[..., 1] = bodies[:, :, 1].min(axis=1, keepdims=True)
    return bodies - origin


def _front_of_shank(thigh: np.ndarray, shank: np.ndarray, hips: np.ndarray) -> np.ndarray:
    """Return unit vectors (N, 3) across shanks to their front."""
    along = _unit(shank)
    # Knees bend backwards: what of the thigh is across the shank points to its front.
    thigh = _unit(thigh)
    told = thigh - (thigh * along).sum(axis=1, keepdims=True) * along
    # The pelvis's front, turned on the shortest way that brings its downward axis to the shank.
    down, ahead = -hips[:, :, 1], hips[:, :, 2]
    axis = np.cross(down, along)
    closeness = np.maximum(1.0 + (down * along).sum(axis=1, keepdims=True), 0.05)
    turned = ahead + np.cross(axis, ahead) + np.cross(axis, np.cross(axis, ahead)) / closeness
    front = told + np.maximum(_BENT - _length(told), 0.0) * turned
    return _unit(front - (front * along).sum(axis=1, keepdims=True) * along)


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


def _frame(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return axes (N, 3, 3) as columns left, up, forward; ``up`` is kept, ``left`` made square to it."""
    up = _unit(up)
    left = _unit(left - (left * up).sum(axis=1, keepdims=True) * up)
    return np.stack([left, up, np.cross(left, up)], axis=2)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=1, keepdims=True))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(_length(vectors), 1e-6)
