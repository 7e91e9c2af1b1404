"""Measures of 3D poses in millimetres: MPJPE and its aligned forms, PCK and AUC, means over actions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.skeleton import Skeleton

# The joints that MPI-INF-3DHP's own evaluation takes: no pelvis, spine or base of the skull.
MPI_INF_3DHP_14 = (
    *("head", "thorax", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle"),
)
# Millimetres: 31 thresholds, of which 0 counts too, so that no AUC is above 30/31.
AUC_THRESHOLDS = tuple(range(0, 151, 5))
_TAKE = re.compile(r"\s+\d+$")
_TINY = 1e-300


def root_centred(keypoints: Tensor, root: int = 0) -> Tensor:
    """Return joints (N, K, 3) relative to joint ``root`` of their own pose, float64."""
    keypoints = keypoints.double()
    return keypoints - keypoints[:, root : root + 1]


def joint_errors_3d(keypoints: Tensor, target_keypoints: Tensor, root: int = 0) -> Tensor:
    """Return the distances (N, K) of joints to their targets, both centred at their own root, float64.

    Args:
        keypoints: Joints (N, K, 3) in millimetres, as all lengths here.
        target_keypoints: True joints (N, K, 3), in the same axes.
        root: The joint at the origin; its error, which is 0 by construction, is among them, as is the convention.

    Raises:
        ValueError: On shapes that do not fit, or a root that is none of the joints.
    """
    _check(keypoints, target_keypoints, root)
    return (root_centred(keypoints, root) - root_centred(target_keypoints, root)).norm(dim=-1)


def mpjpe(keypoints: Tensor, target_keypoints: Tensor, root: int = 0) -> Tensor:
    """Return the mean of :func:`joint_errors_3d` of each pose (N,) in millimetres, float64 ("protocol 1")."""
    return joint_errors_3d(keypoints, target_keypoints, root).mean(dim=1)


def n_mpjpe(keypoints: Tensor, target_keypoints: Tensor, root: int = 0) -> Tensor:
    """Return the MPJPE (N,) in millimetres after the best scale of each pose, float64 ("protocol 3").

    The scale is ``<p, g> / <p, p>`` over the joints after centring (Rhodin et al. 2018). A prediction without any
    extent keeps its size. Arguments are those of :func:`joint_errors_3d`.
    """
    _check(keypoints, target_keypoints, root)
    predicted, target = root_centred(keypoints, root), root_centred(target_keypoints, root)
    size = predicted.square().sum(dim=(1, 2))
    scale = torch.where(size > 0, (predicted * target).sum(dim=(1, 2)) / size.clamp(min=_TINY), 1.0)
    return (scale[:, None, None] * predicted - target).norm(dim=-1).mean(dim=1)


def p_mpjpe(keypoints: Tensor, target_keypoints: Tensor) -> Tensor:
    """Return the MPJPE (N,) in millimetres after :func:`align_by_similarity`, float64 ("protocol 2")."""
    _check(keypoints, target_keypoints, 0)
    return (align_by_similarity(keypoints, target_keypoints) - target_keypoints.double()).norm(dim=-1).mean(dim=1)


def align_by_similarity(keypoints: Tensor, target_keypoints: Tensor) -> Tensor:
    """Move, turn and scale each pose so that it lies on its target with the least squared error; no reflection.

    Procrustes analysis by singular values (Gower 1975; the sign of the last direction after Umeyama 1991).

    Args:
        keypoints: Joints (N, K, 3).
        target_keypoints: True joints (N, K, 3).

    Returns:
        The aligned joints (N, K, 3), float64. A prediction without any extent is put on the target's centre.
    """
    keypoints, target = keypoints.double(), target_keypoints.double()
    centre = target.mean(dim=1, keepdim=True)
    moved, wanted = keypoints - keypoints.mean(dim=1, keepdim=True), target - centre
    # Lengths are taken out first: the singular values then are shares, whatever the unit.
    size = moved.square().sum(dim=(1, 2)).sqrt().clamp(min=_TINY)[:, None, None]
    extent = wanted.square().sum(dim=(1, 2)).sqrt()[:, None, None]
    moved, wanted = moved / size, wanted / extent.clamp(min=_TINY)
    u, shares, vh = torch.linalg.svd(wanted.transpose(1, 2) @ moved)
    signs = torch.ones_like(shares)
    signs[:, -1] = torch.linalg.det(u @ vh).sign()
    rotation = (u * signs[:, None]) @ vh  # target = rotation @ prediction, for column vectors
    scale = (shares * signs).sum(dim=1)[:, None, None] * extent
    return scale * (moved @ rotation.transpose(1, 2)) + centre


def pck3d(errors: Tensor, thresholds: Sequence[float] = (150.0,)) -> float:
    """Return the share in [0, 1] of joints with an error below a threshold in millimetres, the mean over thresholds.

    With one threshold it is the PCK of MPI-INF-3DHP (Mehta et al. 2017), whose own joints are ``MPI_INF_3DHP_14``; with
    :data:`AUC_THRESHOLDS` its AUC. There is no alignment but the root's.

    Args:
        errors: Of :func:`joint_errors_3d`, of any shape.
        thresholds: In millimetres.

    Raises:
        ValueError: If there are no errors.
    """
    if errors.numel() == 0:
        raise ValueError("the share of correct joints needs at least one pose, got none")
    return sum(float((errors < threshold).double().mean()) for threshold in thresholds) / len(thresholds)


def action_name(name: str) -> str:
    """Return the action of a sequence: its name without the number of the take, ``Sitting 1`` is ``Sitting``."""
    return _TAKE.sub("", name)


def per_action_mean(values: Tensor, actions: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Average a measure within each action, then over the actions without weights, as is usual on Human3.6M.

    Args:
        values: The measure of each pose (N,).
        actions: Action of each pose, as :func:`action_name` or with the number of the take behind it. Names are
            compared whole: ``Sitting`` does not take in ``SittingDown``.

    Returns:
        The mean of the actions, whatever their numbers of poses, and that of each action in order of the alphabet.

    Raises:
        ValueError: If there are no poses, or not one name for each.
    """
    if values.ndim != 1 or len(values) != len(actions) or not len(actions):
        raise ValueError(f"{len(actions)} actions for values of shape {tuple(values.shape)}; give one for each pose")
    names = [action_name(name) for name in actions]
    order = sorted(set(names))
    place = {name: i for i, name in enumerate(order)}
    rows = torch.tensor([place[name] for name in names])
    means = torch.bincount(rows, values.double().cpu(), minlength=len(order)) / torch.bincount(rows)
    return float(means.mean()), dict(zip(order, means.tolist(), strict=True))


