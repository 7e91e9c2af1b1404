"""Tokens to lines of text and back.

Write a token table as lines of text for language models, or read such lines.

A line is <pose><p711><p12>...</pose>; `pct vocab` lists all the words. Lines that are
shorter than the model's poses become a table of prefixes. Lines know no boxes: on the
way back they come from the table --like, row by row; without it every pose is put into
a square crop at the origin and gets its row number as id.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pct.cli.options import add_file_and_out, add_shared, positive

EXAMPLES = """\
examples:
  pct text tokens.parquet -o poses.txt
  pct text poses.txt -o tokens.parquet --like first_tokens.parquet
  pct vocab > words.txt       one word a line, for tokenizer.add_tokens(...)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_file_and_out(parser, "token table (.parquet) or lines (.txt)", "the other of the two")
    like = "token table that boxes and ids come from (lines to table)"
    parser.add_argument("--like", metavar="TABLE", help=like)
    parser.add_argument("--tokens", type=positive, metavar="N", help="take the first N tokens of each pose only")
    add_shared(parser, "--positions")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer, say
    from pct.files.output import OutputError, check_output
    from pct.tokens.text_files import table_to_text, text_to_table

    suffixes = (Path(args.file).suffix.lower(), Path(args.out).suffix.lower())
    if suffixes == (".parquet", ".txt"):
        check_output(args.out, force=args.force)
        count = table_to_text(args.file, args.out, args.force, args.tokens, args.positions)
    elif suffixes == (".txt", ".parquet"):
        check_output(args.out, force=args.force)
        if not Path(args.file).is_file():
            raise ValueError(f"{args.file}: no such file")
        count = text_to_table(load_tokenizer(args), args.file, args.out, args.model, args.like, args.force, args.tokens)
    else:
        raise OutputError(f"FILE and OUT must be one .parquet and one .txt; got {args.file} and {args.out}")
    say(f"wrote {count:,} poses to {args.out}")
