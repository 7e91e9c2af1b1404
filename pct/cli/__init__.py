"""The command line ``pct``: parsing, and errors as one sentence."""
