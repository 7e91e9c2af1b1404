#!/usr/bin/env python
"""Train a tokenizer: ``pct train tokenizer`` as a script, for a checkout and for torchrun."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "tokenizer", *sys.argv[1:]]))
