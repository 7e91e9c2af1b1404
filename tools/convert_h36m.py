#!/usr/bin/env python
"""Convert Human3.6M in VideoPose3D's layout to one plain file: tools/convert_h36m.py OUT --poses ... --cameras ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pct.cli.main import guard
from pct.files.motion.h36m_convert import convert_h36m, read_h36m_cameras

DESCRIPTION = """\
Convert Human3.6M in the layout of VideoPose3D, which is pickled, to one plain .npz file without pickles.

  tools/convert_h36m.py h36m.npz --poses data_3d_h36m.npz --cameras metadata.xml \\
      --detections data_2d_h36m_gt.npz data_2d_h36m_cpn_ft_h36m_dbb.npz --trust-pickle

Reading pickles lets a file run any code on this machine: give --trust-pickle only for files whose source you trust.
Afterwards nothing is unpickled any more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help=".npz file to write")
    parser.add_argument("--poses", required=True, metavar="FILE", help="data_3d_h36m.npz")
    parser.add_argument("--cameras", required=True, metavar="FILE", help="metadata.xml of the data set, or JSON")
    parser.add_argument("--detections", nargs="*", default=[], metavar="FILE", help="data_2d_h36m_NAME.npz")
    parser.add_argument("--trust-pickle", action="store_true", help="unpickle these files: they may run any code")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    options = parser.parse_args(argv)
    return guard("convert_h36m", lambda: _convert(options))


def _convert(options: argparse.Namespace) -> None:
    cameras = read_h36m_cameras(options.cameras)
    trusted = {"trust_pickle": options.trust_pickle, "force": options.force}
    print(*convert_h36m(options.out, options.poses, options.detections, cameras, **trusted), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
