#!/usr/bin/env python
"""Train a pose estimator that predicts tokens: tools/train_classifier.py CONFIG [key=value ...]."""

from __future__ import annotations

import sys

from pct.training.classifier import train_classifier
from pct.training.photo_config import load_classifier_run
from pct.training_command import run_training

DESCRIPTION = """\
Train a classifier that reads the tokens of a pose off a photo, over a trained tokenizer, which stays frozen.

  tools/train_classifier.py configs/classifier_people.yaml out=runs/mine steps=3000
  tools/train_classifier.py configs/classifier_coco_base.yaml data.train=person_keypoints_train2017.json \\
      data.train_images=train2017 data.val=person_keypoints_val2017.json data.val_images=val2017
  torchrun --nproc-per-node 8 tools/train_classifier.py configs/classifier_coco_base.yaml ...

The first form needs no data: it trains on generated people. Watch `val_oks` and `val_mean_error_px`; `val_oracle_*` is
what perfect tokens would reach. The folder (out=...) receives config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/,
curves.png and model/ (for `pct predict --model` and tools/evaluate_photos.py). Ctrl-C saves a checkpoint first; a run
that was interrupted in any way goes on with --resume and gives the same numbers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_training("train_classifier", DESCRIPTION, load_classifier_run, train_classifier, argv)


if __name__ == "__main__":
    sys.exit(main())