def summarise_3d(keypoints: Tensor, target_keypoints: Tensor, skeleton: Skeleton, root: int = 0) -> dict[str, Any]:
    """Return the usual measures of poses (N, K, 3) in millimetres, each centred at its own root.

    These are mean, median and 90th percentile over the poses of :func:`mpjpe`, the means of :func:`p_mpjpe` and
    :func:`n_mpjpe`, all over all joints, and :func:`pck3d` at 150 mm and its AUC over ``pck_joints``: the 14 joints of
    MPI-INF-3DHP where the skeleton has them, else all; no pose is an error.
    """
    errors, names = joint_errors_3d(keypoints, target_keypoints, root), skeleton.keypoint_names
    official = MPI_INF_3DHP_14 if set(MPI_INF_3DHP_14) <= set(names) else names
    counted = errors[:, [names.index(name) for name in official]]
    median, p90 = np.quantile(errors.mean(dim=1).cpu().numpy(), [0.5, 0.9])
    return {
        "mpjpe": float(errors.mean()),
        "median": float(median),
        "p90": float(p90),
        "p_mpjpe": float(p_mpjpe(keypoints, target_keypoints).mean()),
        "n_mpjpe": float(n_mpjpe(keypoints, target_keypoints, root).mean()),
        "pck": pck3d(counted),
        "auc": pck3d(counted, AUC_THRESHOLDS),
        "pck_joints": list(official),
    }


def _check(keypoints: Tensor, target_keypoints: Tensor, root: int) -> None:
    if keypoints.ndim != 3 or keypoints.shape[2] != 3 or keypoints.shape != target_keypoints.shape:
        raise ValueError(
            f"keypoints and target_keypoints must both be (N, K, 3) in millimetres; got shapes "
            f"{tuple(keypoints.shape)} and {tuple(target_keypoints.shape)}"
        )
    if not 0 <= root < keypoints.shape[1]:
        raise ValueError(f"root is joint {root}; the poses have joints 0 to {keypoints.shape[1] - 1}")
