#!/usr/bin/env python
"""Train a pose tokenizer: tools/train_tokenizer.py CONFIG [key=value ...]."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import torch

from pct import distributed
from pct.training.config import TokenizerRun, load_run
from pct.training.run_files import METRICS
from pct.training.run_folder import CONFIG, CURVES, MODEL_FOLDER, REPORT_FOLDER, prepare_folder
from pct.training.stopping import TrainingStopped
from pct.training.tokenizer import TrainedTokenizer, progress_bar, train_tokenizer

DESCRIPTION = """\
Train a pose tokenizer and write it, its curves and its report into one folder.

  tools/train_tokenizer.py configs/tokenizer_coco.yaml data.train=person_keypoints_train2017.json
  tools/train_tokenizer.py configs/tokenizer_generated.yaml out=runs/mine steps=2000
  torchrun --nproc-per-node 4 tools/train_tokenizer.py configs/tokenizer_coco_paper.yaml ...

The folder (out=...) receives config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, curves.png, model/ (for
`pct encode --model`) and report/. Ctrl-C saves a checkpoint first. A run that was interrupted in any way goes on
with --resume and gives the same numbers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML file of the run; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change the config: optim.lr=0.001")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the run in the folder `out`, if any")
    existing.add_argument("--force", action="store_true", help="replace the run in the folder `out`")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_intermixed_args(argv)
    try:
        run = load_run(options.config, options.overrides)
        return _run_or_stop(run, options)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"train_tokenizer: error: {error}", file=sys.stderr)
        return 1
    finally:
        distributed.stop()


def _run_or_stop(run: TokenizerRun, options: argparse.Namespace) -> int:
    try:
        _run(run, options)
    except KeyboardInterrupt as stop:
        if distributed.is_main():
            print(
                f"train_tokenizer: {str(stop) or 'interrupted'}; go on with\n"
                f"  tools/train_tokenizer.py {Path(run.out) / CONFIG} --resume",
                file=sys.stderr,
            )
        # The shell's convention: 128 + the signal's number.
        return 128 + (stop.signal_number if isinstance(stop, TrainingStopped) else signal.SIGINT)
    return 0


def _run(run: TokenizerRun, options: argparse.Namespace) -> None:
    distributed.start(run.device)
    folder = prepare_folder(run, options.resume, options.force)
    trained = train_tokenizer(run, folder, None if options.quiet else progress_bar)
    if not distributed.is_main():
        return
    from pct.plots import plot_training_curves

    plot_training_curves(folder / METRICS, folder / CURVES)
    print(f"model:  {folder / MODEL_FOLDER}\ncurves: {folder / CURVES}")
    if run.report:
        print(f"report: {_report(run, folder, trained)}")


def _report(run: TokenizerRun, folder: Path, trained: TrainedTokenizer) -> Path:
    from pct.evaluation.report import evaluate_tokenizer, write_report

    poses = trained.val_poses
    if run.report_poses:
        poses = poses.select(torch.arange(min(run.report_poses, len(poses))))
    evaluation = evaluate_tokenizer(
        trained.tokenizer,
        poses,
        trained.train_poses,
        seed=run.seed,
        progress=lambda sentence: print(sentence, file=sys.stderr),
        data=run.data.val or f"poses held out of {run.data.train}",
        baseline_data=run.data.train,
    )
    return write_report(evaluation, folder / REPORT_FOLDER, force=True)


if __name__ == "__main__":
    sys.exit(main())
