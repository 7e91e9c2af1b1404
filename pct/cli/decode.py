"""Tokens to poses.

Turn a token table back into poses in image pixels, with the model that made it.

OUT is .json (COCO keypoint annotations, all joints with visibility 2) or .npz; 3D poses,
in millimetres where they stood, become a .npz.
"""

from __future__ import annotations

import argparse

from pct.cli.options import add_batches, add_file_and_out

EXAMPLES = """\
example:
  pct decode tokens.parquet -o poses.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_file_and_out(parser, "token table: .parquet", "poses to write: .json (COCO) or .npz")
    add_batches(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer, progress, say
    from pct.files.output import check_output
    from pct.tokens.codec import DECODE_SUFFIXES, decode_file
    from pct.tokens.table import TokenReader

    check_output(args.out, DECODE_SUFFIXES, args.force)
    with TokenReader(args.file) as reader:
        count = len(reader)
    tokenizer = load_tokenizer(args)
    with progress(args, lambda: count) as move:
        done = decode_file(tokenizer, args.file, args.out, force=args.force, batch_size=args.batch_size, progress=move)
    say(f"decoded {done:,} poses to {args.out}")
