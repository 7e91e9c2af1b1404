"""The command line of ``pct lift``: its help and its options."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
Lift 2D poses to 3D with the lifter that ships, or one of tools/train_lifter.py.

FILE is one of
  .json     COCO keypoint annotations; `categories` names the joints
  .npz      keypoints (N, K, 2) in image pixels, and as `pct encode` reads them
  .parquet  poses, or a token table of 2D poses (decoded first, with --tokenizer)
COCO's and MPII's joints are brought to Human3.6M's where the lifter reads those.
OUT is an .npz: keypoints (N, K, 3) in millimetres relative to the hip, x right, y down,
z away from the camera; image_ids, annotation_ids; the tokens where the lifter has them.
A bad pose is reported, skipped and counted.
"""
EXAMPLES = """\
examples:
  pct lift poses.json -o poses3d.npz --draw poses3d.png
  pct lift tokens.parquet -o poses3d.npz --model runs/lifter/model --tokenizer coco17
  pct lift poses.npz -o poses3d.npz --model runs/lifter/model --skeleton coco17 --flip
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is particular to ``pct lift``."""
    parser.add_argument("file", metavar="FILE", help="2D poses: .json (COCO), .npz, .parquet or a token table")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="3D poses to write: .npz")
    parser.add_argument(
        "--model",
        default="lifter",
        metavar="NAME",
        help="a lifter that ships with pct, a folder, or a hub id (default: %(default)s)",
    )
    parser.add_argument(
        "--tokenizer", default="coco17", metavar="NAME", help="model that made a token table (default: %(default)s)"
    )
    parser.add_argument("--skeleton", metavar="NAME", help="whose joints FILE has, if it does not name them")
    parser.add_argument("--image-size", type=_size, metavar="WxH", help="pixels of all images, for a `screen` lifter")
    parser.add_argument("--flip", action="store_true", help="flip test: more accurate, twice the time")
    parser.add_argument("--tokens", metavar="TABLE", help="token table of the 3D poses to write too: .parquet")
    parser.add_argument("--draw", metavar="PICTURE", help="picture of the first poses to write too: .png")
    parser.add_argument("--force", action="store_true", help="replace what exists")


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 0 < len(part) < 7 and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a width and height in pixels such as 1920x1080")
    return int(parts[0]), int(parts[1])
