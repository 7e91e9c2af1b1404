"""Reconstruction: how far poses that went through ``encode`` and ``decode`` are from themselves, in 2D and in 3D."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
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
from pct.evaluation.metrics3d import joint_errors_3d, n_mpjpe, p_mpjpe, per_action_mean
from pct.evaluation.tokens.codec import Codec
from pct.poses import Poses

_PCK_ALPHAS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Reconstructed:
    """Poses and what became of them.

    Attributes:
        numbers: Plain values for a JSON file, errors in report units. In images, with all labelled joints known and in
            the annotated boxes: COCO's AP (``coco``), OKS, the ``error`` of labelled joints, and ``pck`` by the share
            of the box's longer side. In space: the errors of the poses by MPJPE and its aligned forms, the unweighted
            mean over kinds of actions (``action_mean``), and mean errors by kind of action, subject and clip, the
            worst clip first. Both: ``joints``.
        keypoints: Decoded joints (N, K, D) in report units.
        error: Mean error of each pose (N,) in report units.
        badness: What the worst poses have most of (N,): one minus OKS, or MPJPE.
        scenes: Poses of one scene (N,) look alike: frames of a clip.
        titles: What to say of each pose below its picture.
    """

    numbers: dict[str, Any]
    keypoints: Tensor
    error: Tensor
    badness: Tensor
    scenes: Tensor
    titles: list[str]


def measure_reconstruction(codec: Codec, poses: Poses, target: Tensor, indices: Tensor) -> Reconstructed:
    """Decode the tokens (N, M) of poses and measure how far they are from ``target`` (N, K, D) in report units."""
    if poses.num_dims == 3:
        return _measure_bodies(poses, codec.decode(indices), target, codec.space.root)
    return _measure_persons(codec, poses, target, indices)


def action_kind(action: str) -> str:
    """Return what stands before the first comma or dash of an action: ``basketball - dribble`` is ``basketball``."""
    return re.split(r",| - ", action)[0].strip()


def _measure_persons(codec: Codec, poses: Poses, target: Tensor, indices: Tensor) -> Reconstructed:
    decoded = codec.tokenizer.decode(indices, poses.bbox).cpu()
    sigmas, visible = torch.from_numpy(poses.skeleton.oks_sigmas), poses.visible
    similarity = oks(decoded, poses.keypoints, visible, poses.area, sigmas)
    restored = codec.to_crop(decoded, poses.bbox)
    distances = joint_distances(restored, target, visible)
    # The crop is `padding` times the longer side of the box, so that side has the same length in every crop.
    side = torch.full((len(poses),), codec.space.crop_size / codec.space.padding)
    same = PoseResults(decoded, poses.image_ids, torch.ones(len(poses)))
    labels = PersonLabels(poses.keypoints, visible, poses.bbox, poses.area, poses.image_ids)
    numbers = {
        "num_poses": len(poses),
        "num_images": len(torch.unique(poses.image_ids)),
        # A reconstruction has no score of its own: all have the same.
        "coco": given_box_ap(same, labels, sigmas),
        "mean_oks": float(similarity.mean()),
        "median_oks": float(np.median(similarity.numpy())),
        "error": summarise(distances[visible]),
        "pck": {str(alpha): pck(distances, visible, side, alpha) for alpha in _PCK_ALPHAS},
        "joints": joint_errors(poses.skeleton.keypoint_names, distances, visible, sigmas.tolist()),
    }
    error = distances.sum(dim=1) / visible.sum(dim=1).clamp(min=1)
    titles = [
        f"OKS {s:.3f}, error {e:.1f} px\nannotation {i}"
        for s, e, i in zip(similarity.tolist(), error.tolist(), poses.annotation_ids.tolist(), strict=True)
    ]
    return Reconstructed(numbers, restored, error, 1 - similarity, torch.arange(len(poses)), titles)


def _measure_bodies(bodies: Poses, restored: Tensor, target: Tensor, root: int) -> Reconstructed:
    distances = joint_errors_3d(restored, target, root=root)
    errors, aligned = distances.mean(dim=1), p_mpjpe(restored, target)
    clips = bodies.clip_index.tolist()
    kinds = [action_kind(bodies.actions[clip]) for clip in clips]
    names = [f"{bodies.clip_ids[clip]}: {bodies.actions[clip]}" for clip in clips]
    numbers = {
        "num_poses": len(bodies),
        "num_clips": len(set(clips)),
        "mpjpe": summarise(errors),
        "p_mpjpe": summarise(aligned),
        "n_mpjpe": summarise(n_mpjpe(restored, target, root=root)),
        "action_mean": per_action_mean(errors, kinds)[0],
        "joints": joint_errors(bodies.skeleton.keypoint_names, distances, bodies.visible),
        "kinds": _group(errors, aligned, kinds),
        "subjects": _group(errors, aligned, [bodies.subject_ids[clip] for clip in clips]),
        "clips": sorted(_group(errors, aligned, names), key=lambda clip: -clip["mpjpe"]),
    }
    titles = [
        f"MPJPE {e:.1f} mm, aligned {a:.1f} mm\n{name if len(name) <= 48 else name[:47] + '…'}"
        for e, a, name in zip(errors.tolist(), aligned.tolist(), names, strict=True)
    ]
    return Reconstructed(numbers, restored, errors, errors, bodies.clip_index, titles)


def _group(errors: Tensor, aligned: Tensor, names: list[str]) -> list[dict[str, Any]]:
    """Return the mean errors in millimetres of the poses that have one name."""
    groups = []
    for name in sorted(set(names)):
        rows = torch.tensor([other == name for other in names])
        means = {"mpjpe": float(errors[rows].mean()), "p_mpjpe": float(aligned[rows].mean())}
        groups.append({"name": name, "num_poses": int(rows.sum()), **means})
    return groups
