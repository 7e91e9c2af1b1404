#!/usr/bin/env python
"""Convert a published lifter to a model folder: ``tools/convert_lifter.py checkpoint.pth OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pct.cli.main import guard

DESCRIPTION = """\
Convert a published lifter's checkpoint to a model folder for `pct lift --model`.

  tools/convert_lifter.py model_st_gcn.pth OUT                       Cai et al., 2019, the network of one frame
  tools/convert_lifter.py ckpt_best.pth.tar OUT --statistics S.npz   the PyTorch port of Martinez et al., 2017

S.npz has what the port's poses were normalised with, which its checkpoint lacks: mean2d and std2d (16, 2) in pixels, of
the joints of h36m16; mean3d and std3d (16, 3) in millimetres relative to the hip, of those of h36m17 without the hip.
Both lifters read joints in pixels together with the image's size (--image-size of `pct lift`)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one checkpoint and return the exit status: 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="published checkpoint (.pth without pickled objects, or .safetensors)")
    parser.add_argument("out", help="model folder to write")
    parser.add_argument("--statistics", metavar="FILE", help="means and deviations of the port's poses (.npz)")
    parser.add_argument("--force", action="store_true", help="replace a model that OUT holds")
    args = parser.parse_args(argv)
    return guard("convert_lifter", lambda: _convert(args))


def _convert(args: argparse.Namespace) -> None:
    from pct.lifting.count import count_parameters
    from pct.published.checkpoint import read_official
    from pct.published.lifters import PoseStatistics, convert_lifter

    statistics = PoseStatistics.load(args.statistics) if args.statistics else None
    lifter = convert_lifter(read_official(args.checkpoint), statistics)
    lifter.save_pretrained(args.out, force=args.force)
    print(f"converted to {args.out}: {lifter.config.network} of {count_parameters(lifter):,} parameters")


if __name__ == "__main__":
    sys.exit(main())
