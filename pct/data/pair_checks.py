"""Checks of 2D and 3D poses of data sets: lengths in another unit are refused, swapped sides warned of."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from pct.skeleton import Skeleton

_THIGH = (200.0, 650.0)  # millimetres: median thighs outside are no people's, or not in millimetres
_MILLIMETRES = {"millimetres": 1.0, "metres": 1000.0}
_JOINTS = ("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")
# A knee that is off the line from hip to ankle by less than this share of the thigh is too straight to tell.
_BENT = 0.08
_FEWEST = 10  # bent knees from which sides are judged


def check_unit(
    keypoints: Tensor,
    visible: Tensor,
    skeleton: Skeleton,
    where: str,
    unit: Literal["millimetres", "metres"] = "millimetres",
) -> None:
    """Refuse 3D poses whose thighs cannot be people's in the unit that they should have.

    Skeletons without hips and knees, and data in which none is known, are let through.

    Args:
        keypoints: Joints (N, K, 3).
        visible: True where a joint is known (N, K).
        skeleton: Whose joints they are.
        where: What to call the data in a message.
        unit: What the coordinates should be in.

    Raises:
        ValueError: If a known joint is not finite, or the median thigh is not 200 to 650 mm; says how long it is
            when read as millimetres and as metres.
    """
    broken = ~torch.isfinite(keypoints).all(dim=-1) & visible
    if broken.any():
        row, joint = broken.nonzero()[0].tolist()
        raise ValueError(
            f"{where}: {skeleton.keypoint_names[joint]} of pose {row} is {keypoints[row, joint].tolist()}; known "
            "joints must be finite"
        )
    names = skeleton.keypoint_names
    thighs = []
    for side in ("left", "right"):
        if {f"{side}_hip", f"{side}_knee"} <= set(names):
            hip, knee = names.index(f"{side}_hip"), names.index(f"{side}_knee")
            thighs.append((keypoints[:, hip] - keypoints[:, knee]).norm(dim=-1)[visible[:, hip] & visible[:, knee]])
    lengths = torch.cat(thighs) if thighs else keypoints.new_zeros(0)
    if len(lengths) == 0:
        return
    thigh = float(lengths.median())
    if not _THIGH[0] <= thigh * _MILLIMETRES[unit] <= _THIGH[1]:
        raise ValueError(
            f"{where}: thighs are {thigh:.3g} long: read as millimetres {thigh:.3g} mm, read as metres "
            f"{1000 * thigh:.3g} mm; expected {unit}, thighs of {_THIGH[0]:.0f} to {_THIGH[1]:.0f} mm"
        )


def find_bent_share(keypoints: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[float, int]:
    """Tell how many bent knees bend as people's do: the knee towards where the hips face.

    Hips face forwards only if left and right are the person's: in a skeleton with swapped sides, or a mirrored one,
    knees bend the other way. On the 29,280 bent knees of CMU's clips the share is 0.9985, at worst 0.967 in a clip.

    Args:
        keypoints: Joints (N, K, 3), in any unit, in right-handed axes (x right, y down, z forward is right-handed).
        visible: True where a joint is known (N, K).
        skeleton: Whose joints they are.

    Returns:
        The share in [0, 1], and the number of bent knees that it is of; 0 and 0 where nothing can be told.
    """
    names = skeleton.keypoint_names
    top = next((n for n in ("thorax", "neck", "upper_neck") if n in names), None)
    if top is None or not set(_JOINTS) <= set(names):
        return 0.0, 0
    p = {n: keypoints[:, names.index(n)] for n in (*_JOINTS, top)}
    known = visible[:, [names.index(n) for n in p]].all(dim=1)
    left, up = p["left_hip"] - p["right_hip"], p[top] - (p["left_hip"] + p["right_hip"]) / 2
    front = torch.linalg.cross(left, up, dim=-1)
    right_way, bent = 0, 0
    for side in ("left", "right"):
        hip, knee, ankle = (p[f"{side}_{n}"] for n in ("hip", "knee", "ankle"))
        line = torch.nn.functional.normalize(ankle - hip, dim=-1)
        off = (knee - hip) - ((knee - hip) * line).sum(dim=-1, keepdim=True) * line
        told = known & (off.norm(dim=-1) > _BENT * (knee - hip).norm(dim=-1))
        bent += int(told.sum())
        right_way += int((told & ((off * front).sum(dim=-1) > 0)).sum())
    return (right_way / bent if bent else 0.0), bent


def warn_of_swapped_sides(keypoints: Tensor, visible: Tensor, skeleton: Skeleton, where: str) -> bool:
    """Warn if left and right seem to be swapped, see :func:`find_bent_share`; return whether they do.

    The data is judged as a whole, and only if at least ten knees are bent.
    """
    share, bent = find_bent_share(keypoints, visible, skeleton)
    swapped = bent >= _FEWEST and share < 0.5
    if swapped:
        warnings.warn(
            f"{where}: {1 - share:.0%} of {bent} bent knees bend the wrong way, so left and right seem to be swapped "
            "or the poses mirrored; x should grow to the right, y down, z away from the camera, left be the person's",
            stacklevel=2,
        )
    return swapped


def warn_of_swapped_views(
    keypoints2d: Tensor, projected: Tensor, visible: Tensor, skeleton: Skeleton, where: str
) -> bool:
    """Warn if most 2D poses fit the projection of their 3D poses better with left and right swapped; return whether.

    Args:
        keypoints2d: Joints (N, K, 2) in image pixels.
        projected: Where the 3D joints are in the image (N, K, 2).
        visible: True where a joint is known (N, K).
        skeleton: Whose joints they are.
        where: What to call the data in a message.
    """
    index = torch.from_numpy(skeleton.flip_index)
    known = visible & visible[:, index] & (torch.arange(len(index)) != index)
    straight = ((keypoints2d - projected).norm(dim=-1) * known).sum(dim=1)
    crossed = ((keypoints2d[:, index] - projected).norm(dim=-1) * known).sum(dim=1)
    share = float((crossed < straight).float().mean()) if len(known) else 0.0
    if share > 0.5:
        warnings.warn(
            f"{where}: {share:.0%} of the 2D poses fit their 3D pose better with left and right swapped; both must "
            "name the person's own left and right",
            stacklevel=2,
        )
    return share > 0.5
