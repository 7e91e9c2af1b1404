"""Measures of poses on plain arrays: OKS, errors of joints, PCK and PCKh, calibration of confidences."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import Skeleton

# The scale of 3D joints, in millimetres, for all joints: the similarity is 0.61 where a joint is 100 mm off, 0.32 at
# the 150 mm where MPI-INF-3DHP counts it as missed.
JOINT_SCALE_MM = 100.0
# MPII's tables leave these joints out of the mean, which is taken over all other labelled joints alike.
_NOT_IN_PCKH = ("pelvis", "thorax")
# Whose distance is the size of the torso: "Articulated Human Detection with Flexible Mixtures of Parts" (Yang and
# Ramanan, 2013), as on Leeds Sports Pose.
_TORSO = ("left_shoulder", "right_hip")


class ErrorSummary(TypedDict):
    """Distances between joints and their targets: how many, mean, median, and what 90 % of them stay below.

    They are in the unit they were given in; None without joints.
    """

    count: int
    mean: float | None
    median: float | None
    p90: float | None


def summarise(distances: Tensor) -> ErrorSummary:
    """Summarise distances of any shape."""
    if distances.numel() == 0:
        return ErrorSummary(count=0, mean=None, median=None, p90=None)
    values = distances.double().flatten().cpu().numpy()
    median, p90 = np.quantile(values, [0.5, 0.9])
    return ErrorSummary(count=len(values), mean=float(values.mean()), median=float(median), p90=float(p90))


def joint_scale(space: PoseSpace, skeleton: Skeleton, area: Tensor) -> Tensor:
    """Return the lengths (B, K) that errors of joints are measured by, in model units.

    On photos these are OKS's, twice a joint's sigma times the root of the person's area (B,) in square model units; in
    space :data:`JOINT_SCALE_MM`, whatever the area.
    """
    if space.kind == "root3d":
        return area.new_full((len(area), skeleton.num_keypoints), JOINT_SCALE_MM / space.millimetres)
    return 2 * torch.from_numpy(skeleton.oks_sigmas).to(area) * area[:, None].sqrt()


def joint_similarity(keypoints: Tensor, target_keypoints: Tensor, scale: Tensor) -> Tensor:
    """Return the keypoint similarity of each joint, whose mean over a person's labelled joints is OKS.

    Args:
        keypoints: Joints (N, K, D).
        target_keypoints: True joints (N, K, D).
        scale: Of the joints (N, K), in the same unit of length; see :func:`joint_scale`.

    Returns:
        ``exp(-d^2 / (2 scale^2))``, (N, K), float64 in [0, 1].
    """
    squared = (keypoints.double() - target_keypoints.double()).square().sum(dim=-1)
    return torch.exp(-squared / (2 * scale.to(squared).square().clamp(min=1e-12)))


def oks(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Return the object keypoint similarity of poses, as COCO defines it.

    Mean of :func:`joint_similarity` over the labelled joints.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        target_keypoints: True joints (N, K, 2) in image pixels; unlabelled ones may hold anything.
        visible: True where the target is labelled (N, K).
        area: Segment area (N,) in square pixels.
        sigmas: COCO's constants (K,).

    Returns:
        Similarities (N,), float64 in [0, 1]; 0 for a pose without a labelled joint.
    """
    scale = 2 * sigmas.double() * area.double().sqrt()[:, None]
    similarity = joint_similarity(keypoints, target_keypoints, scale)
    return torch.where(visible, similarity, 0.0).sum(dim=1) / visible.sum(dim=1).clamp(min=1)


