"""What is measured of the poses that one model reads off photos, in 2D and in 3D."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import PoseResults, given_box_ap, joint_distances, joint_errors, oks, summarise
from pct.evaluation.metrics3d import joint_errors_3d, summarise_3d
from pct.evaluation.photos.metrics import measure_torso_pck, rescore
from pct.evaluation.photos.predictions import ModelPoses, PersonTable
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton


def measure_image(poses: ModelPoses, table: PersonTable, skeleton: Skeleton, space: PoseSpace) -> dict[str, Any]:
    """Measure 2D poses: by COCO's AP, also of the occluded joints, by PCK, and in pixels.

    Args:
        poses: Found joints in image pixels.
        table: The true persons.
        skeleton: Whose joints these are.
        space: Whose units are pixels of the crop.

    Returns:
        ``poses``, the scores of each form; of the first one ``joints`` and ``pck_torso``.
    """
    labels, sigmas = table.labels, torch.from_numpy(skeleton.oks_sigmas)
    scores = rescore(poses.ranking, threshold=poses.score_threshold)
    truth = space.normalise(labels.keypoints, labels.bbox)
    forms, distances = {}, {}
    for form, keypoints in poses.poses.items():
        distance = joint_distances(space.normalise(keypoints, labels.bbox), truth, labels.visible)
        results = PoseResults(keypoints, labels.image_ids, scores)
        similarity = oks(keypoints, labels.keypoints, labels.visible, labels.area, sigmas)
        distances[form] = distance
        forms[form] = {
            "coco": given_box_ap(results, labels, sigmas),
            "occluded": given_box_ap(results, labels, sigmas, table.occluded),
            "mean_oks": float(similarity[labels.visible.any(dim=1)].mean()),
            "error": summarise(distance[labels.visible]),
            "seen_error": summarise(distance[labels.visible & ~table.occluded]),
            "occluded_error": summarise(distance[table.occluded]),
        }
    main = next(iter(distances.values()))
    return {
        "poses": forms,
        "joints": joint_errors(skeleton.keypoint_names, main, labels.visible, sigmas.tolist()),
        "pck_torso": measure_torso_pck(poses.keypoints, labels, skeleton),
    }


def measure_space(
    poses: ModelPoses, truth: Tensor, visibility: Tensor, skeleton: Skeleton, root: int
) -> dict[str, Any]:
    """Measure 3D poses; the root, which has no error, counts in the means over all joints only.

    Args:
        poses: Found joints in millimetres from the root.
        truth: True joints (N, K, 3) in millimetres from the root.
        visibility: How the photo shows them (N, K): 2 seen, 1 hidden, 0 outside.
        skeleton: Whose joints these are.
        root: The joint at the origin.

    Returns:
        ``poses``, the scores of each form; of the first one the errors of seen, occluded and outside joints, and of
        each of the ``joints``.
    """
    errors = joint_errors_3d(poses.keypoints, truth, root)
    others = torch.arange(errors.shape[1]) != root
    kinds = {"seen_error": 2, "occluded_error": 1, "outside_error": 0}
    return {
        "poses": {form: summarise_3d(keypoints, truth, root) for form, keypoints in poses.poses.items()},
        **{name: summarise(errors[(visibility == flag) & others]) for name, flag in kinds.items()},
        "joints": joint_errors(skeleton.keypoint_names, errors, torch.ones_like(errors, dtype=torch.bool)),
    }
