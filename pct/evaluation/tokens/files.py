"""From a file of poses to the report of a tokenizer in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pct.evaluation.report import check_report_folder, write_report
from pct.evaluation.tokens.evaluate import TokenizerEvaluation, evaluate_tokenizer
from pct.evaluation.tokens.report import tokenizer_report
from pct.files.json_stream import iter_json
from pct.files.motion.mocap import load_mocap, split_mocap
from pct.files.pose_files import find_kind, load_keypoint_file
from pct.poses import Poses
from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer

SPLITS = ("test", "all")


@dataclass(frozen=True)
class EvaluationPoses:
    """Test poses, training poses if there are any, their names, and what a reader of the report must know of them."""

    poses: Poses
    data: str
    baseline: Poses | None = None
    baseline_data: str = ""
    notes: list[str] = field(default_factory=list)


def run_evaluation(
    tokenizer: PoseTokenizer,
    path: str | Path,
    out: str | Path,
    baseline: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
    category: str | int | None = None,
) -> TokenizerEvaluation:
    """Evaluate a tokenizer on a file of poses and write the report.

    Args:
        tokenizer: The model.
        path: Test poses: for a 2D model labelled joints in COCO format or the MPII JSON layout (``.json``), of which
            bad annotations are left out; for a 3D model mocap (``.npz``).
        out: Folder of the report; made if it does not exist.
        baseline: File with training poses. Without it, a 3D model's are the training clips of ``path``, unless all
            clips are measured.
        split: Clips of mocap: ``test``, the default, takes those that :func:`pct.files.motion.mocap.split_mocap`
            keeps for tests, ``all`` every one.
        limit: Evaluate this many randomly chosen poses; None takes all.
        seed: Of everything random.
        force: Whether an earlier report there may be replaced.
        progress: Called with a sentence at each stage.
        category: Name or id of the only category of ``path`` that is measured, if that is a COCO file.

    Raises:
        FileExistsError: If ``out`` holds a report and ``force`` is not set.
        ValueError: If a file is broken, poses and tokenizer do not fit together, or clips cannot be split.
    """
    check_report_folder(out, force)
    read = read_poses(tokenizer, path, baseline, split, progress, category)
    poses, notes = read.poses, read.notes
    if limit is not None and limit < len(poses):
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))
        poses = poses.select(order[:limit].sort().values)
        notes = [*notes, f"Only {limit:,} randomly chosen poses of the file were evaluated."]
    if poses.num_dims == 2:
        notes = [*notes, *_note_estimated_areas(path, poses)]
    evaluation = evaluate_tokenizer(
        tokenizer, poses, read.baseline, seed, progress, read.data, read.baseline_data, notes=notes
    )
    write_report(tokenizer_report(evaluation), out, force)
    return evaluation


def read_poses(
    tokenizer: PoseTokenizer,
    path: str | Path,
    baseline: str | Path | None = None,
    split: str | None = None,
    progress: Callable[[str], None] | None = None,
    category: str | int | None = None,
) -> EvaluationPoses:
    """Read what a tokenizer is measured on; arguments are those of :func:`run_evaluation`.

    Raises:
        ValueError: If a file is broken, does not hold poses of the tokenizer's kind, or clips cannot be split.
    """
    is_3d = tokenizer.space.kind == "root3d"
    if Path(path).suffix.lower() != (".npz" if is_3d else ".json"):
        right = "mocap in a .npz" if is_3d else "labelled joints in a .json (COCO or MPII layout)"
        raise ValueError(f"{path}: the model's poses are {tokenizer.space.num_dims}D; it is measured on {right}")
    if split is not None and not is_3d:
        raise ValueError(f"split {split} chooses clips of mocap; {path} is measured whole")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if is_3d and category is not None:
        raise ValueError(f"{path}: mocap has no categories; leave {category!r} out")
    if is_3d:
        return _read_clips(path, baseline, split or "test")
    return _read_persons(path, baseline, tokenizer.skeleton, progress or (lambda sentence: None), category)


def _read_persons(
    path: str | Path,
    baseline: str | Path | None,
    skeleton: Skeleton,
    say: Callable[[str], None],
    category: str | int | None,
) -> EvaluationPoses:
    bad, notes = list[str](), list[str]()
    poses = load_keypoint_file(path, skeleton, bad.append, category, notes.append, need_names=True)
    for sentence in notes:
        say(sentence)
    notes += [f"{len(bad):,} bad annotations were left out; the first: {bad[0]}"] if bad else []
    learned = None if baseline is None else load_keypoint_file(baseline, skeleton, bad.append, need_names=True)
    if bad:
        say(f"skipped {len(bad):,} bad annotations; the first: {bad[0]}")
    return EvaluationPoses(poses, Path(path).name, learned, "" if baseline is None else Path(baseline).name, notes)


def _read_clips(path: str | Path, baseline: str | Path | None, split: str) -> EvaluationPoses:
    clips, name = load_mocap(path), Path(path).name
    if split == "all":
        notes = ["All clips of the file were evaluated, also those that the model may have been trained on."]
        read = EvaluationPoses(clips, name, notes=notes)
    else:
        parts = split_mocap(clips)
        read = EvaluationPoses(parts.test, f"{name} (test clips)", parts.train, f"{name} (training clips)")
    return read if baseline is None else replace(read, baseline=load_mocap(baseline), baseline_data=Path(baseline).name)


def _note_estimated_areas(path: str | Path, poses: Poses) -> list[str]:
    """Say how many poses have an area that the file marks as an estimate (``area_estimated``) or does not give."""
    known = {
        annotation.get("id")
        for annotation in (() if find_kind(path) == "mpii" else iter_json(path, "annotations", required=True))
        if isinstance(annotation, dict) and "area" in annotation and not annotation.get("area_estimated")
    }
    number = len(poses) - sum(i in known for i in poses.annotation_ids.tolist())
    words = "persons is an estimate from the box, so OKS and AP are close to COCO's but not exactly COCO's."
    return [f"The segment area of {number:,} of {len(poses):,} {words}"] if number else []
