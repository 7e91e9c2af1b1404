"""A tiny 3D tokenizer, 3D poses and mocap files that several test files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tiny_codec import make_tokenizer

from pct.files.motion.mocap import JOINT_NAMES
from pct.people.kinematics import generate_bodies
from pct.people.poses import body_joints
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17
from pct.tokenizer import PoseTokenizer


def make_tokenizer_3d(seed: int = 0, **changes) -> PoseTokenizer:
    return make_tokenizer(seed, **{"skeleton": H36M17, "space": PoseSpace(kind="root3d"), **changes})


def bodies(count: int, seed: int = 0) -> np.ndarray:
    """Poses (N, 17, 3) float32 in millimetres, y up, standing somewhere in a room."""
    generator = torch.Generator().manual_seed(seed)
    joints = generate_bodies(count, generator)[:, body_joints(H36M17)]
    return (joints + 2000 * torch.rand(count, 1, 3, generator=generator)).float().numpy()


def write_bodies(path: Path, count: int = 12, **changes) -> Path:
    """Write poses in the axes of an upright camera; ``None`` leaves an array out."""
    arrays = {
        "keypoints": bodies(count) * np.array([1, -1, -1], np.float32),
        "visible": np.random.default_rng(0).random((count, 17)) < 0.9,
        "image_ids": np.arange(count) // 3,
        "annotation_ids": np.arange(count) * 10,
        "keypoint_names": np.array(H36M17.keypoint_names),
        **changes,
    }
    if arrays["visible"] is not None:
        arrays["visible"][:, 0] = True
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def write_mocap(
    path: Path,
    lengths=(5, 4, 6, 3, 4, 5),
    joints: np.ndarray | None = None,
    last: tuple[str, str] = ("b", "b"),
    **changes,
) -> Path:
    """Write mocap clips: subject ``a``, of the last two clips others; ``None`` leaves an array out."""
    count, clips = sum(lengths), len(lengths)
    arrays = {
        "joints": bodies(count) if joints is None else joints,
        "clip_start": np.cumsum([0, *lengths]),
        "clip_index": np.repeat(np.arange(clips), lengths).astype(np.int32),
        "clip_id": np.array([f"clip{i}" for i in range(clips)]),
        "subject_id": np.array([*["a"] * (clips - 2), *last]),
        "action": np.array(["walk", "walk, turn", "jump"] * 9)[:clips],
        "source": np.array(["test"] * clips),
        "fps": np.float32(15),
        "joint_names": np.array(JOINT_NAMES),
        **changes,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path
