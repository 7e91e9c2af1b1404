"""Evaluate a pose tokenizer, 2D or 3D: reconstruction, completion, codebook, and what its tokens are worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pct.evaluation.provenance import make_provenance
from pct.evaluation.tokens.codec import Codec
from pct.evaluation.tokens.completion import Fill, MeanPose, RidgeRegression, measure_completion
from pct.evaluation.tokens.reconstruction import Reconstructed, measure_reconstruction
from pct.evaluation.tokens.worth import codebook_statistics, measure_worth
from pct.poses import Poses
from pct.tokenizer import PoseTokenizer

# Largest number of joints that the completion hides: fewer in space, where poses are of one person's size.
_MOST_HIDDEN = {"px": 8, "mm": 4}


@dataclass(frozen=True)
class TokenizerEvaluation:
    """What was measured of a tokenizer, and on which poses.

    Attributes:
        numbers: Everything measured, as plain values for a JSON file: ``unit`` of all errors (``px`` of a crop of
            ``crop_size``, or ``mm``), ``reconstruction`` through ``encode`` and ``decode``, ``completion`` of hidden
            joints, use of the ``codebook``, and what tokens are ``worth`` beside other coders.
        codec: The tokenizer.
        target: True joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        reconstructed: What became of the poses.
        ridge: The ridge regression, if there is one.
    """

    numbers: dict[str, Any]
    codec: Codec
    target: Tensor
    visible: Tensor
    reconstructed: Reconstructed
    ridge: RidgeRegression | None


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
        poses: Test poses: persons in images for a ``crop2d`` tokenizer; bodies with all joints known for a ``root3d``
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
            differ, there are no poses, or bodies have unknown joints.
    """
    start, say, codec = time.perf_counter(), progress or (lambda sentence: None), Codec(tokenizer)
    for kind, table in (("test", poses), ("baseline", baseline)):
        if table is not None:
            _check(codec, kind, table)
    say(f"reconstructing {len(poses):,} poses")
    target, visible = codec.view(poses, seed), poses.visible
    indices = codec.encode(target, visible)
    reconstructed = measure_reconstruction(codec, poses, target, indices)
    say("fitting the baselines")
    ridge = None if baseline is None else fit_baseline(codec, baseline, seed)
    say("completing poses with hidden joints")
    numbers = {
        "skeleton": tokenizer.skeleton.name,
        "unit": codec.unit,
        "crop_size": codec.space.crop_size if codec.root is None else None,
        "reconstruction": reconstructed.numbers,
        "completion": _measure_completion(codec, target, visible, ridge, seed),
        "codebook": codebook_statistics(indices, tokenizer.config.codebook_size),
        "worth": measure_worth([codec], target, visible, ridge, seed, say),
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
    return TokenizerEvaluation(numbers, codec, target, visible, reconstructed, ridge)


def describe_tokenizer(tokenizer: PoseTokenizer) -> str:
    """Return a tokenizer's sizes in a sentence."""
    config, weights = tokenizer.config, sum(p.numel() for p in tokenizer.parameters())
    return (
        f"{config.num_tokens} tokens of {config.codebook_size:,} ids, layout {config.layout}, "
        f"{config.quantizer.upper()} codebook, {weights + tokenizer.quantizer.num_entries:,} weights, "
        f"skeleton {config.skeleton.name}"
    )


def fit_baseline(codec: Codec, poses: Poses, seed: int) -> RidgeRegression:
    """Fit the ridge regression to training poses; bodies are seen by other cameras than test poses of this ``seed``."""
    return RidgeRegression(codec.view(poses, seed + 1), poses.visible, seed)


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
        fills |= {"ridge": ridge, "mean pose": MeanPose(ridge.keypoints, ridge.visible)}
    # The root is the origin: it is never hidden, and nobody needs to be told it.
    lower = [joint for joint in codec.tokenizer.skeleton.lower_body if joint != codec.root]
    rows = measure_completion(target, codec.hideable(visible), fills, lower, _MOST_HIDDEN[codec.unit], seed)
    return {
        "rows": rows,
        "num_baseline_poses": 0 if ridge is None else len(ridge.keypoints),
        "ridge_penalty": None if ridge is None else ridge.penalty,
        "ridge_prior_weight": None if ridge is None else ridge.prior_weight,
    }
