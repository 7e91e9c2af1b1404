"""Measure a model, write a report.

Measure a model and write a report (JSON and a page with pictures): a 2D model on a COCO
keypoint file, a 3D model on motion capture (.npz), by default on its test clips.
"""

from __future__ import annotations

import argparse

from pct.cli.options import add_file_and_out, add_shared, positive

EXAMPLES = """\
examples:
  pct evaluate person_keypoints_val2017.json -o report
  pct evaluate val.json -o report --model runs/mine --baseline train.json --limit 5000
  pct evaluate mocap_h36m17.npz -o report --model h36m17
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_file_and_out(parser, "COCO keypoint annotations: .json; mocap: .npz", "folder of the report")
    parser.add_argument("--baseline", metavar="FILE", help="training poses, for the baselines")
    parser.add_argument("--split", choices=("test", "all"), help="clips of mocap (default: test)")
    parser.add_argument("--limit", type=positive, metavar="N", help="evaluate N randomly chosen poses")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    add_shared(parser, "--category")
    engine = "what measures AP: the reference, or hotcoco, the same numbers faster (default: %(default)s)"
    parser.add_argument("--coco-engine", choices=("pycocotools", "hotcoco"), default="pycocotools", help=engine)
    add_shared(parser, "--device")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer, say
    from pct.evaluation.coco_ap import use_coco_engine
    from pct.evaluation.report import check_report_folder
    from pct.evaluation.tokens.files import run_evaluation
    from pct.files.pose_files import check_pose_file

    check_pose_file(args.file)
    check_report_folder(args.out, args.force)
    tokenizer, options = load_tokenizer(args), (args.baseline, args.split, args.limit, args.seed, args.force)
    with use_coco_engine(args.coco_engine):
        run_evaluation(tokenizer, args.file, args.out, *options, progress=say, category=args.category)
    say(f"report: {args.out}")
