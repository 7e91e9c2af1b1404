"""Poses of a table like a pose.

Find the poses of a token table that are most like a pose.

The pose is the one of TABLE whose annotation has the id, or the first of FILE: poses of
the model's skeleton (as `pct encode` reads them), or a token table of the same model.
By ids the poses with the most equal tokens come first; by vectors those with the least
squared distance of the tokens' codebook vectors, summed over the tokens. Of poses that
are equally near the first rows are taken. The pose itself is left out.
"""

from __future__ import annotations

import argparse
import json

from pct.cli.options import add_model, add_shared, positive

EXAMPLES = """\
examples:
  pct search tokens.parquet --like 183126 -n 12 -o found.png
  pct search tokens.parquet --like pose.json --by vectors --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("file", metavar="TABLE", help="token table: .parquet")
    parser.add_argument("--like", required=True, metavar="ID|FILE", help="annotation id of a pose of TABLE, or a file")
    parser.add_argument("-n", "--count", type=positive, default=10, metavar="N", help="poses (default: %(default)s)")
    parser.add_argument("--by", choices=("ids", "vectors"), default="vectors", help="default: %(default)s")
    parser.add_argument("-o", "--out", metavar="PICTURE", help="picture of the poses (63 at most) to write, too: .png")
    parser.add_argument("--force", action="store_true", help="replace PICTURE if it exists")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_model(parser)
    add_shared(parser, "--device")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer, say_notes
    from pct.drawing.poses2d import write_png
    from pct.files.output import check_output
    from pct.tokens.search_files import draw_found, search_table
    from pct.tokens.table import TokenReader

    if args.out is not None:
        check_output(args.out, (".png",), args.force)
    with TokenReader(args.file):  # a table that cannot be read is said before a model is loaded
        pass
    tokenizer = load_tokenizer(args)
    found = search_table(tokenizer, args.file, args.like, args.count, args.by)
    say_notes(found.notes)
    if args.out is not None:
        write_png(draw_found(tokenizer, found), args.out, args.force)
    print(json.dumps(found.to_dict(), indent=2) if args.json else found.as_lines(), flush=True)
