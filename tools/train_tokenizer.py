#!/usr/bin/env python
"""Train a pose tokenizer: tools/train_tokenizer.py CONFIG [key=value ...]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pct import distributed
from pct.training.config import TokenizerRun, load_run
from pct.training.run_files import METRICS
from pct.training.tokenizer import prepare_folder, progress_bar, train_tokenizer

DESCRIPTION = """\
Train a pose tokenizer and write it, its curves and its report into one folder.

  tools/train_tokenizer.py configs/tokenizer_coco.yaml data.train=person_keypoints_train2017.json
  tools/train_tokenizer.py configs/tokenizer_generated.yaml out=runs/mine steps=2000
  torchrun --nproc-per-node 4 tools/train_tokenizer.py configs/tokenizer_coco_paper.yaml ...

The folder (out=...) receives config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, curves.png, model/ (for
`pct encode --model`) and report/. A run that was interrupted goes on with --resume and gives the same numbers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML file of the run; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change the config: optim.lr=0.001")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder `out`")
    parser.add_argument("--force", action="store_true", help="replace the run in the folder `out`")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(argv)
    try:
        run = load_run(options.config, options.overrides)
        _run(run, options)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"train_tokenizer: error: {error}", file=sys.stderr)
        return 1
    finally:
        distributed.stop()
    return 0


def _run(run: TokenizerRun, options: argparse.Namespace) -> None:
    from pct.evaluation.report import evaluate_and_report
    from pct.visualize import plot_training_curves

    distributed.start(run.device)
    folder = prepare_folder(run, options.resume, options.force)
    trained = train_tokenizer(run, folder, None if options.quiet else progress_bar)
    if not distributed.is_main():
        return
    plot_training_curves(folder / METRICS, folder / "curves.png")
    print(f"model: {folder / 'model'}   curves: {folder / 'curves.png'}")
    if run.report:
        poses = trained.val_poses
        if run.report_poses:
            poses = poses.select(slice(0, run.report_poses))
        evaluation = evaluate_and_report(
            trained.tokenizer, poses, trained.train_poses, folder / "report", source=run.data.val or run.data.train
        )
        print(evaluation.summary())
        print(f"report: {Path(folder) / 'report' / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
