#!/usr/bin/env python
"""Write photos of generated people: ``pct make-people`` as a script."""

import sys

from pct.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["make-people", *sys.argv[1:]]))
