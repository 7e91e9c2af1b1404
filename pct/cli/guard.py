"""How a program ends: errors as one sentence and exit status 1, Ctrl-C as 130."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Of a message, in characters.
_LONGEST = 499


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
