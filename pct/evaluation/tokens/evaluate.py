"""Evaluate a pose tokenizer, 2D or 3D: reconstruction, completion, codebook, and what its tokens are worth."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import joint_distances, joint_errors, pck
from pct.evaluation.metrics3d import per_action_mean
from pct.evaluation.poses import measure_poses
from pct.evaluation.report import make_provenance
from pct.evaluation.tokens.coders import Codec
from pct.evaluation.tokens.completion import Fill, RidgeRegression, mean_pose, measure_completion
from pct.evaluation.tokens.locality import LimbLimits
from pct.evaluation.tokens.worth import codebook_statistics, measure_worth, plain_bins
from pct.poses import Poses
from pct.tokenizer import PoseTokenizer

# Largest number of joints that the completion hides: fewer in space, where poses are of one person's size.
_MOST_HIDDEN = {"px": 8, "mm": 4}
_PCK_ALPHAS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class TokenizerEvaluation:
    """What was measured of a tokenizer, and on which poses.

    Attributes:
        numbers: Everything measured, as plain values for a JSON file: ``unit`` of all errors (``px`` of a crop of
            ``crop_size``, or ``mm``), ``reconstruction`` through ``encode`` and ``decode``, ``completion`` of hidden
            joints, use of the ``codebook``, and what tokens are ``worth`` beside other coders.
        codec: The tokenizer.
        poses: The poses.
        target: Their joints (N, K, D) in report units.
        keypoints: Decoded joints (N, K, D) in report units.
        ridge: The ridge regression, if there is one.
    """

    numbers: dict[str, Any]
    codec: Codec
    poses: Poses
    target: Tensor
    keypoints: Tensor
    ridge: RidgeRegression | None

    @property
    def error(self) -> Tensor:
        """Mean error of the known joints of each pose (N,) in report units."""
        visible = self.poses.visible
        distances = joint_distances(self.keypoints, self.target, visible)
        return distances.sum(dim=1) / visible.sum(dim=1).clamp(min=1)

    @property
    def scenes(self) -> Tensor:
        """The scene of each pose (N,), as poses of one scene look alike: its clip, or itself."""
        return self.poses.clip_index if self.poses.num_dims == 3 else torch.arange(len(self.poses))

    def label(self, row: int) -> str:
        """Return what a pose is."""
        if self.poses.num_dims == 2:
            return f"annotation {int(self.poses.annotation_ids[row])}"
        clip = int(self.poses.clip_index[row])
        return f"{self.poses.clip_ids[clip]}: {self.poses.actions[clip]}"[:48]


def evaluate_tokenizer(
    tokenizer: PoseTokenizer,
    poses: Poses,
    baseline: Poses | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    data: str = "",
    baseline_data: str = "",
    notes: Sequence[str] = (),
) -> TokenizerEvaluation:
    """Measure a tokenizer on a table of poses.

    Args:
        tokenizer: The model.
        poses: Test poses: persons in images for a ``crop2d`` tokenizer; poses with all joints known for a ``root3d``
            one, each turned and tilted once, as one random camera would see it.
        baseline: Training poses, for the baselines of the completion and for the coders that the tokens are compared
            with; without them there are none but plain bins.
        seed: Of everything random, the cameras included.
        progress: Called with a sentence at each stage.
        data: Name of the test data, for the report.
        baseline_data: Name of the training data, for the report.
        notes: Sentences on the data, for the report.

    Raises:
        ValueError: If poses and tokenizer are not both 2D or 3D, the tokenizer is guided by images, the skeletons
            differ, there are no poses, or 3D poses have unknown joints.
    """
    start, say, codec = time.perf_counter(), progress or (lambda sentence: None), Codec(tokenizer)
    for kind, table in (("test", poses), ("baseline", baseline)):
        if table is not None:
            _check(codec, kind, table)
    say(f"reconstructing {len(poses):,} poses")
    target, visible = codec.view(poses, seed), poses.visible
    indices = codec.encode(target, visible)
    keypoints, reconstruction = measure_reconstruction(codec, poses, target, indices)
    say("fitting the baselines")
    ridge = None if baseline is None else fit_baseline(codec, baseline, seed)
    say("completing poses with hidden joints")
    completion = _measure_completion(codec, target, visible, ridge, seed)
    say("changing poses and ids a little")
    limits = LimbLimits(target, visible, tokenizer.skeleton, ridge)
    numbers = {
        "skeleton": tokenizer.skeleton.name,
        "unit": codec.unit,
        "crop_size": codec.space.crop_size if codec.root is None else None,
        "reconstruction": reconstruction,
        "completion": completion,
        "codebook": codebook_statistics(indices, tokenizer.config.codebook_size),
        "worth": measure_worth(codec, plain_bins(codec), target, visible, limits, seed),
    }
    numbers["provenance"] = make_provenance(
        describe_tokenizer(tokenizer),
        tokenizer.fingerprint(),
        tokenizer.device,
        data=data or "poses given in memory",
        baseline_data=baseline_data,
        seconds=time.perf_counter() - start,
        seed=seed,
        notes=notes,
    )
    return TokenizerEvaluation(numbers, codec, poses, target, keypoints, ridge)


def measure_reconstruction(
    codec: Codec, poses: Poses, target: Tensor, indices: Tensor
) -> tuple[Tensor, dict[str, Any]]:
    """Decode the tokens (N, M) of poses and measure how far they are from ``target`` (N, K, D) in report units.

    Returns:
        The decoded joints (N, K, D) in report units, and plain values for a JSON file: ``num_poses``, ``joints`` and
        what :func:`~pct.evaluation.poses.measure_poses` gives, with all labelled joints known and in the annotated
        boxes. In images ``pck`` by the share of the box's longer side too; in space MPJPE by kind of action
        (``kinds``, and ``action_mean``, their unweighted mean) and by subject.
    """
    if poses.num_dims == 3:
        keypoints = codec.decode(indices)
        measured, distances = measure_poses(keypoints, replace(poses, keypoints=target), codec.space)
        errors, clips = distances.mean(dim=1), poses.clip_index.tolist()
        mean, kinds = per_action_mean(errors, [action_kind(poses.actions[clip]) for clip in clips])
        subjects = per_action_mean(errors, [poses.subject_ids[clip] for clip in clips])[1]
        measured |= {"num_clips": len(set(clips)), "action_mean": mean, "kinds": kinds, "subjects": subjects}
    else:
        decoded = codec.tokenizer.decode(indices, poses.bbox).cpu()
        keypoints = codec.space.report_space.normalise(decoded, poses.bbox)
        measured, distances = measure_poses(decoded, poses, codec.space)
        # The crop is `padding` times the longer side of the box, so that side has the same length in every crop.
        side = torch.full((len(poses),), codec.space.crop_size / codec.space.padding)
        measured["num_images"] = len(torch.unique(poses.image_ids))
        measured["pck"] = {str(alpha): pck(distances, poses.visible, side, alpha) for alpha in _PCK_ALPHAS}
    return keypoints, {"num_poses": len(poses), "joints": joint_errors(distances, poses), **measured}


def action_kind(action: str) -> str:
    """Return what stands before the first comma or dash of an action: ``basketball - dribble`` is ``basketball``."""
    return re.split(r",| - ", action)[0].strip()


def describe_tokenizer(tokenizer: PoseTokenizer) -> str:
    """Return a tokenizer's sizes in a sentence."""
    config, weights = tokenizer.config, sum(p.numel() for p in tokenizer.parameters())
    return (
        f"{config.num_tokens} tokens of {config.codebook_size:,} ids, layout {config.layout}, "
        f"{config.quantizer.upper()} codebook, {weights + tokenizer.quantizer.num_entries:,} weights, "
        f"skeleton {config.skeleton.name}"
    )


