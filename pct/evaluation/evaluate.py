"""Evaluate a pose tokenizer on a table of poses: reconstruction, completion, codebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pct.data.poses import PoseTable
from pct.evaluation.codebook import CodebookStatistics, measure_anatomy
from pct.evaluation.completion import Fill, MeanPose, RidgeRegression, measure_completion
from pct.evaluation.crop_codec import CropCodec
from pct.evaluation.examples import choose_examples
from pct.evaluation.metrics import ErrorSummary, coco_keypoint_ap, joint_distances, joint_errors, oks, pck
from pct.evaluation.provenance import make_provenance
from pct.evaluation.results import Completion, JointResult, Provenance, Reconstruction, TokenizerEvaluation
from pct.models.tokenizer import PoseTokenizer

_PCK_ALPHAS = (0.05, 0.1, 0.2)
_ANATOMY_POSES = 256


def evaluate_tokenizer(
    tokenizer: PoseTokenizer,
    poses: PoseTable,
    baseline_poses: PoseTable | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    data: str = "",
    baseline_data: str = "",
    command: str | None = None,
    notes: Sequence[str] = (),
) -> TokenizerEvaluation:
    """Measure reconstruction, completion and codebook use of a tokenizer.

    Args:
        tokenizer: The model, of a 2D pose space.
        poses: Test poses in image pixels.
        baseline_poses: Training poses for the baselines of the completion; without them there are none.
        seed: Of everything random.
        progress: Called with a sentence at each stage.
        data: Name of the test data, for the report.
        baseline_data: Name of the training data, for the report.
        command: The command, for the report; this process's by default.
        notes: Sentences on the data, for the report.

    Raises:
        ValueError: If the tokenizer is 3D or guided by images, the skeletons differ, or there are no poses.
    """
    _check(tokenizer, poses, baseline_poses)
    say = progress or (lambda sentence: None)
    start = time.perf_counter()
    codec = CropCodec(tokenizer)
    say(f"reconstructing {len(poses):,} poses")
    indices = tokenizer.encode(poses.keypoints, poses.visible, poses.bbox).cpu()
    decoded = tokenizer.decode(indices, poses.bbox).cpu()
    target, restored = codec.to_crop(poses.keypoints, poses.bbox), codec.to_crop(decoded, poses.bbox)
    similarity = _oks(poses, decoded)
    distances = joint_distances(restored, target, poses.visible)
    reconstruction = _measure_reconstruction(poses, decoded, distances, similarity, codec)
    ridge, completion = _measure_completion(codec, poses, target, baseline_poses, seed, say)
    say("changing tokens")
    order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))[:_ANATOMY_POSES]
    anatomy = measure_anatomy(indices[order], tokenizer.quantizer.codebook.detach().cpu(), codec.decode, seed)
    examples = choose_examples(codec, poses, target, restored, similarity, indices, ridge, anatomy, seed)
    seconds = time.perf_counter() - start
    return TokenizerEvaluation(
        describe_tokenizer(tokenizer, data, baseline_data, command, seed, seconds, notes),
        tokenizer.skeleton,
        codec.space.crop_size,
        reconstruction,
        completion,
        CodebookStatistics.of(indices, tokenizer.config.codebook_size),
        anatomy,
        examples,
    )


def _check(tokenizer: PoseTokenizer, poses: PoseTable, baseline_poses: PoseTable | None) -> None:
    if tokenizer.space.kind != "crop2d":
        raise ValueError(f"only 2D tokenizers (crop2d) can be evaluated here; this one is {tokenizer.space.kind}")
    if tokenizer.config.guidance_channels:
        raise ValueError("this tokenizer is guided by image features, which a table of poses does not have")
    for kind, table in (("test", poses), ("baseline", baseline_poses)):
        if table is None:
            continue
        if table.skeleton.keypoint_names != tokenizer.skeleton.keypoint_names:
            raise ValueError(
                f"the {kind} poses are of skeleton {table.skeleton.name}; the tokenizer's is {tokenizer.skeleton.name}"
            )
        if len(table) == 0:
            raise ValueError(f"there are no {kind} poses")


def _oks(poses: PoseTable, decoded: Tensor) -> Tensor:
    sigmas = torch.from_numpy(poses.skeleton.oks_sigmas)
    return oks(decoded, poses.keypoints, poses.visible, poses.area, sigmas)


def _measure_reconstruction(
    poses: PoseTable, decoded: Tensor, distances: Tensor, similarity: Tensor, codec: CropCodec
) -> Reconstruction:
    sigmas = poses.skeleton.oks_sigmas
    coco = coco_keypoint_ap(
        decoded, poses.keypoints, poses.visible, poses.bbox, poses.area, poses.image_ids, torch.from_numpy(sigmas)
    )
    # The crop is `padding` times the longer side of the box, so that side has the same length in every crop.
    side = torch.full((len(poses),), codec.space.crop_size / codec.space.padding)
    joints = [
        JointResult(name, float(sigma), error)
        for name, sigma, error in zip(
            poses.skeleton.keypoint_names, sigmas, joint_errors(distances, poses.visible), strict=True
        )
    ]
    return Reconstruction(
        num_poses=len(poses),
        num_images=len(torch.unique(poses.image_ids)),
        coco=coco,
        mean_oks=float(similarity.mean()),
        median_oks=float(np.median(similarity.numpy())),
        error=ErrorSummary.of(distances[poses.visible]),
        pck={str(alpha): pck(distances, poses.visible, side, alpha) for alpha in _PCK_ALPHAS},
        joints=joints,
    )


def _measure_completion(
    codec: CropCodec,
    poses: PoseTable,
    target: Tensor,
    baseline_poses: PoseTable | None,
    seed: int,
    say: Callable[[str], None],
) -> tuple[RidgeRegression | None, Completion]:
    fills: dict[str, Fill] = {"tokenizer": codec.complete}
    ridge = None
    if baseline_poses is not None:
        say(f"fitting the baselines to {len(baseline_poses):,} poses")
        training = codec.to_crop(baseline_poses.keypoints, baseline_poses.bbox)
        ridge = RidgeRegression(training, baseline_poses.visible, seed)
        fills |= {"ridge": ridge, "mean pose": MeanPose(training, baseline_poses.visible)}
    say("completing poses with hidden joints")
    rows = measure_completion(target, poses.visible, fills, poses.skeleton.lower_body, seed=seed)
    number = 0 if baseline_poses is None else len(baseline_poses)
    penalty, weight = (None, None) if ridge is None else (ridge.penalty, ridge.prior_weight)
    return ridge, Completion(rows, number, penalty, weight)


def describe_tokenizer(
    tokenizer: PoseTokenizer,
    data: str,
    baseline_data: str,
    command: str | None,
    seed: int,
    seconds: float,
    notes: Sequence[str],
) -> Provenance:
    """Say what was measured, with what tokenizer, where and when, at the end of an evaluation."""
    config = tokenizer.config
    parameters = sum(p.numel() for p in tokenizer.parameters()) + tokenizer.quantizer.codebook.numel()
    encoder = config.encoder.upper() if config.encoder == "mlp" else config.encoder
    model = (
        f"{config.num_tokens} tokens from a codebook of {config.codebook_size} x {config.codebook_dim} "
        f"({config.quantizer.upper()}), {encoder} encoder, {parameters:,} weights, skeleton {config.skeleton.name}"
    )
    return make_provenance(
        model,
        tokenizer.fingerprint(),
        tokenizer.device,
        data=data or "poses given in memory",
        baseline_data=baseline_data,
        command=command,
        seconds=seconds,
        seed=seed,
        notes=notes,
    )
