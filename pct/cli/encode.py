"""Poses to tokens.

Turn poses into a token table (Parquet), 34 integers a pose with the shipped model.

FILE is one of
  .json     COCO keypoint annotations; `categories` must name the model's joints
  .npz      keypoints (N, K, 2) in image pixels; visible (N, K), bbox (N, 4) as
            x, y, width, height, area, image_ids, annotation_ids if there are any
  .parquet  columns keypoints; visible, bbox, area, image_id, annotation_id if any
For a 3D model FILE is a .npz: keypoints (N, K, 3) in millimetres, x right, y down,
z away; visible, image_ids, annotation_ids if any; or mocap (joints in clips, y up).
A bad pose is reported, skipped and counted; files of any length need little memory.
Mocap alone is read as a whole, and refused if one frame is bad.
"""

from __future__ import annotations

import argparse

from pct.cli.options import add_batches, add_file_and_out, add_shared, positive

EXAMPLES = """\
examples:
  pct encode person_keypoints_val2017.json -o tokens.parquet
  pct encode poses.npz -o tokens.parquet --model runs/mine --strict
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_file_and_out(parser, "poses: .json (COCO), .npz or .parquet", "token table to write: .parquet")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad pose, write nothing")
    keep = "keep the first N tokens, if the model's are ordered (pct info)"
    parser.add_argument("--tokens", type=positive, metavar="N", help=keep)
    add_shared(parser, "--category")
    add_batches(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer, progress, reports, say, say_notes, shared
    from pct.files.output import check_output
    from pct.files.pose_files import check_pose_file, count_poses
    from pct.tokens.codec import encode_file

    source = check_pose_file(args.file)
    check_output(args.out, (".parquet",), args.force)
    tokenizer = load_tokenizer(args)
    with progress(args, lambda: count_poses(source)) as move, reports() as report:
        options = {"strict": args.strict, "num_tokens": args.tokens, **shared(args)}
        summary = encode_file(tokenizer, source, args.out, report=report, progress=move, **options)
    say_notes(summary.notes, f"{source}: ")
    say(summary)
