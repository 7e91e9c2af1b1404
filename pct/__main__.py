"""``python -m pct``: the command line."""

import sys

from pct.cli import main

sys.exit(main())
