#!/usr/bin/env python
"""Train the heatmap baseline, or pre-train a backbone: tools/train_heatmap.py CONFIG [key=value ...]."""

from __future__ import annotations

import sys

from pct.training.classifier import train_heatmap_model
from pct.training.photo_config import load_heatmap_run
from pct.training_command import run_training

DESCRIPTION = """\
Train deconvolutions on a backbone that give one heatmap a joint: the baseline to compare a classifier with (same
backbone, data, schedule and crops), and the pre-training of a classifier's backbone (backbone_from=RUN/model).

  tools/train_heatmap.py configs/heatmap_people.yaml out=runs/heatmap steps=3000

The folder (out=...) receives config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, curves.png and model/. Ctrl-C
saves a checkpoint first; a run that was interrupted in any way goes on with --resume and gives the same numbers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_training("train_heatmap", DESCRIPTION, load_heatmap_run, train_heatmap_model, argv)


if __name__ == "__main__":
    sys.exit(main())
