"""Checks of 3D poses: the unit told from bone lengths, swapped sides from how knees bend, and bad poses one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pct.data.pose_checks import Fault, PoseBatch
from pct.data.poses import PoseTable
from pct.skeleton import Skeleton

# Millimetres: the median longest bone of people is a thigh or a trunk.
_LONGEST_BONE = (150.0, 1000.0)
# No person has a bone longer than this; a whole file may still have the right unit.
_NO_BONE = 2000.0
_LARGEST = 1e6
# Fewer bent legs than this do not tell left from right.
_LEAST_LEGS = 8
_UNITS = {"metres": 1000.0, "centimetres": 10.0, "micrometres": 0.001}


def check_bodies(
    where: Sequence[str],
    keypoints: np.ndarray,
    visibility: np.ndarray,
    ids: tuple[np.ndarray, np.ndarray],
    skeleton: Skeleton,
    root: int,
) -> PoseBatch:
    """Separate good 3D poses from bad ones.

    A pose is bad if its root or no other joint is known, or a known joint is not finite or ends a bone of over two
    metres.

    Args:
        where: What to call each pose in a message.
        keypoints: Joints (B, K, 3) in millimetres, float64.
        visibility: Above 0 where a joint is known (B, K).
        ids: Image and annotation of each pose (B,), int64.
        skeleton: Their skeleton.
        root: The joint at the origin of the model's poses.
    """
    visible = visibility > 0
    known = np.where(visible[..., None], keypoints, 0.0)
    faults: list[Fault] = []
    good: list[int] = []
    with np.errstate(invalid="ignore"):
        broken = np.asarray(~(np.abs(known) < _LARGEST).all(axis=-1))
    too_long = np.nan_to_num(bone_lengths(known, visible & ~broken, skeleton)) > _NO_BONE
    for row, name in enumerate(where):
        fault = _find_fault(name, keypoints[row], visible[row], broken[row], too_long[row], skeleton, root)
        if fault is None:
            good.append(row)
        else:
            faults.append(fault)
    rows = np.array(good, dtype=np.int64)
    unknown = torch.full((len(rows), 5), torch.nan)
    poses = PoseTable(
        skeleton=skeleton,
        keypoints=torch.from_numpy(known[rows].astype(np.float32)),
        visible=torch.from_numpy(visible[rows]),
        bbox=unknown[:, :4],
        area=unknown[:, 4],
        image_ids=torch.from_numpy(ids[0][rows]),
        annotation_ids=torch.from_numpy(ids[1][rows]),
    )
    return PoseBatch(poses, tuple(faults))


def bone_lengths(keypoints: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the length of each bone (B, E) of joints (B, K, 3), NaN where an end is not ``visible`` (B, K)."""
    a, b = np.array(skeleton.edges, dtype=np.int64).reshape(-1, 2).T
    with np.errstate(invalid="ignore"):
        lengths = np.linalg.norm(keypoints[:, a] - keypoints[:, b], axis=-1)
    return np.where(visible[:, a] & visible[:, b], lengths, np.nan)


def find_wrong_unit(keypoints: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> str | None:
    """Find that poses (B, K, 3) cannot be people in millimetres, and say what they are in the likely unit.

    Poses with less than half of their bones known do not count; without any other there is nothing to tell from.
    """
    lengths = bone_lengths(keypoints, visible, skeleton)
    lengths = lengths[np.isfinite(lengths).sum(axis=1) * 2 > len(skeleton.edges)]
    if not lengths.size:
        return None
    longest = float(np.median(np.nanmax(lengths, axis=1)))
    low, high = _LONGEST_BONE
    if low <= longest <= high:
        return None
    likely = next((name for name, factor in _UNITS.items() if low <= longest * factor <= high), "metres")
    return (
        f"the longest bones are {longest:.3g} long: read as millimetres nobody's, read as {likely} "
        f"{longest * _UNITS[likely]:.3g} mm; expected millimetres, longest bones of {low:.0f} to {high:.0f}"
    )


def find_odd_axes(keypoints: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> list[str]:
    """Find signs that sides are swapped or an axis points the other way in poses (B, K, 3), x right, y down, z away.

    Most people hold their trunk up, and knees bend backwards: what of the thigh is across the shank points to the side
    where the hips face, if left is left. Skeletons without such joints, and poses in which too few knees are bent, tell
    nothing.
    """
    names = {name: joint for joint, name in enumerate(skeleton.keypoint_names)}
    top = next((names[n] for n in ("thorax", "neck", "neck_nose", "head") if n in names), None)
    legs = [[f"{side}_{part}" for part in ("hip", "knee", "ankle")] for side in ("left", "right")]
    if top is None or not all(n in names for leg in legs for n in leg):
        return []
    hips = [names["left_hip"], names["right_hip"]]
    joints = [top, *(names[n] for leg in legs for n in leg)]
    x = keypoints[visible[:, joints].all(axis=1)].astype(np.float64)
    trunk = x[:, top] - x[:, hips].mean(axis=1)
    notes = []
    upside_down = float((trunk[:, 1] > 0).mean()) if len(x) else 0.0
    if len(x) >= _LEAST_LEGS and upside_down > 0.5:
        notes.append(f"{upside_down:.0%} of the poses stand on their heads: y must point down")
    front = np.cross(x[:, hips[0]] - x[:, hips[1]], trunk)
    bends = []
    for hip, knee, ankle in ([names[n] for n in leg] for leg in legs):
        thigh, shank = x[:, knee] - x[:, hip], x[:, ankle] - x[:, knee]
        along = shank / np.maximum(np.linalg.norm(shank, axis=1, keepdims=True), 1e-9)
        across = thigh - (thigh * along).sum(axis=1, keepdims=True) * along
        bent = np.linalg.norm(across, axis=1) > 0.35 * np.linalg.norm(thigh, axis=1)
        bends.append((across * front).sum(axis=1)[bent] > 0)
    forward = np.concatenate(bends)
    if len(forward) >= _LEAST_LEGS and forward.mean() < 0.3:
        notes.append(
            f"{1 - forward.mean():.0%} of the bent knees bend forwards: left and right seem to be swapped, "
            "or an axis mirrored"
        )
    return notes


def _find_fault(
    where: str,
    keypoints: np.ndarray,
    visible: np.ndarray,
    broken: np.ndarray,
    too_long: np.ndarray,
    skeleton: Skeleton,
    root: int,
) -> Fault | None:
    names = skeleton.keypoint_names
    if broken.any():
        joint = int(np.argmax(broken))
        sentence = (
            f"joint {names[joint]} is {keypoints[joint].tolist()}; known joints must be finite millimetres below "
            f"{_LARGEST:.0f} (or not visible, to have them filled in)"
        )
        return Fault(where, "coordinates not finite", sentence)
    if not visible[root]:
        sentence = f"joint {names[root]}, the origin of the model's poses, is not known"
        return Fault(where, "no root joint", sentence)
    if visible.sum() < 2:
        sentence = f"no joint but {names[root]} is known, so there is nothing to encode"
        return Fault(where, "no visible joint", sentence)
    if too_long.any():
        a, b = skeleton.edges[int(np.argmax(too_long))]
        sentence = f"the bone from {names[a]} to {names[b]} is over {_NO_BONE:.0f} mm long; nobody has such a one"
        return Fault(where, "bone too long", sentence)
    return None
