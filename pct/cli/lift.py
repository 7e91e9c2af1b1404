"""2D poses to 3D poses.

Lift 2D poses to 3D with the lifter that ships, or one of `pct train lifter`.

FILE is one of
  .json     COCO keypoint annotations; `categories` names the joints
  .npz      keypoints (N, K, 2) in image pixels, and as `pct encode` reads them
  .parquet  poses, or a token table of 2D poses (decoded first, with --tokenizer)
COCO's and MPII's joints are brought to Human3.6M's where the lifter reads those.
OUT is an .npz: keypoints (N, K, 3) in millimetres relative to the hip, x right, y down,
z away from the camera; image_ids, annotation_ids; the tokens where the lifter has them.
A bad pose is reported, skipped and counted.
"""

from __future__ import annotations

import argparse

from pct.cli.options import DEFAULT_MODEL, FLIP, add_batches, add_model, add_shared, size

EXAMPLES = """\
examples:
  pct lift poses.json -o poses3d.npz --draw poses3d.png
  pct lift tokens.parquet -o poses3d.npz --model runs/lifter/model --tokenizer coco17
  pct lift poses.npz -o poses3d.npz --model runs/lifter/model --skeleton coco17 --flip
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("file", metavar="FILE", help="2D poses: .json (COCO), .npz, .parquet or a token table")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="3D poses to write: .npz")
    add_model(parser, "lifter", "lifter")
    made = "model that made a token table (default: %(default)s)"
    parser.add_argument("--tokenizer", default=DEFAULT_MODEL, metavar="NAME", help=made)
    parser.add_argument("--skeleton", metavar="NAME", help="whose joints FILE has, if it does not name them")
    parser.add_argument("--image-size", type=size, metavar="WxH", help="pixels of all images, for a `screen` lifter")
    parser.add_argument("--flip", action="store_true", help=FLIP)
    parser.add_argument("--tokens", metavar="TABLE", help="token table of the 3D poses to write too: .parquet")
    parser.add_argument("--draw", metavar="PICTURE", help="picture of the first poses to write too: .png")
    parser.add_argument("--force", action="store_true", help="replace what exists")
    add_shared(parser, "--category")
    add_batches(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import find_device, progress, reports, say, say_notes, shared
    from pct.files.output import check_output
    from pct.files.pose_files import check_pose_file, count_poses
    from pct.lifting.lift_files import LIFT_SUFFIXES, lift_file
    from pct.lifting.lifter import Lifter
    from pct.skeleton import get_skeleton
    from pct.tokenizer import PoseTokenizer
    from pct.tokens.table import is_token_file

    path = check_pose_file(args.file)
    for out, suffixes in ((args.out, LIFT_SUFFIXES), (args.tokens, (".parquet",)), (args.draw, (".png",))):
        if out is not None:
            check_output(out, suffixes, args.force)
    device = find_device(args)
    lifter = Lifter.from_pretrained(args.model, device)
    with progress(args, lambda: count_poses(path)) as move, reports() as report:
        options = {
            "skeleton": get_skeleton(args.skeleton) if args.skeleton else None,
            "tokenizer": PoseTokenizer.from_pretrained(args.tokenizer, device) if is_token_file(path) else None,
            "image_size": args.image_size,
            "flip": args.flip,
            "tokens_out": args.tokens,
            "picture": args.draw,
        }
        summary = lift_file(lifter, path, args.out, report=report, progress=move, **options, **shared(args))
    say_notes(summary.notes, f"{path}: ")
    say(summary)
