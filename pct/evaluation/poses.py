"""Poses against their truth, in images or in space: what tokenizers, models of photos and lifters are measured by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pct.evaluation.coco_ap import given_box_ap
from pct.evaluation.metrics import joint_distances, oks, summarise
from pct.evaluation.metrics3d import joint_errors_3d, summarise_3d
from pct.pose_space import PoseSpace
from pct.poses import Poses


def measure_poses(
    keypoints: Tensor, labels: Poses, space: PoseSpace, scores: Tensor | None = None
) -> tuple[dict[str, Any], Tensor]:
    """Measure one pose for each true one in the usual ways.

    Args:
        keypoints: A pose (N, K, D) for each of ``labels``, in image pixels, or in millimetres.
        labels: The true poses, those in space with all joints known.
        space: On photos the crop whose pixels errors are in; in space it says which joint is the root.
        scores: What poses on photos are ranked by (N,); None ranks all alike.

    Returns:
        In images COCO's AP (``coco``), ``mean_oks`` of the persons with a labelled joint and the ``error`` of labelled
        joints; in space what :func:`~pct.evaluation.metrics3d.summarise_3d` gives. And the distances (N, K) of all
        joints from their labels in report units, 0 where there is none.
    """
    distances = pose_distances(keypoints, labels, space)
    if labels.num_dims == 3:
        return summarise_3d(keypoints, labels.keypoints, labels.skeleton, space.root), distances
    sigmas = torch.from_numpy(labels.skeleton.oks_sigmas)
    similarity = oks(keypoints, labels.keypoints, labels.visible, labels.area, sigmas)
    numbers = {
        "coco": given_box_ap(keypoints, torch.ones(len(labels)) if scores is None else scores, labels),
        "mean_oks": float(similarity[labels.visible.any(dim=1)].mean()),
        "error": summarise(distances[labels.visible]),
    }
    return numbers, distances


def pose_distances(keypoints: Tensor, labels: Poses, space: PoseSpace) -> Tensor:
    """Return the distances of :func:`measure_poses` alone."""
    if labels.num_dims == 3:
        return joint_errors_3d(keypoints, labels.keypoints, space.root)
    found, truth = (space.report_space.normalise(joints, labels.bbox) for joints in (keypoints, labels.keypoints))
    return joint_distances(found, truth, labels.visible)
