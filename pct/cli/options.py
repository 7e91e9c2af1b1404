"""Options that several commands share, and the kinds of values they take. Loads nothing: help must be instant."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

DEFAULT_MODEL = "coco17"
FLIP = "flip test: more accurate, twice the time"


def positive(text: str) -> int:
    """Read a count from the command line."""
    if not text.isdecimal() or not 1 <= len(text.lstrip("0")) <= 9:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not an integer from 1 to 999999999")
    return int(text)


_SHARED: dict[str, dict[str, Any]] = {
    "--category": {"metavar": "NAME|ID", "help": "of a COCO file, by name or id (default: all)"},
    "--device": {"default": "cpu", "help": "cpu or cuda, cuda:1, ... (default: %(default)s)"},
    "--positions": {"action": "store_true", "help": "words say their token, too: <p12_711> is id 711 as token 12"},
    "--progress": {"action": "store_true", "help": "a progress bar also where stderr is no terminal"},
    "--threads": {"type": positive, "metavar": "N", "help": "CPU threads (default: torch's choice)"},
}


def add_file_and_out(parser: argparse.ArgumentParser, source: str, out: str) -> None:
    """Add FILE, ``-o``, ``--model`` and ``--force``."""
    parser.add_argument("file", metavar="FILE", help=source)
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help=out)
    add_model(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def add_model(parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL, what: str = "model") -> None:
    """Add ``--model`` with the shipped one as its default."""
    text = f"a {what} that ships with pct, a folder, or hf:user/model (default: %(default)s)"
    parser.add_argument("--model", default=default, metavar="NAME", help=text)


def add_batches(parser: argparse.ArgumentParser, size: int = 4096) -> None:
    """Add what long work has: batches, a device, a progress bar."""
    parser.add_argument("--batch-size", type=positive, default=size, metavar="N", help="default: %(default)s")
    add_shared(parser, "--device", "--progress")


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add options of the table of those that several commands have."""
    for name in names:
        parser.add_argument(name, **_SHARED[name])


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, "from 0 to 1")


def rate(text: str) -> float:
    """Read frames a second."""
    return _number(text, lambda value: 0 < value <= 1000, "above 0, up to 1000")


def size(text: str) -> tuple[int, int]:
    """Read a width and height in pixels."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 0 < len(part) < 7 and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a width and height in pixels such as 1920x1080")
    return int(parts[0]), int(parts[1])


def _number(text: str, good: Callable[[float], bool], rule: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not good(value):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number {rule}")
    return value
