"""``python -m pct``: the command line."""

import sys

from pct.cli.main import main

sys.exit(main())
