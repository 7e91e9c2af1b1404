"""The command line ``pct``: finds the command, parses its options, runs it. Each command is a file of this room."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from types import ModuleType

from pct.cli import (
    calibrate,
    convert,
    decode,
    encode,
    evaluate,
    explore,
    export,
    info,
    lift,
    make_people,
    predict,
    search,
    text,
    train,
    visualize,
    vocab,
)
from pct.cli.guard import guard

# Each module has SUMMARY, DESCRIPTION and EXAMPLES, `add_arguments(parser)` and `run(args)`; only `run` loads torch.
COMMANDS: dict[str, ModuleType] = {
    "encode": encode,
    "decode": decode,
    "text": text,
    "vocab": vocab,
    "search": search,
    "info": info,
    "visualize": visualize,
    "explore": explore,
    "predict": predict,
    "lift": lift,
    "evaluate": evaluate,
    "train": train,
    "calibrate": calibrate,
    "make-people": make_people,
    "convert": convert,
    "export": export,
}

_EXAMPLES = """\
examples:
  pct encode person_keypoints_val2017.json -o tokens.parquet    poses to tokens
  pct decode tokens.parquet -o poses.json                       tokens to poses, as a COCO file
  pct search tokens.parquet --like 183126 -o found.png          poses like annotation 183126
  pct explore -o explorer.html                                  drag a pose, see its tokens
  pct predict photo.jpg -o predictions                          poses of persons on photos
  pct lift poses.json -o poses3d.npz                            2D poses to 3D poses
  pct train tokenizer generated out=runs/mine                   a tokenizer of your own
  pct COMMAND --help                                            more on a command
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0, 1 after an error, 130 after Ctrl-C. Wrong usage exits with 2.
    """
    parser = build_parser()
    args, others = parser.parse_known_args(argv)
    # argparse gives up on key=value pairs that stand behind an option.
    pairs = [other for other in others if "=" in other and not other.startswith("-")]
    if others and (args.command != "train" or pairs != others):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if others:
        args.overrides = [*args.overrides, *others]
    return guard("pct", lambda: COMMANDS[args.command].run(args))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="pct",
        description="Pose tokens: human poses as integers and back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser


def _version() -> str:
    from pct import __version__

    return f"pct {__version__}"
