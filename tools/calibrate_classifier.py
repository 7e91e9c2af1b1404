#!/usr/bin/env python
"""Fit a classifier's confidence: ``pct calibrate`` as a script."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
