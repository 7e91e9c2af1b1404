"""Picture of poses or tokens.

Draw the first poses of a file (.json, .npz, .parquet), or of a token table, as one picture.
"""

from __future__ import annotations

import argparse

from pct.cli.options import add_file_and_out, add_shared, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_file_and_out(parser, "poses or a token table", "picture to write: .png")
    add_shared(parser, "--category")
    parser.add_argument("--reconstruct", action="store_true", help="poses pale, what their tokens give over them")
    parser.add_argument("--count", type=positive, default=24, metavar="N", help="poses drawn (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer, say
    from pct.drawing.gallery import draw_gallery
    from pct.drawing.poses2d import write_png
    from pct.files.output import check_output
    from pct.files.pose_files import check_pose_file

    out = check_output(args.out, (".png",), args.force)
    source = check_pose_file(args.file)
    write_png(draw_gallery(load_tokenizer(args), source, args.count, args.reconstruct, args.category), out, args.force)
    say(f"picture: {out}")
