#!/usr/bin/env python
"""Train a classifier: ``pct train classifier`` as a script, for a checkout and for torchrun."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "classifier", *sys.argv[1:]]))
