"""Page to drag a pose and see its tokens.

Write one HTML page that holds a tokenizer: drag a joint and see which ids change, put
another id in, mark joints unknown, turn 3D poses. It opens from the disk in any browser.

Of a token table the page has the table's model and poses of it to start from.
"""

from __future__ import annotations

import argparse

from pct.cli.options import DEFAULT_MODEL, positive

EXAMPLES = """\
examples:
  pct explore -o explorer.html
  pct explore h36m17 -o explorer.html
  pct explore tokens.parquet -o explorer.html --count 40
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="MODEL|TABLE", help="default: %(default)s")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="page to write: .html")
    model = "the model of TABLE, where it is not under the name that TABLE says"
    parser.add_argument("--model", metavar="NAME", help=model)
    parser.add_argument(
        "--count", type=positive, default=24, metavar="N", help="poses of a table (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import say
    from pct.explorer.page import explore
    from pct.files.output import check_output, open_atomically

    out = check_output(args.out, (".html",), args.force)
    page = explore(args.name, args.count, args.model).encode()
    with open_atomically(out, force=args.force) as file:
        file.write(page)
    say(f"page: {out} ({len(page) / 1e6:.1f} MB)")
