"""Evaluate a lifter on 2D-3D pairs: every usual measure in millimetres, under errors of the detector that one sets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.data.detector_noise import DetectorNoise, NoiseConfig
from pct.data.lifting_pairs import PosePairs
from pct.evaluation.metrics3d import (
    MPI_INF_3DHP_14,
    auc3d,
    joint_indices,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    pck3d,
    per_action_mean,
)
from pct.models.lifter import Lifter
from pct.models.tokenizer import PoseTokenizer
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class LiftingErrors:
    """Errors of lifted poses against the truth, over N poses. Root-centred: the predicted root is subtracted.

    Attributes:
        mpjpe: Mean over poses and all joints, in millimetres ("protocol 1").
        p_mpjpe: The same after a similarity ("protocol 2").
        n_mpjpe: The same after a scale ("protocol 3").
        pck: Share in [0, 1] of joints nearer than 150 mm.
        auc: Mean share over the thresholds 0, 5 ... 150 mm.
        pck_joints: Joints that ``pck`` and ``auc`` are taken over.
        per_action: MPJPE by action, and ``mean``, the unweighted mean of the actions.
        likely_mpjpe: MPJPE of what the most likely integer tokens decode to; None without a token head.
        poses: Number of poses N.
    """

    mpjpe: float
    p_mpjpe: float
    n_mpjpe: float
    pck: float
    auc: float
    pck_joints: tuple[str, ...]
    per_action: dict[str, float]
    likely_mpjpe: float | None
    poses: int


def evaluate_lifter(
    lifter: Lifter,
    pairs: PosePairs,
    noise: NoiseConfig | None = None,
    missing: int | None = None,
    flip: bool = False,
    seed: int = 0,
) -> LiftingErrors:
    """Lift the 2D poses of pairs and measure them against the 3D poses.

    Args:
        lifter: In evaluation mode.
        pairs: The pairs; those with an unknown 3D joint are left out.
        noise: Errors put on the 2D poses; none by default.
        missing: Joints that each 2D pose lacks, beside these errors.
        flip: Average with the mirrored pose (the flip test).
        seed: Of the errors.

    Raises:
        ValueError: If the skeletons differ, or no pair has all its joints.
    """
    lifter.check_skeleton(pairs.skeleton)
    whole = pairs.visible.all(dim=1)
    if not whole.any():
        raise ValueError("no pair has all of its joints known, so there is nothing to measure")
    pairs = pairs.select(whole)
    errors = DetectorNoise(pairs.skeleton, noise or NoiseConfig.clean(), missing)
    keypoints2d, visible = errors(pairs.keypoints2d, pairs.visible, torch.Generator().manual_seed(seed))
    lifted = lifter.lift(keypoints2d, visible, pairs.image_size, flip)
    likely = None
    if lifter.tokenizer is not None and lifted.indices is not None:
        likely = lifter.tokenizer.decode(lifted.indices).cpu() * lifter.space.report_scale
    actions = [pairs.actions[int(clip)] for clip in pairs.clip_index]
    return measure(lifted.keypoints.cpu(), pairs.root_relative(lifter.space.root), pairs.skeleton, actions, likely)


def measure(
    keypoints: Tensor, target: Tensor, skeleton: Skeleton, actions: list[str], likely: Tensor | None = None
) -> LiftingErrors:
    """Measure lifted poses (N, K, 3) against true ones, both in millimetres; the root is joint 0.

    Args:
        keypoints: The poses.
        target: The truth.
        skeleton: Whose joints they have; where it has the 14 joints of MPI-INF-3DHP, PCK and AUC are of those.
        actions: Action of each pose.
        likely: What the most likely tokens decode to (N, K, 3).
    """
    official = set(MPI_INF_3DHP_14) <= set(skeleton.keypoint_names)
    names = MPI_INF_3DHP_14 if official else skeleton.keypoint_names
    joints = joint_indices(skeleton, names)
    distances = mpjpe(keypoints, target)
    by_action = per_action_mean(distances, actions)
    return LiftingErrors(
        mpjpe=float(distances.mean()),
        p_mpjpe=float(p_mpjpe(keypoints, target).mean()),
        n_mpjpe=float(n_mpjpe(keypoints, target).mean()),
        pck=pck3d(keypoints, target, joints=joints),
        auc=auc3d(keypoints, target, joints=joints),
        pck_joints=tuple(names),
        per_action={**by_action.by_action, "mean": by_action.mean},
        likely_mpjpe=None if likely is None else float(mpjpe(likely, target).mean()),
        poses=len(keypoints),
    )


def tokenizer_floor(tokenizer: PoseTokenizer, pairs: PosePairs) -> float:
    """Return the MPJPE in millimetres of encoding the true poses and decoding them: what perfect tokens reach."""
    pairs = pairs.select(pairs.visible.all(dim=1))
    target = pairs.root_relative(tokenizer.space.root)
    decoded = tokenizer.decode(tokenizer.encode(target)).cpu() * tokenizer.space.report_scale
    return float(mpjpe(decoded, target).mean())
