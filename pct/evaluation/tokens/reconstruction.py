"""Reconstruction: how far poses that went through ``encode`` and ``decode`` are from themselves, in 2D and in 3D."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import (
    PersonLabels,
    PoseResults,
    given_box_ap,
    joint_distances,
    joint_errors,
    oks,
    pck,
    summarise,
)
from pct.evaluation.metrics3d import per_action_mean, summarise_3d
from pct.evaluation.tokens.codec import Codec
from pct.poses import Poses

_PCK_ALPHAS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Reconstructed:
    """Poses and what became of them.

    Attributes:
        numbers: Plain values for a JSON file, errors in report units: ``num_poses`` and ``joints``. In images, with all
            labelled joints known and in the annotated boxes: COCO's AP (``coco``), OKS, the ``error`` of labelled
            joints, and ``pck`` by the share of the box's longer side. In space: what
            :func:`~pct.evaluation.metrics3d.summarise_3d` gives, and MPJPE by kind of action (``kinds``, and
            ``action_mean``, their unweighted mean) and by subject.
        keypoints: Decoded joints (N, K, D) in report units.
        error: Mean error of each pose (N,) in report units.
        scenes: Poses of one scene (N,) look alike: frames of a clip.
        labels: What each pose is.
    """

    numbers: dict[str, Any]
    keypoints: Tensor
    error: Tensor
    scenes: Tensor
    labels: list[str]


def measure_reconstruction(codec: Codec, poses: Poses, target: Tensor, indices: Tensor) -> Reconstructed:
    """Decode the tokens (N, M) of poses and measure how far they are from ``target`` (N, K, D) in report units."""
    if poses.num_dims == 3:
        scenes, decoded = poses.clip_index, codec.decode(indices)
        labels = [f"{poses.clip_ids[clip]}: {poses.actions[clip]}"[:48] for clip in scenes.tolist()]
    else:
        scenes, decoded = torch.arange(len(poses)), codec.tokenizer.decode(indices, poses.bbox).cpu()
        labels = [f"annotation {i}" for i in poses.annotation_ids.tolist()]
    restored = decoded if poses.num_dims == 3 else codec.to_crop(decoded, poses.bbox)
    distances, visible = joint_distances(restored, target, poses.visible), poses.visible
    error = distances.sum(dim=1) / visible.sum(dim=1).clamp(min=1)
    sigmas = None if poses.num_dims == 3 else poses.skeleton.oks_sigmas.tolist()
    numbers = {
        "num_poses": len(poses),
        "joints": joint_errors(poses.skeleton.keypoint_names, distances, visible, sigmas),
        **(
            _measure_bodies(poses, restored, target, error, codec.space.root)
            if poses.num_dims == 3
            else _measure_persons(codec, poses, decoded, distances)
        ),
    }
    return Reconstructed(numbers, restored, error, scenes, labels)


def action_kind(action: str) -> str:
    """Return what stands before the first comma or dash of an action: ``basketball - dribble`` is ``basketball``."""
    return re.split(r",| - ", action)[0].strip()


def _measure_persons(codec: Codec, poses: Poses, decoded: Tensor, distances: Tensor) -> dict[str, Any]:
    sigmas, visible = torch.from_numpy(poses.skeleton.oks_sigmas), poses.visible
    similarity = oks(decoded, poses.keypoints, visible, poses.area, sigmas)
    # The crop is `padding` times the longer side of the box, so that side has the same length in every crop.
    side = torch.full((len(poses),), codec.space.crop_size / codec.space.padding)
    # A reconstruction has no score of its own: all have the same.
    same = PoseResults(decoded, poses.image_ids, torch.ones(len(poses)))
    labels = PersonLabels(poses.keypoints, visible, poses.bbox, poses.area, poses.image_ids)
    return {
        "num_images": len(torch.unique(poses.image_ids)),
        "coco": given_box_ap(same, labels, sigmas),
        "mean_oks": float(similarity.mean()),
        "error": summarise(distances[visible]),
        "pck": {str(alpha): pck(distances, visible, side, alpha) for alpha in _PCK_ALPHAS},
    }


def _measure_bodies(bodies: Poses, restored: Tensor, target: Tensor, errors: Tensor, root: int) -> dict[str, Any]:
    clips = bodies.clip_index.tolist()
    mean, kinds = per_action_mean(errors, [action_kind(bodies.actions[clip]) for clip in clips])
    return {
        "num_clips": len(set(clips)),
        **summarise_3d(restored, target, root),
        "action_mean": mean,
        "kinds": kinds,
        "subjects": per_action_mean(errors, [bodies.subject_ids[clip] for clip in clips])[1],
    }
