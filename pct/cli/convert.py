"""A published PCT checkpoint to a model folder.

Convert a published PCT checkpoint (tokenizer, classifier or heatmap model) to a model folder.
"""

from __future__ import annotations

import argparse
from typing import Literal

EXAMPLES = """\
example:
  pct convert official.pth converted_model
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    checkpoint = "official checkpoint (.pth without pickled objects, or .safetensors)"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=checkpoint)
    parser.add_argument("out", metavar="OUT", help="model folder to write")
    parser.add_argument("--skeleton", default="coco17", help="whose joints the model has (default: coco17)")
    parser.add_argument("--crop-size", type=int, default=256, help="side of its square crop in pixels (default: 256)")
    parser.add_argument("--keep-pixels", action="store_true", help="keep pixels of the crop as the tokenizer's unit")
    parser.add_argument("--tokenizer-only", action="store_true", help="take only the tokenizer of a whole classifier")
    parser.add_argument("--force", action="store_true", help="replace a model that OUT holds")


def run(args: argparse.Namespace) -> None:
    """Convert one checkpoint and say what it was."""
    from pct.published.convert import convert_checkpoint
    from pct.skeleton import get_skeleton

    units: Literal["unit", "pixels"] = "pixels" if args.keep_pixels else "unit"
    skeleton = get_skeleton(args.skeleton)
    lines = convert_checkpoint(
        args.checkpoint, args.out, skeleton, units, args.crop_size, args.tokenizer_only, args.force
    )
    print("\n".join(lines))
