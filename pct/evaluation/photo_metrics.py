"""Measures of poses read off photos: rescoring and OKS-NMS, AP of chosen joints, calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pct.evaluation.metrics import (
    COCO_MAX_DETECTIONS,
    CocoAP,
    PersonLabels,
    PoseResults,
    coco_results_ap,
)
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

# "Simple Baselines for Human Pose Estimation" (Xiao et al., 2018) and most since: joints below count as not found,
# and poses that are more alike are taken for one person found twice.
SCORE_THRESHOLD, NMS_THRESHOLD = 0.2, 0.9

# Errors of 3D joints are as good as their likeness exp(-d^2 / 2 s^2) says, with this s, in millimetres, for all joints:
# 0.61 where a joint is 100 mm off, 0.32 at the 150 mm where MPI-INF-3DHP counts it as missed.
JOINT_SCALE_MM = 100.0


@dataclass(frozen=True)
class CalibrationBin:
    """The joints whose confidence lies in [``low``, ``high``): their number, mean confidence and mean similarity."""

    low: float
    high: float
    count: int
    confidence: float | None
    similarity: float | None


@dataclass(frozen=True)
class CalibrationTable:
    """How well stated confidences agree with what is reached.

    Attributes:
        ece: Expected calibration error: the distance between mean confidence and mean similarity of a bin, averaged
            over the joints; None without joints.
        bins: From low to high confidence.
    """

    ece: float | None
    bins: list[CalibrationBin]


def joint_similarity(keypoints: Tensor, target_keypoints: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Return the keypoint similarity of each joint, whose mean over a person's labelled joints is OKS.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        target_keypoints: True joints (N, K, 2) in image pixels.
        area: Segment area (N,) in square pixels.
        sigmas: OKS constants (K,).

    Returns:
        ``exp(-d^2 / (2 area (2 sigma)^2))``, (N, K), float64 in [0, 1].
    """
    squared = (keypoints.double() - target_keypoints.double()).square().sum(dim=-1)
    variance = (2 * sigmas.to(squared)).square() * area.to(squared).clamp(min=1e-9)[:, None]
    return torch.exp(-squared / (2 * variance))


def joint_scale(space: PoseSpace, skeleton: Skeleton, area: Tensor) -> Tensor:
    """Return the lengths (B, K) that errors of joints are measured by, in model units.

    On photos these are OKS's, twice a joint's sigma times the root of the person's area (B,) in square model units; in
    space :data:`JOINT_SCALE_MM`, whatever the area.
    """
    if space.kind == "root3d":
        return area.new_full((len(area), skeleton.num_keypoints), JOINT_SCALE_MM / space.millimetres)
    return 2 * torch.from_numpy(skeleton.oks_sigmas).to(area) * area[:, None].sqrt()


def joint_similarity_3d(keypoints: Tensor, target_keypoints: Tensor) -> Tensor:
    """Return the likeness of 3D joints (N, K, 3) in millimetres, ``exp(-d^2 / 2 s^2)`` (N, K), float64 in [0, 1]."""
    squared = (keypoints.double() - target_keypoints.double()).square().sum(dim=-1)
    return torch.exp(-squared / (2 * JOINT_SCALE_MM**2))


def expected_calibration_error(confidence: Tensor, similarity: Tensor, num_bins: int = 15) -> CalibrationTable:
    """Compare confidences with what they promise ("On Calibration of Modern Neural Networks", 2017, section 2).

    There the outcome is right or wrong; here it is the joint's keypoint similarity, which a confidence estimates.

    Args:
        confidence: Of joints (J,), in [0, 1].
        similarity: Keypoint similarity that the same joints reach (J,), in [0, 1].
        num_bins: Bins of equal width from 0 to 1.

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
        means = (float(sums[0][i]) / n, float(sums[1][i]) / n) if n else (None, None)
        bins.append(CalibrationBin(i / num_bins, (i + 1) / num_bins, n, *means))
    return CalibrationTable(float(gap) if len(confidence) else None, bins)


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


def given_box_ap(results: PoseResults, labels: PersonLabels, sigmas: Tensor, joints: Tensor | None = None) -> CocoAP:
    """Measure one prediction for each true person with COCO's evaluator, over all labelled joints or some of them.

    With ``joints`` the evaluator sees copies of the labels in which no other joint is labelled. Persons of whom none
    is left, and their predictions, are left out.

    Args:
        results: One prediction for each person of ``labels``, in the same order.
        labels: The true persons.
        sigmas: OKS constants (K,).
        joints: True for the joints that count (N, K).

    Returns:
        Precision and recall; all None if no person is left.
    """
    if joints is not None:
        labels = replace(labels, visible=labels.visible & joints)
    rows = labels.visible.any(dim=1)
    if not rows.any():
        return CocoAP(None, None, None, None, None, None, None, None)
    columns = ("keypoints", "visible", "bbox", "area", "image_ids")
    labels = PersonLabels(*(getattr(labels, name)[rows] for name in columns))
    results = PoseResults(results.keypoints[rows], results.image_ids[rows], results.scores[rows])
    largest = int(torch.unique(labels.image_ids, return_counts=True)[1].max())
    return coco_results_ap(results, labels, sigmas, max(COCO_MAX_DETECTIONS, largest))


def occlusion_share(visibility: Tensor) -> np.ndarray:
    """Return the share of each person's labelled joints (N, K) that are occluded (visibility 1); 0 without labels."""
    return ((visibility == 1).sum(dim=1) / (visibility > 0).sum(dim=1).clamp(min=1)).numpy()
