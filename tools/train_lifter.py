#!/usr/bin/env python
"""Train a lifter: ``pct train lifter`` as a script, for a checkout and for torchrun."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "lifter", *sys.argv[1:]]))