def fit_baseline(codec: Codec, poses: Poses, seed: int) -> RidgeRegression:
    """Fit the ridge regression to training poses; 3D ones seen by other cameras than test poses of this ``seed``."""
    return RidgeRegression(codec.view(poses, seed + 1), poses.visible)


def _check(codec: Codec, kind: str, table: Poses) -> None:
    codec.check(table)
    skeleton = codec.tokenizer.skeleton
    if codec.tokenizer.config.guidance_channels:
        raise ValueError("this tokenizer is guided by image features, which a table of poses does not have")
    if table.skeleton.keypoint_names != skeleton.keypoint_names:
        raise ValueError(f"the {kind} poses are of skeleton {table.skeleton.name}; the tokenizer's is {skeleton.name}")
    if len(table) == 0:
        raise ValueError(f"there are no {kind} poses")
    if codec.root is not None and not table.visible.all():
        row = int((~table.visible.all(dim=1)).nonzero()[0])
        raise ValueError(f"{kind} pose {row} has unknown joints; errors of 3D poses are measured on whole ones")


def _measure_completion(
    codec: Codec, target: Tensor, visible: Tensor, ridge: RidgeRegression | None, seed: int
) -> dict[str, Any]:
    fills: dict[str, Fill] = {"tokenizer": codec.complete}
    if ridge is not None:
        fills |= {"ridge": ridge, "mean pose": mean_pose(ridge.keypoints, ridge.visible)}
    # The root is the origin: it is never hidden, and nobody needs to be told it.
    lower = [joint for joint in codec.tokenizer.skeleton.lower_body if joint != codec.root]
    rows = measure_completion(target, codec.hideable(visible), fills, lower, _MOST_HIDDEN[codec.unit], seed)
    return {"rows": rows, "num_baseline_poses": 0 if ridge is None else len(ridge.keypoints)}
