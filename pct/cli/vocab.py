"""Words of the text form, one a line.

Print the words of the text form, one a line: <pose>, </pose>, and one for each codebook
entry; with --positions one for each token of a pose and each entry.
"""

from __future__ import annotations

import argparse

from pct.cli.options import add_model, add_shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    add_shared(parser, "--positions")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import load_tokenizer
    from pct.tokens.text import vocabulary

    config = load_tokenizer(args).config
    print("\n".join(vocabulary(config.codebook_size, config.num_tokens if args.positions else None)), flush=True)
