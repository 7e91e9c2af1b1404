"""What a model or a token table is.

Say what a model or a token table is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pct.cli.options import DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="MODEL|TABLE", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.tokens.describe import as_lines, describe_pretrained, describe_token_file

    if Path(args.name).suffix.lower() == ".parquet":
        values = describe_token_file(args.name)
    else:
        values = describe_pretrained(args.name)
    print(json.dumps(values, indent=2) if args.json else as_lines(values), flush=True)
