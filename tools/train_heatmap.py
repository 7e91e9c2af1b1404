#!/usr/bin/env python
"""Train a heatmap model: ``pct train heatmap`` as a script, for a checkout and for torchrun."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "heatmap", *sys.argv[1:]]))
