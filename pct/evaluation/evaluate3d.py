"""Evaluate a 3D pose tokenizer on a table of bodies: reconstruction, completion, codebook, in millimetres."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pct.data.body_augment import seen_by_cameras
from pct.data.body_table import BodyTable
from pct.evaluation.codebook import CodebookStatistics, measure_anatomy
from pct.evaluation.completion import Fill, MeanPose, RidgeRegression, measure_completion
from pct.evaluation.evaluate import describe_tokenizer
from pct.evaluation.examples3d import choose_examples_3d
from pct.evaluation.metrics import ErrorSummary, joint_errors
from pct.evaluation.metrics3d import joint_errors_3d, n_mpjpe, p_mpjpe, per_action_mean
from pct.evaluation.results import Completion
from pct.evaluation.results3d import GroupError, JointError, Reconstruction3D, TokenizerEvaluation3D
from pct.evaluation.root_codec import RootCodec
from pct.models.tokenizer import PoseTokenizer

_ANATOMY_POSES = 256
_MOST_HIDDEN = 4


def evaluate_tokenizer_3d(
    tokenizer: PoseTokenizer,
    bodies: BodyTable,
    baseline_bodies: BodyTable | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    data: str = "",
    baseline_data: str = "",
    command: str | None = None,
    notes: Sequence[str] = (),
) -> TokenizerEvaluation3D:
    """Measure reconstruction, completion and codebook use of a 3D tokenizer, on poses as random cameras see them.

    Args:
        tokenizer: The model, of a ``root3d`` pose space.
        bodies: Test poses, all joints known; each is turned and tilted once, as one random camera would see it.
        baseline_bodies: Training poses for the baselines of the completion; without them there are none.
        seed: Of everything random, the cameras included.
        progress: Called with a sentence at each stage.
        data: Name of the test data, for the report.
        baseline_data: Name of the training data, for the report.
        command: The command, for the report; this process's by default.
        notes: Sentences on the data, for the report.

    Raises:
        ValueError: If the tokenizer is 2D or guided by images, the skeletons differ, or there are no poses.
    """
    codec = RootCodec(tokenizer)
    _check(tokenizer, bodies, baseline_bodies)
    say = progress or (lambda sentence: None)
    start = time.perf_counter()
    say(f"reconstructing {len(bodies):,} poses")
    target = seen_by_cameras(bodies, tokenizer.space, seed) * tokenizer.space.millimetres
    indices = codec.encode(target, bodies.visible)
    restored = codec.decode(indices)
    reconstruction = _measure_reconstruction(bodies, restored, target, codec.root)
    ridge, completion = _measure_completion(codec, bodies, target, baseline_bodies, seed, say)
    say("changing tokens")
    order = torch.randperm(len(bodies), generator=torch.Generator().manual_seed(seed))[:_ANATOMY_POSES]
    anatomy = measure_anatomy(indices[order], tokenizer.quantizer.codebook.detach().cpu(), codec.decode, seed)
    examples = choose_examples_3d(codec, bodies, target, restored, indices, ridge, anatomy, seed)
    return TokenizerEvaluation3D(
        describe_tokenizer(tokenizer, data, baseline_data, command, seed, time.perf_counter() - start, notes),
        tokenizer.skeleton,
        reconstruction,
        completion,
        CodebookStatistics.of(indices, tokenizer.config.codebook_size),
        anatomy,
        examples,
    )


def action_kind(action: str) -> str:
    """Return what stands before the first comma or dash of an action: ``basketball - dribble`` is ``basketball``."""
    return re.split(r",| - ", action)[0].strip()


def _check(tokenizer: PoseTokenizer, bodies: BodyTable, baseline_bodies: BodyTable | None) -> None:
    if tokenizer.config.guidance_channels:
        raise ValueError("this tokenizer is guided by image features, which a table of bodies does not have")
    for kind, table in (("test", bodies), ("baseline", baseline_bodies)):
        if table is None:
            continue
        if table.skeleton.keypoint_names != tokenizer.skeleton.keypoint_names:
            raise ValueError(
                f"the {kind} poses are of skeleton {table.skeleton.name}; the tokenizer's is {tokenizer.skeleton.name}"
            )
        if len(table) == 0:
            raise ValueError(f"there are no {kind} poses")
        if not table.visible.all():
            row = int((~table.visible.all(dim=1)).nonzero()[0])
            raise ValueError(f"{kind} pose {row} has unknown joints; errors are measured on whole poses")


def _measure_reconstruction(bodies: BodyTable, restored: Tensor, target: Tensor, root: int) -> Reconstruction3D:
    distances = joint_errors_3d(restored, target, root=root)
    errors, aligned = distances.mean(dim=1), p_mpjpe(restored, target)
    clips = bodies.clip_index.tolist()
    kinds = [action_kind(bodies.actions[clip]) for clip in clips]
    names = [f"{bodies.clip_ids[c]}: {bodies.actions[c]}" for c in range(len(bodies.clip_ids))]
    by_clip = _group(errors, aligned, [names[clip] for clip in clips])
    joints = zip(bodies.skeleton.keypoint_names, joint_errors(distances, bodies.visible), strict=True)
    return Reconstruction3D(
        num_poses=len(bodies),
        num_clips=len(set(clips)),
        mpjpe=ErrorSummary.of(errors),
        p_mpjpe=ErrorSummary.of(aligned),
        n_mpjpe=ErrorSummary.of(n_mpjpe(restored, target, root=root)),
        action_mean=per_action_mean(errors, kinds).mean,
        joints=[JointError(name, error) for name, error in joints],
        kinds=_group(errors, aligned, kinds),
        subjects=_group(errors, aligned, [bodies.subject_ids[clip] for clip in clips]),
        clips=sorted(by_clip, key=lambda clip: -clip.mpjpe),
    )


def _group(errors: Tensor, aligned: Tensor, names: list[str]) -> list[GroupError]:
    groups = []
    for name in sorted(set(names)):
        rows = torch.tensor([other == name for other in names])
        groups.append(GroupError(name, int(rows.sum()), float(errors[rows].mean()), float(aligned[rows].mean())))
    return groups


def _measure_completion(
    codec: RootCodec,
    bodies: BodyTable,
    target: Tensor,
    baseline_bodies: BodyTable | None,
    seed: int,
    say: Callable[[str], None],
) -> tuple[RidgeRegression | None, Completion]:
    fills: dict[str, Fill] = {"tokenizer": codec.complete}
    ridge, number = None, 0
    if baseline_bodies is not None:
        number = len(baseline_bodies)
        say(f"fitting the baselines to {number:,} poses")
        space = codec.tokenizer.space
        training = seen_by_cameras(baseline_bodies, space, seed + 1) * space.millimetres
        ridge = RidgeRegression(training, baseline_bodies.visible, seed)
        fills |= {"ridge": ridge, "mean pose": MeanPose(training, baseline_bodies.visible)}
    say("completing poses with hidden joints")
    # The root is the origin: it is never hidden, and nobody needs to be told it.
    labelled = bodies.visible & (torch.arange(target.shape[1]) != codec.root)
    lower_body = [joint for joint in bodies.skeleton.lower_body if joint != codec.root]
    rows = measure_completion(target, labelled, fills, lower_body, _MOST_HIDDEN, seed)
    penalty, weight = (None, None) if ridge is None else (ridge.penalty, ridge.prior_weight)
    return ridge, Completion(rows, number, penalty, weight)
