"""Evaluate a lifter on 2D-3D pairs, under errors of the detector that one sets: the usual measures, and the report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
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
    columns,
    example_figures,
    group_table,
    joint_table,
    make_cards,
    make_table,
)
from pct.evaluation.metrics import joint_errors
from pct.evaluation.metrics3d import mpjpe, per_action_mean
from pct.evaluation.poses import measure_poses
from pct.evaluation.report import Figure, Report, Section, make_provenance
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import PosePairs
from pct.poses import Poses

_POSES = 4
_CARDS = columns("{:.1f} mm", "MPJPE: mpjpe; median over the poses: median; P-MPJPE: p_mpjpe")


@dataclass(frozen=True)
class LiftingEvaluation:
    """What was measured of a lifter, and on which poses.

    Attributes:
        numbers: Plain values for a JSON file; see :func:`evaluate_lifter`.
        labels: The true poses (N, K, 3) in millimetres from their root.
        keypoints: Lifted joints (N, K, 3), likewise.
        visible: True where the lifter was given a joint (N, K).
    """

    numbers: dict[str, Any]
    labels: Poses
    keypoints: Tensor
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

    Returns:
        The evaluation. Its numbers are how many ``poses``; what :func:`~pct.evaluation.poses.measure_poses` gives;
        MPJPE ``per_action``, and there ``mean``, the unweighted mean of the actions; the errors of the ``joints``;
        ``likely_mpjpe``, that of the most likely tokens, None without a token head; and how it was measured.

    Raises:
        ValueError: If the skeletons differ, or no pair has all its joints.
    """
    start, space = time.perf_counter(), lifter.space
    lifter.check_skeleton(pairs.skeleton)
    whole = pairs.visible.all(dim=1)
    if not whole.any():
        raise ValueError("no pair has all of its joints known, so there is nothing to measure")
    pairs = pairs.select(whole)
    errors = DetectorNoise(pairs.skeleton, noise or NoiseConfig.clean(), missing)
    keypoints2d, visible = errors(pairs.keypoints2d, pairs.visible, torch.Generator().manual_seed(seed))
    lifted = lifter.lift(keypoints2d, visible, pairs.image_size, flip)
    labels, keypoints = replace(pairs, keypoints=pairs.root_relative(space.root)), lifted.keypoints.cpu()
    numbers, distances = measure_poses(keypoints, labels, space)
    mean, by_action = per_action_mean(
        distances.mean(dim=1), [pairs.actions[clip] for clip in pairs.clip_index.tolist()]
    )
    likely = None
    if lifter.tokenizer is not None and lifted.indices is not None:
        decoded = lifter.tokenizer.decode(lifted.indices).cpu() * space.report_scale
        likely = float(mpjpe(decoded, labels.keypoints, space.root).mean())
    about = make_provenance(
        f"network {lifter.config.network}, {sum(p.numel() for p in lifter.parameters()):,} weights",
        fingerprint(lifter.config.to_dict(), lifter.state_dict()),
        keypoints.device,
        data=data or "pairs given in memory",
        seconds=time.perf_counter() - start,
        seed=seed,
    )
    numbers = {"poses": len(pairs), **numbers, "per_action": {**by_action, "mean": mean}}
    numbers |= {"joints": joint_errors(distances, labels), "likely_mpjpe": likely}
    numbers |= {"missing": missing, "noise": noise is not None, "flip": flip, "provenance": about}
    return LiftingEvaluation(numbers, labels, keypoints, visible)


def lifting_report(found: LiftingEvaluation) -> Report:
    """Return the report on what was measured, its pictures drawn."""
    numbers = found.numbers
    errors = ["a detector's errors on the 2D joints"] if numbers["noise"] else []
    errors += [f"{numbers['missing']} joints missing in each pose"] if numbers["missing"] else []
    errors += ["mean with the mirrored pose"] if numbers["flip"] else []
    words = f"{SPACE_WORDS} Both are over {len(numbers['pck_joints'])} joints."
    if numbers["likely_mpjpe"] is not None:
        words += f" What the most likely tokens decode to has an MPJPE of {numbers['likely_mpjpe']:.1f} mm."
    return Report(
        "2D poses lifted to 3D",
        make_cards(numbers, _CARDS),
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
    errors = mpjpe(found.keypoints, found.labels.keypoints)

    def draw(row: int) -> PosePanel:
        lifted = PoseLayer(found.keypoints[row], found.visible[row], COLOURED)
        return PosePanel(
            (PoseLayer(found.labels.keypoints[row], None, TARGET), lifted), f"MPJPE {float(errors[row]):.0f} mm"
        )

    examples = choose_examples(errors, _POSES)
    return example_figures(
        examples, draw, found.labels.skeleton, {kind: f"Poses with {kind} MPJPE." for kind in examples}
    )
