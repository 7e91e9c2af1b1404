"""Measures of poses read off photos: scores and OKS-NMS, PCK of the torso and the head, calibration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import PersonLabels, PoseResults, joint_distances, joint_similarity, pck
from pct.evaluation.metrics3d import JOINT_SCALE_MM
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

# "Simple Baselines for Human Pose Estimation" (Xiao et al., 2018) and most since: joints below count as not found,
# and poses that are more alike are taken for one person found twice.
SCORE_THRESHOLD, NMS_THRESHOLD = 0.2, 0.9

# MPII's tables leave these joints out of the mean, which is taken over all other labelled joints alike.
_NOT_IN_PCKH = ("pelvis", "thorax")
# Whose distance is the size of the torso: "Articulated Human Detection with Flexible Mixtures of Parts" (Yang and
# Ramanan, 2013), as on Leeds Sports Pose.
_TORSO = ("left_shoulder", "right_hip")


def joint_scale(space: PoseSpace, skeleton: Skeleton, area: Tensor) -> Tensor:
    """Return the lengths (B, K) that errors of joints are measured by, in model units.

    On photos these are OKS's, twice a joint's sigma times the root of the person's area (B,) in square model units; in
    space :data:`JOINT_SCALE_MM`, whatever the area.
    """
    if space.kind == "root3d":
        return area.new_full((len(area), skeleton.num_keypoints), JOINT_SCALE_MM / space.millimetres)
    return 2 * torch.from_numpy(skeleton.oks_sigmas).to(area) * area[:, None].sqrt()


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


def measure_pckh(keypoints: Tensor, labels: PersonLabels, head_size: Tensor, skeleton: Skeleton) -> dict[str, Any]:
    """Return MPII's PCKh@0.5 by joint, and ``mean`` over all labelled joints but pelvis and thorax.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        labels: The true persons.
        head_size: Of the persons (N,) in pixels; NaN where unknown.
        skeleton: Whose joints these are.
    """
    return _pck_by_joint(keypoints, labels, head_size, 0.5, skeleton, _NOT_IN_PCKH)


def measure_torso_pck(keypoints: Tensor, labels: PersonLabels, skeleton: Skeleton) -> dict[str, Any] | None:
    """Return PCK@0.2 of the torso by joint, and ``mean`` over all labelled joints; None of other skeletons.

    The length is that from the left shoulder to the right hip; persons without both labels do not count. Arguments are
    those of :func:`measure_pckh`.
    """
    if not set(_TORSO) <= set(skeleton.keypoint_names):
        return None
    first, last = (skeleton.keypoint_names.index(name) for name in _TORSO)
    torso = (labels.keypoints[:, first].double() - labels.keypoints[:, last].double()).norm(dim=-1)
    known = labels.visible[:, first] & labels.visible[:, last]
    return _pck_by_joint(keypoints, labels, torso.where(known, torch.nan), 0.2, skeleton)


def _pck_by_joint(
    keypoints: Tensor,
    labels: PersonLabels,
    lengths: Tensor,
    alpha: float,
    skeleton: Skeleton,
    left_out: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return PCK by joint, of persons with a known length, and ``mean`` over all joints that are not ``left_out``."""
    counts, lengths = labels.visible & torch.isfinite(lengths)[:, None], torch.nan_to_num(lengths)
    distances, names = joint_distances(keypoints, labels.keypoints, counts), skeleton.keypoint_names
    sets = {name: [joint] for joint, name in enumerate(names)}
    sets["mean"] = [joint for joint, name in enumerate(names) if name not in left_out]
    return {name: pck(distances[:, joints], counts[:, joints], lengths, alpha) for name, joints in sets.items()}


def rescore(joint_scores: Tensor, box_scores: Tensor | None = None, threshold: float = SCORE_THRESHOLD) -> Tensor:
    """Return the score of each pose: its box's score times the mean score of its joints that were found.

    Heatmaps are usually scored with the threshold. Calibrated confidences need none: their mean over all joints is the
    OKS to be expected.

    Args:
        joint_scores: Of the joints (N, K), in [0, 1].
        box_scores: The detector's (N,); 1 where boxes were given by hand.
        threshold: Joints with a lower score were not found and do not count; a pose with none has score 0.
    """
    found = joint_scores > threshold
    scores = (joint_scores.double() * found).sum(dim=1) / found.sum(dim=1).clamp(min=1)
    return scores if box_scores is None else scores * box_scores.to(scores)


def oks_nms(
    keypoints: Tensor, scores: Tensor, areas: Tensor, sigmas: Tensor, threshold: float = NMS_THRESHOLD
) -> Tensor:
    """Choose the poses of one image that are not a better one's double.

    From the best score down, a pose is kept unless its OKS with a kept one, measured with the mean of both areas, is
    above ``threshold``.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        scores: (N,).
        areas: Of the persons (N,) in square pixels.
        sigmas: OKS constants (K,).
        threshold: In [0, 1].

    Returns:
        Rows that are kept, best first.
    """
    left = scores.argsort(descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        area = (areas[left] + areas[best]) / 2
        alike = joint_similarity(keypoints[left], keypoints[best].expand_as(keypoints[left]), area, sigmas).mean(dim=1)
        left = left[alike <= threshold]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)


def suppress_doubles(
    results: PoseResults, areas: Tensor, sigmas: Tensor, threshold: float = NMS_THRESHOLD
) -> PoseResults:
    """Apply :func:`oks_nms` to every image; what is left keeps its order."""
    keep = torch.zeros(len(results), dtype=torch.bool)
    for rows in rows_by_image(results.image_ids):
        keep[rows[oks_nms(results.keypoints[rows], results.scores[rows], areas[rows], sigmas, threshold)]] = True
    return PoseResults(results.keypoints[keep], results.image_ids[keep], results.scores[keep])


def rows_by_image(image_ids: Tensor) -> list[Tensor]:
    """Return the rows of each image, images in the order of their ids."""
    counts = torch.unique(image_ids, return_counts=True)[1]
    return list(image_ids.argsort(stable=True).split(counts.tolist()))
