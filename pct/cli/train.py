"""Train a tokenizer, classifier, heatmap model or lifter.

Train a model by a config and key=value pairs that change it; everything goes into the folder
`out`: config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, curves.png and model/.
Ctrl-C saves a checkpoint first; a run that was interrupted in any way goes on with --resume
and gives the same numbers. On several GPUs: torchrun --nproc-per-node 4 -m pct train ...
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from pct.training.kinds import KINDS, config_names

EXAMPLES = """\
examples:
  pct train tokenizer generated out=runs/mine steps=2000
  pct train classifier people tokenizer=runs/mine/model
  pct train tokenizer --help       more on a kind, and its configs
"""

_TEXTS = {
    "tokenizer": """\
Train a pose tokenizer; its folder gets a report, too.

  pct train tokenizer coco data.train=person_keypoints_train2017.json
  pct train tokenizer generated out=runs/mine steps=2000
  pct train tokenizer h36m17 data.train=mocap_h36m17.npz     3D poses
""",
    "classifier": """\
Train a classifier that reads the tokens of a pose off a photo, over a trained tokenizer,
which stays frozen.

  pct train classifier people out=runs/mine steps=3000
  pct train classifier coco_base data.train=person_keypoints_train2017.json \\
      data.train_images=train2017 data.val=person_keypoints_val2017.json data.val_images=val2017

The first form needs no data: it trains on generated people. Watch `val_oks` and
`val_mean_error_px`; `val_oracle_*` is what perfect tokens would reach.
""",
    "heatmap": """\
Train deconvolutions on a backbone that give one heatmap a joint: the baseline to compare a
classifier with (same backbone, data, schedule and crops), and the pre-training of a
classifier's backbone (backbone_from=RUN/model).

  pct train heatmap people out=runs/heatmap steps=3000
""",
    "lifter": """\
Train a network that lifts 2D poses to 3D: to coordinates, or to tokens of a 3D tokenizer.

  pct train lifter generated out=runs/mine steps=2000
  pct train lifter mocap data.train=mocap_h36m17.npz lifter.network=lcn
  pct train lifter mocap_tokens data.train=mocap_h36m17.npz tokenizer=h36m17

The first form needs no data. 3D poses are seen by random cameras while training, and get a
detector's errors (noise=...). Watch `val_mpjpe_mm` (with these errors) and
`val_clean_mpjpe_mm`; of tokens, `val_oracle_mpjpe_mm` is what perfect ones would reach.
""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the kinds of runs, each with its options."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind in KINDS:
        text = _TEXTS[kind]
        child = kinds.add_parser(
            kind,
            help=text.partition("\n")[0].rstrip(".;"),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        names = ", ".join(config_names(kind))
        child.add_argument("config", metavar="CONFIG", help=f"{names}, or a YAML file")
        child.add_argument("overrides", nargs="*", metavar="key=value", help="change the config: optim.lr=0.001")
        existing = child.add_mutually_exclusive_group()
        existing.add_argument("--resume", action="store_true", help="go on with the run in the folder `out`, if any")
        existing.add_argument("--force", action="store_true", help="replace the run in the folder `out`")
        child.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Train, and say where everything is; return the exit status."""
    from pct import distributed
    from pct.training.kinds import load_run, progress_bar, train_run
    from pct.training.loop import TrainingStopped
    from pct.training.run_files import CONFIG, CURVES, MODEL_FOLDER

    config = load_run(args.kind, args.config, args.overrides)
    out = Path(config.out)
    try:
        report = train_run(args.kind, config, args.resume, args.force, None if args.quiet else progress_bar)
        if distributed.is_main():
            print(f"model:  {out / MODEL_FOLDER}\ncurves: {out / CURVES}" + (f"\nreport: {report}" if report else ""))
    except KeyboardInterrupt as stop:
        if distributed.is_main():
            go_on = f"pct train {args.kind} {out / CONFIG} --resume"
            print(f"pct: {str(stop) or 'interrupted'}; go on with\n  {go_on}", file=sys.stderr)
        # The shell's convention: 128 + the signal's number.
        return 128 + (stop.signal_number if isinstance(stop, TrainingStopped) else signal.SIGINT)
    finally:
        distributed.stop()
    return 0
