#!/usr/bin/env python
"""Train a pose tokenizer: tools/train_tokenizer.py CONFIG [key=value ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from pct.training.body_config import BodyRun
from pct.training.body_data import BodyPoses
from pct.training.config import TokenizerRun
from pct.training.guided import train_guided_tokenizer
from pct.training.guided_config import GuidedRun, load_tokenizer_run
from pct.training.run_folder import REPORT_FOLDER
from pct.training.tokenizer import CropPoses, TrainedTokenizer, train_tokenizer
from pct.training_command import run_training

DESCRIPTION = """\
Train a pose tokenizer and write it, its curves and its report into one folder.

  tools/train_tokenizer.py configs/tokenizer_coco.yaml data.train=person_keypoints_train2017.json
  tools/train_tokenizer.py configs/tokenizer_generated.yaml out=runs/mine steps=2000
  torchrun --nproc-per-node 4 tools/train_tokenizer.py configs/tokenizer_coco_paper.yaml ...
  tools/train_tokenizer.py configs/tokenizer_h36m17.yaml bodies.mocap=mocap_h36m17.npz         # 3D poses
  tools/train_tokenizer.py configs/tokenizer_coco_guided.yaml guidance.model=runs/heatmap/model ...

The folder (out=...) receives config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, curves.png, model/ (for
`pct encode --model`) and report/. Ctrl-C saves a checkpoint first. A run that was interrupted in any way goes on
with --resume and gives the same numbers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_training("train_tokenizer", DESCRIPTION, load_tokenizer_run, _train, argv, _report)


def _train(run: TokenizerRun, folder: Path, progress: Any) -> TrainedTokenizer | None:
    if isinstance(run, GuidedRun):
        train_guided_tokenizer(run, folder, progress)
        return None
    source = BodyPoses(run) if isinstance(run, BodyRun) else CropPoses(run)
    return train_tokenizer(run, source, folder, progress)


def _report(run: TokenizerRun, folder: Path, trained: TrainedTokenizer | None) -> Path | None:
    """Evaluate and write the report; a guided tokenizer has none."""
    from pct.evaluation.report import evaluate_tokenizer, write_report

    if trained is None or not run.report or isinstance(trained.source, BodyPoses):
        return None
    poses = trained.source.val
    if run.report_poses:
        poses = poses.select(torch.arange(min(run.report_poses, len(poses))))
    evaluation = evaluate_tokenizer(
        trained.tokenizer,
        poses,
        trained.source.train,
        seed=run.seed,
        progress=lambda sentence: print(sentence, file=sys.stderr),
        data=run.data.val or f"poses held out of {run.data.train}",
        baseline_data=run.data.train,
    )
    return write_report(evaluation, folder / REPORT_FOLDER, force=True)


if __name__ == "__main__":
    sys.exit(main())
