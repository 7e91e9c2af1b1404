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

    A pose is bad if its root or no other joint is known, or a known joint is not finite or on a bone of over two metres.

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
    with np.errstate(invalid="ignore"):
        broken = ~(np.abs(known) < _LARGEST).all(axis=-1)
    safe = np.where(broken[..., None], 0.0, known)
    too_long = np.nan_to_num(bone_lengths(safe, visible & ~broken, skeleton)) > _NO_BONE
    names, faults = skeleton.keypoint_names, []
    for row in np.flatnonzero(~visible[:, root] | (visible.sum(axis=1) < 2) | broken.any(axis=1) | too_long.any(axis=1)):
        if broken[row].any():
            joint = int(np.argmax(broken[row]))
            sentence = (
                f"joint {names[joint]} is {keypoints[row, joint].tolist()}; known joints must be finite millimetres "
                f"below {_LARGEST:.0f} (or not visible, to have them filled in)"
            )
            faults.append(Fault(where[row], "coordinates not finite", sentence))
        elif not visible[row, root]:
            sentence = f"joint {names[root]}, the origin of the model's poses, is not known"
            faults.append(Fault(where[row], "no root joint", sentence))
        elif visible[row].sum() < 2:
            sentence = f"no joint but {names[root]} is known, so there is nothing to encode"
            faults.append(Fault(where[row], "no visible joint", sentence))
        else:
            a, b = skeleton.edges[int(np.argmax(too_long[row]))]
            sentence = f"the bone from {names[a]} to {names[b]} is over {_NO_BONE:.0f} mm long; no person has such a one"
            faults.append(Fault(where[row], "bone too long", sentence))
    bad = {fault.where for fault in faults}
    rows = np.array([row for row, name in enumerate(where) if name not in bad], dtype=np.int64)
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
