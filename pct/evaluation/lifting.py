"""Evaluate a lifter on 2D-3D pairs, under errors of the detector that one sets: the usual measures, and the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pct.checkpoint import fingerprint
from pct.drawing.panels import PosePanel
from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer
from pct.evaluation.blocks import (
    SPACE,
    SPACE_WORDS,
    choose_examples,
    example_figures,
    group_table,
    joint_table,
    make_table,
)
from pct.evaluation.metrics import joint_errors
from pct.evaluation.metrics3d import joint_errors_3d, mpjpe, per_action_mean, summarise_3d
from pct.evaluation.report import Figure, Report, Section, make_provenance
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import PosePairs
from pct.skeleton import Skeleton

_POSES = 4


@dataclass(frozen=True)
class LiftingEvaluation:
    """What was measured of a lifter, and on which poses.

    Attributes:
        numbers: Plain values for a JSON file: those of :func:`measure`, and ``provenance``.
        skeleton: Whose joints the poses have.
        keypoints: Lifted joints (N, K, 3) in millimetres, root-centred as the target.
        target: True joints (N, K, 3).
        visible: True where the lifter was given a joint (N, K).
    """

    numbers: dict[str, Any]
    skeleton: Skeleton
    keypoints: Tensor
    target: Tensor
    visible: Tensor


def evaluate_lifter(
    lifter: Lifter,
    pairs: PosePairs,
    noise: NoiseConfig | None = None,
    missing: int | None = None,
    flip: bool = False,
    seed: int = 0,
    data: str = "",
) -> LiftingEvaluation:
    """Lift the 2D poses of pairs and measure them against the 3D poses.

    Args:
        lifter: In evaluation mode.
        pairs: The pairs; those with an unknown 3D joint are left out.
        noise: Errors put on the 2D poses; none by default.
        missing: Joints that each 2D pose lacks, beside these errors.
        flip: Average with the mirrored pose (the flip test).
        seed: Of the errors.
        data: Name of the pairs, for the report.

    Raises:
        ValueError: If the skeletons differ, or no pair has all its joints.
    """
    start = time.perf_counter()
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
    keypoints, target = lifted.keypoints.cpu(), pairs.root_relative(lifter.space.root)
    numbers = measure(keypoints, target, pairs.skeleton, actions, likely)
    about = make_provenance(
        f"network {lifter.config.network}, {sum(p.numel() for p in lifter.parameters()):,} weights",
        fingerprint(lifter.config.to_dict(), lifter.state_dict()),
        keypoints.device,
        data=data or "pairs given in memory",
        seconds=time.perf_counter() - start,
        seed=seed,
    )
    numbers |= {"missing": missing, "noise": noise is not None, "flip": flip, "provenance": about}
    return LiftingEvaluation(numbers, pairs.skeleton, keypoints, target, visible)


def measure(
    keypoints: Tensor, target: Tensor, skeleton: Skeleton, actions: Sequence[str], likely: Tensor | None = None
) -> dict[str, Any]:
    """Measure lifted poses (N, K, 3) against true ones, both in millimetres; the root is joint 0.

    Args:
        keypoints: The poses.
        target: The truth.
        skeleton: Whose joints they have.
        actions: Action of each pose.
        likely: What the most likely tokens decode to (N, K, 3).

    Returns:
        Number of ``poses``; what :func:`~pct.evaluation.metrics3d.summarise_3d` gives; MPJPE ``per_action``, and
        ``mean``, the unweighted mean of the actions; ``joints``, the errors of each joint; ``likely_mpjpe``, that of
        the most likely tokens, None without a token head.
    """
    distances = joint_errors_3d(keypoints, target)
    mean, by_action = per_action_mean(distances.mean(dim=1), actions)
    return {
        "poses": len(keypoints),
        **summarise_3d(keypoints, target, skeleton),
        "per_action": {**by_action, "mean": mean},
        "joints": joint_errors(skeleton.keypoint_names, distances, torch.ones_like(distances, dtype=torch.bool)),
        "likely_mpjpe": None if likely is None else float(mpjpe(likely, target).mean()),
    }


def lifting_report(found: LiftingEvaluation) -> Report:
    """Return the report on what was measured, its pictures drawn."""
    numbers = found.numbers
    errors = ["a detector's errors on the 2D joints"] if numbers["noise"] else []
    errors += [f"{numbers['missing']} joints missing in each pose"] if numbers["missing"] else []
    errors += ["mean with the mirrored pose"] if numbers["flip"] else []
    words = f"{SPACE_WORDS} Both are over {len(numbers['pck_joints'])} joints."
    if numbers["likely_mpjpe"] is not None:
        words += f" What the most likely tokens decode to has an MPJPE of {numbers['likely_mpjpe']:.1f} mm."
    cards = {"mpjpe": "MPJPE", "median": "median over the poses", "p_mpjpe": "P-MPJPE"}
    return Report(
        "2D poses lifted to 3D",
        [(f"{numbers[key]:.1f} mm", text) for key, text in cards.items()],
        [
            Section("Accuracy", [words, make_table({"lifted poses": numbers}, SPACE)]),
            Section("Poses", _draw_poses(found)),
            Section("By action", [group_table("action", numbers["per_action"])]),
            Section("Joint by joint", [joint_table(numbers["joints"], "mm")]),
        ],
        numbers,
        f"{numbers['poses']:,} poses",
        ", ".join(errors) or "true 2D joints",
    )


def _draw_poses(found: LiftingEvaluation) -> list[Figure]:
    errors = mpjpe(found.keypoints, found.target)

    def draw(row: int) -> PosePanel:
        lifted = PoseLayer(found.keypoints[row], found.visible[row], COLOURED)
        return PosePanel((PoseLayer(found.target[row], None, TARGET), lifted), f"MPJPE {float(errors[row]):.0f} mm")

    examples = choose_examples(errors, _POSES)
    return example_figures(examples, draw, found.skeleton, {kind: f"Poses with {kind} MPJPE." for kind in examples})
