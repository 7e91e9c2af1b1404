#!/usr/bin/env python
"""Train a lifter from 2D to 3D poses: tools/train_lifter.py CONFIG [key=value ...]."""

from __future__ import annotations

import sys

from pct.training.lifter import train_lifter
from pct.training.lifter_config import load_lifter_run
from pct.training_command import run_training

DESCRIPTION = """\
Train a network that lifts 2D poses to 3D: to coordinates, or to the tokens of a trained 3D tokenizer.

  tools/train_lifter.py configs/lifter_generated.yaml out=runs/mine steps=2000
  tools/train_lifter.py configs/lifter_mocap.yaml bodies.mocap=mocap_h36m17.npz lifter.network=lcn
  tools/train_lifter.py configs/lifter_mocap_tokens.yaml bodies.mocap=mocap_h36m17.npz tokenizer=h36m17
  torchrun --nproc-per-node 4 tools/train_lifter.py configs/lifter_mocap.yaml ...

The first form needs no data: it trains on generated bodies. 3D poses are photographed by random cameras while
training, and get a detector's errors (noise=...). Watch `val_mpjpe_mm` (with these errors) and `val_clean_mpjpe_mm`;
of tokens, `val_oracle_mpjpe_mm` is what perfect ones would reach. The folder (out=...) receives config.yaml,
checkpoint.pt, metrics.jsonl, tensorboard/, curves.png and model/ (for `pct lift --model`). Ctrl-C saves a checkpoint
first; a run that was interrupted in any way goes on with --resume and gives the same numbers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_training("train_lifter", DESCRIPTION, load_lifter_run, train_lifter, argv)


if __name__ == "__main__":
    sys.exit(main())