def joint_distances(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
    """Return Euclidean distances (N, K), float64, of joints (N, K, D) to their targets; 0 where not ``visible``."""
    difference = (keypoints.double() - target_keypoints.double()).norm(dim=-1)
    return torch.where(visible, difference, 0.0)


def joint_errors(distances: Tensor, labels: Poses) -> list[dict[str, Any]]:
    """Summarise distances (N, K) from labels for each joint, over the poses where it is labelled.

    Returns:
        For each joint its ``name``, its OKS constant ``sigma`` (None in space) and its ``error``.
    """
    skeleton, sigmas = labels.skeleton, [None] * distances.shape[1]
    if labels.num_dims == 2:
        sigmas = skeleton.oks_sigmas.tolist()
    return [
        {"name": name, "sigma": sigma, "error": summarise(distances[labels.visible[:, joint], joint])}
        for joint, (name, sigma) in enumerate(zip(skeleton.keypoint_names, sigmas, strict=True))
    ]


def pck(distances: Tensor, visible: Tensor, lengths: Tensor, alpha: float) -> float | None:
    """Return the share of correct keypoints: not farther from the target than ``alpha`` times a length of the person.

    Args:
        distances: Of the joints to their targets (N, K), in the unit of ``lengths``.
        visible: True where the target is labelled (N, K).
        lengths: The longer side of the person's box (N,); for PCKh the head size.
        alpha: Share of the length; PCKh is usually reported at 0.5.

    Returns:
        The share in [0, 1], or None without a labelled joint.
    """
    if not visible.any():
        return None
    correct = distances <= alpha * lengths.to(distances)[:, None]
    return float(correct[visible].double().mean())


def measure_pckh(keypoints: Tensor, labels: Poses, head_size: Tensor) -> dict[str, Any]:
    """Return MPII's PCKh@0.5 by joint, and ``mean`` over all labelled joints but pelvis and thorax.

    The joints (N, K, 2) are in image pixels, as the head sizes (N,) of the persons, NaN where unknown.
    """
    return _pck_by_joint(keypoints, labels, head_size, 0.5, _NOT_IN_PCKH)


def measure_torso_pck(keypoints: Tensor, labels: Poses) -> dict[str, Any] | None:
    """Return PCK@0.2 of the torso by joint, and ``mean`` over all labelled joints; None of other skeletons.

    The length is that from the left shoulder to the right hip; persons without both labels do not count. The joints
    (N, K, 2) are in image pixels.
    """
    if not set(_TORSO) <= set(labels.skeleton.keypoint_names):
        return None
    first, last = (labels.skeleton.keypoint_names.index(name) for name in _TORSO)
    torso = (labels.keypoints[:, first].double() - labels.keypoints[:, last].double()).norm(dim=-1)
    known = labels.visible[:, first] & labels.visible[:, last]
    return _pck_by_joint(keypoints, labels, torso.where(known, torch.nan), 0.2)


def _pck_by_joint(
    keypoints: Tensor, labels: Poses, lengths: Tensor, alpha: float, left_out: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return PCK by joint, of persons with a known length, and ``mean`` over all joints that are not ``left_out``."""
    counts, lengths = labels.visible & torch.isfinite(lengths)[:, None], torch.nan_to_num(lengths)
    distances, names = joint_distances(keypoints, labels.keypoints, counts), labels.skeleton.keypoint_names
    sets = {name: [joint] for joint, name in enumerate(names)}
    sets["mean"] = [joint for joint, name in enumerate(names) if name not in left_out]
    return {name: pck(distances[:, joints], counts[:, joints], lengths, alpha) for name, joints in sets.items()}


def expected_calibration_error(confidence: Tensor, similarity: Tensor, num_bins: int = 15) -> dict[str, Any]:
    """Compare confidences with what they promise ("On Calibration of Modern Neural Networks", 2017, section 2).

    There the outcome is right or wrong; here it is the joint's keypoint similarity, which a confidence estimates.

    Args:
        confidence: Of joints (J,), in [0, 1].
        similarity: Keypoint similarity that the same joints reach (J,), in [0, 1].
        num_bins: Bins of equal width from 0 to 1.

    Returns:
        ``ece``, the distance between mean confidence and mean similarity of a bin, averaged over the joints (None
        without joints), and ``bins`` from low to high confidence: ``low``, ``high``, ``count``, mean ``confidence``
        and mean ``similarity``.

    Raises:
        ValueError: If a confidence is not in [0, 1], or the shapes differ.
    """
    if confidence.ndim != 1 or confidence.shape != similarity.shape:
        raise ValueError(
            f"one similarity a confidence: got shapes {tuple(confidence.shape)}, {tuple(similarity.shape)}"
        )
    bad = ~((confidence >= 0) & (confidence <= 1))
    if bad.any():
        raise ValueError(f"confidences must be in [0, 1]; got {float(confidence[bad][0])}")
    number = (confidence.double() * num_bins).long().clamp(max=num_bins - 1)
    count = torch.bincount(number, minlength=num_bins)
    sums = [torch.bincount(number, v.double(), minlength=num_bins) for v in (confidence, similarity)]
    gap = (sums[0] - sums[1]).abs().sum() / max(1, len(confidence))
    bins = []
    for i, n in enumerate(count.tolist()):
        promised, reached = (float(total[i]) / n if n else None for total in sums)
        row = {"low": i / num_bins, "high": (i + 1) / num_bins, "count": n}
        bins.append({**row, "confidence": promised, "similarity": reached})
    return {"ece": float(gap) if len(confidence) else None, "bins": bins}
