#!/usr/bin/env python
"""Convert a published PCT checkpoint: ``pct convert`` as a script."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
