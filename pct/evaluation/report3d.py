"""The report of a 3D tokenizer on motion capture: metrics.json, and a page with tables and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from pct.data.body_table import BodyTable, split_mocap
from pct.data.mocap import load_mocap
from pct.evaluation.evaluate3d import evaluate_tokenizer_3d
from pct.evaluation.figures3d import draw_figures_3d
from pct.evaluation.page3d import render_page_3d
from pct.evaluation.report_folder import ReportFolder
from pct.evaluation.results3d import TokenizerEvaluation3D
from pct.models.tokenizer import PoseTokenizer

Split = Literal["test", "all"]
SPLITS: tuple[Split, ...] = ("test", "all")
_FOLDER = ReportFolder("metrics.json")


def run_evaluation_3d(
    tokenizer: PoseTokenizer,
    mocap_path: str | Path,
    out_dir: str | Path,
    baseline_path: str | Path | None = None,
    split: Split = "test",
    limit: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> TokenizerEvaluation3D:
    """Evaluate a 3D tokenizer on motion capture and write the report.

    Args:
        tokenizer: The model.
        mocap_path: File that :func:`pct.data.mocap.load_mocap` reads.
        out_dir: Folder of the report; made if it does not exist.
        baseline_path: Mocap file whose poses the baselines of the completion are fitted to; without it they are the
            training clips of ``mocap_path`` for the split ``test``, and there are no baselines for ``all``.
        split: ``test`` takes the clips that :func:`pct.data.body_table.split_mocap` keeps for tests, ``all`` every
            clip.
        limit: Evaluate this many randomly chosen poses; None takes all.
        seed: Of everything random.
        force: Whether an earlier report there may be replaced.
        progress: Called with a sentence at each stage.

    Raises:
        FileExistsError: If ``out_dir`` holds a report and ``force`` is not set.
        ValueError: If a file is broken, clips cannot be split, or poses and tokenizer do not fit together.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    _FOLDER.check(out_dir, force)
    clips = load_mocap(mocap_path)
    data, baseline, baseline_data, notes = Path(mocap_path).name, None, "", []
    if split == "test":
        parts = split_mocap(clips)
        clips = parts.test
        baseline, baseline_data = BodyTable.from_mocap(parts.train), f"{data} (training clips)"
        data = f"{data} (test clips)"
    else:
        notes.append("All clips of the file were evaluated, also those that the model may have been trained on.")
    if baseline_path is not None:
        baseline, baseline_data = BodyTable.from_mocap(load_mocap(baseline_path)), Path(baseline_path).name
    bodies = BodyTable.from_mocap(clips)
    if limit is not None and limit < len(bodies):
        order = torch.randperm(len(bodies), generator=torch.Generator().manual_seed(seed))
        bodies = bodies.select(order[:limit].sort().values)
        notes.append(f"Only {limit} randomly chosen poses were evaluated.")
    evaluation = evaluate_tokenizer_3d(
        tokenizer,
        bodies,
        baseline,
        seed=seed,
        progress=progress,
        data=data,
        baseline_data=baseline_data,
        notes=notes,
    )
    write_report_3d(evaluation, out_dir, force)
    return evaluation


def write_report_3d(evaluation: TokenizerEvaluation3D, out_dir: str | Path, force: bool = False) -> Path:
    """Write ``metrics.json``, the pictures under ``pictures``, and ``index.html``; return the page's path.

    Raises:
        FileExistsError: If the folder holds a report and ``force`` is not set.
        OutputError: If ``out_dir`` is a file.
    """
    folder = _FOLDER.check(out_dir, force)
    figures = draw_figures_3d(evaluation)
    return _FOLDER.write(folder, evaluation.to_dict(), figures, render_page_3d(evaluation, figures), force)
