"""Tokenizer runs of all kinds of poses, and the report at their end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from pct.training.run_folder import REPORT_FOLDER
from pct.training.tokenizer.config import TokenizerRun
from pct.training.tokenizer.config3d import BodyRun
from pct.training.tokenizer.data3d import BodyPoses
from pct.training.tokenizer.guided import train_guided_tokenizer
from pct.training.tokenizer.guided_config import GuidedRun
from pct.training.tokenizer.recipe import CropPoses, TrainedTokenizer, train_tokenizer


def train_and_keep(run: TokenizerRun, folder: Path, progress: Any) -> TrainedTokenizer | None:
    """Train a tokenizer of 2D, 3D or guided poses; return what its report needs, None where it has none."""
    if isinstance(run, GuidedRun):
        train_guided_tokenizer(run, folder, progress)
        return None
    source = BodyPoses(run) if isinstance(run, BodyRun) else CropPoses(run)
    return train_tokenizer(run, source, folder, progress)


def write_tokenizer_report(run: TokenizerRun, folder: Path, trained: TrainedTokenizer | None) -> Path | None:
    """Evaluate a trained tokenizer, write the report into the run's folder and return its page."""
    from pct.evaluation.report import write_report
    from pct.evaluation.tokens.evaluate import evaluate_tokenizer
    from pct.evaluation.tokens.report import tokenizer_report

    if trained is None or not run.report:
        return None
    poses = trained.source.val
    if run.report_poses:
        poses = poses.select(torch.arange(min(run.report_poses, len(poses))))
    learned = (run.bodies.mocap or "generated bodies") if isinstance(run, BodyRun) else run.data.train
    evaluation = evaluate_tokenizer(
        trained.tokenizer,
        poses,
        trained.source.train,
        seed=run.seed,
        progress=lambda sentence: print(sentence, file=sys.stderr),
        data=run.data.val or f"poses held out of {learned}",
        baseline_data=learned,
    )
    return write_report(tokenizer_report(evaluation), folder / REPORT_FOLDER, force=True)
