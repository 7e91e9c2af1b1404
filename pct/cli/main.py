"""The command line ``pct``: finds the command, parses its options, runs it, and says errors in one sentence."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

# Files of this room. The docstring says what a command is for, EXAMPLES how; it has `add_arguments(parser)` and
# `run(args)`, and only the latter loads torch.
_NAMES = (
    *("encode", "decode", "text", "vocab", "search", "info", "visualize", "explore", "predict", "lift", "evaluate"),
    *("train", "calibrate", "make-people", "convert", "export"),
)
COMMANDS: dict[str, ModuleType] = {n: import_module(f"pct.cli.{n.replace('-', '_')}") for n in _NAMES}

# Of a message, in characters.
_LONGEST = 499
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
        first, _, rest = (module.__doc__ or name).partition("\n\n")
        command = commands.add_parser(
            name,
            help=first[0].lower() + first[1:].rstrip("."),
            description=rest or first,
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser


def _version() -> str:
    from pct import __version__

    return f"pct {__version__}"


def guard(program: str, action: Callable[[], int | None]) -> int:
    """Run a program's work and return its exit status.

    Args:
        program: What its messages begin with.
        action: The work; returns an exit status, or None for 0.

    Returns:
        The status: that of ``action``, 1 after an error, 130 after Ctrl-C. With PCT_DEBUG=1 an error is raised.
    """
    from pct.files.output import stop_in_order

    stop_in_order()
    try:
        with _notes(program):
            return action() or 0
    except KeyboardInterrupt:
        print(f"{program}: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who reads our output has seen enough; python must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("PCT_DEBUG") == "1":
            raise
        print(f"{program}: error: {explain(error)}", file=sys.stderr)
        return 1


@contextmanager
def _notes(program: str) -> Iterator[None]:
    """Print warnings as notes in the block; whoever called the program from Python has theirs back behind it."""
    shown = warnings.showwarning
    warnings.showwarning = lambda message, *_: print(f"{program}: note: {one_line(message)}", file=sys.stderr)
    try:
        yield
    finally:
        warnings.showwarning = shown


def one_line(text: object) -> str:
    """Return a message as people see it: one line of at most 499 characters, none of which moves a terminal."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."


def explain(error: Exception) -> str:
    """Return an error as one line: what people can act on as it is, what is our fault with its type."""
    return one_line(_explain(error))


def _explain(error: Exception) -> str:
    from pct.packages import missing_package

    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_package(error.name)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, (ValueError, OSError, FloatingPointError)):
        return str(error)
    return f"unexpected {type(error).__name__}: {str(error)[:300]} (PCT_DEBUG=1 shows where)"
