"""The report of a tokenizer: metrics.json, and a page with tables and pictures that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from pct.data.coco import iter_coco_annotations
from pct.data.keypoint_file import is_mpii_file, load_keypoint_file
from pct.data.poses import PoseTable
from pct.evaluation.evaluate import evaluate_tokenizer
from pct.evaluation.figures import draw_figures
from pct.evaluation.page import render_page
from pct.evaluation.report_folder import ReportFolder
from pct.evaluation.results import TokenizerEvaluation
from pct.models.tokenizer import PoseTokenizer

__all__ = ["TokenizerEvaluation", "check_report_folder", "evaluate_tokenizer", "run_evaluation", "write_report"]

_FOLDER = ReportFolder("metrics.json")


def run_evaluation(
    tokenizer: PoseTokenizer,
    poses_path: str | Path,
    out_dir: str | Path,
    baseline_path: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> TokenizerEvaluation:
    """Evaluate a tokenizer on a keypoint file and write the report.

    Args:
        tokenizer: The model.
        poses_path: Test poses, in COCO format or the MPII JSON layout. Bad annotations are left out, and the report
            says so.
        out_dir: Folder of the report; made if it does not exist.
        baseline_path: Keypoint file with training poses, for the baselines of the completion.
        limit: Evaluate this many randomly chosen poses; None takes all.
        seed: Of everything random.
        force: Whether an earlier report there may be replaced.
        progress: Called with a sentence at each stage.

    Raises:
        FileExistsError: If ``out_dir`` holds a report and ``force`` is not set.
        ValueError: If poses and tokenizer do not fit together, or a file is broken.
    """
    check_report_folder(out_dir, force)
    bad: list[str] = []
    poses = load_keypoint_file(poses_path, tokenizer.skeleton, bad.append)
    notes = [f"{len(bad):,} bad annotations were left out; the first: {bad[0]}"] if bad else []
    baseline = None
    if baseline_path is not None:
        baseline = load_keypoint_file(baseline_path, tokenizer.skeleton, bad.append)
    if bad and progress is not None:
        progress(f"skipped {len(bad):,} bad annotations; the first: {bad[0]}")
    if limit is not None and limit < len(poses):
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))
        poses = poses.select(order[:limit].sort().values)
        notes.append(f"Only {limit} randomly chosen poses of the file were evaluated.")
    estimated = _count_estimated_areas(poses_path, poses)
    if estimated:
        notes.append(
            f"The segment area of {estimated:,} of {len(poses):,} persons is an estimate from the box, so OKS and AP "
            "are close to COCO's but not exactly COCO's."
        )
    evaluation = evaluate_tokenizer(
        tokenizer,
        poses,
        baseline,
        seed=seed,
        progress=progress,
        data=Path(poses_path).name,
        baseline_data="" if baseline_path is None else Path(baseline_path).name,
        notes=notes,
    )
    write_report(evaluation, out_dir, force)
    return evaluation


def check_report_folder(out_dir: str | Path, force: bool = False) -> Path:
    """Check, before any work, that a report can be written to a folder.

    Raises:
        FileExistsError: If it holds a report and ``force`` is not set.
        OutputError: If it is a file.
    """
    return _FOLDER.check(out_dir, force)


def write_report(evaluation: TokenizerEvaluation, out_dir: str | Path, force: bool = False) -> Path:
    """Write ``metrics.json``, the pictures as PNG files under ``pictures``, and ``index.html`` with them built in.

    Args:
        evaluation: What to report.
        out_dir: Folder, made if it does not exist.
        force: Whether an earlier report there may be replaced.

    Returns:
        The page's path. It is written last, so it is there only if the report is whole.

    Raises:
        FileExistsError: If the folder holds a report and ``force`` is not set.
        OutputError: If ``out_dir`` is a file.
    """
    folder = check_report_folder(out_dir, force)
    figures = draw_figures(evaluation)
    page = render_page(evaluation, figures)
    return _FOLDER.write(folder, evaluation.to_dict(), figures, page, force)


def _count_estimated_areas(path: str | Path, poses: PoseTable) -> int:
    """Count the poses whose area the file marks as an estimate (``area_estimated``) or does not give."""
    if is_mpii_file(path):
        return len(poses)
    estimated = [
        annotation["id"]
        for annotation in iter_coco_annotations(path)
        if isinstance(annotation, dict)
        and isinstance(annotation.get("id"), int)
        and (annotation.get("area_estimated") or "area" not in annotation)
    ]
    return int(torch.isin(poses.annotation_ids, torch.tensor(estimated, dtype=torch.int64)).sum())
