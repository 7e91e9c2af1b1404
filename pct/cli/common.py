"""What commands do alike once they run: load a tokenizer, find a device, show progress, report bad poses."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from pct.cli.main import one_line
from pct.tokenizer import PoseTokenizer

# Bad poses that are shown one by one; the summary counts all.
_MOST_REPORTS = 20


def load_tokenizer(args: Namespace) -> PoseTokenizer:
    """Load the tokenizer ``--model`` on ``--device``."""
    return PoseTokenizer.from_pretrained(args.model, find_device(args))


def find_device(args: Namespace) -> torch.device:
    """Return the device ``--device``, the CPU where a command has none, and take ``--threads`` of it where given.

    Raises:
        ValueError: If it cannot be used here.
    """
    name, threads = getattr(args, "device", "cpu"), getattr(args, "threads", None)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        device = torch.device(name)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("there is no CUDA device here")
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, NotImplementedError) as error:
        # What torch says after its first sentence are lists of backends.
        raise ValueError(f"device {name!r} cannot be used: {str(error).partition('. ')[0]}") from None
    return device


def shared(args: Namespace) -> dict[str, Any]:
    """Return the options that commands which stream files share, as the functions behind them call these."""
    names = {"model": "model_name", "category": "category", "force": "force", "batch_size": "batch_size"}
    return {name: getattr(args, option) for option, name in names.items()}


def say(sentence: object) -> None:
    """Print a sentence to stderr, past a progress bar."""
    tqdm.write(one_line(sentence), file=sys.stderr)


def say_notes(notes: Iterable[str], before: str = "") -> None:
    """Print the notes on what was read."""
    for note in notes:
        say(f"pct: note: {before}{note}")


@contextmanager
def progress(args: Namespace, count: Callable[[], int | None], unit: str = " poses") -> Iterator[Callable[[int], None]]:
    """Give a function that moves a progress bar on stderr, if that is a terminal or a bar is asked for."""
    shown = args.progress or sys.stderr.isatty()
    with tqdm(total=count() if shown else None, unit=unit, file=sys.stderr, disable=not shown) as bar:

        def move(done: int) -> None:
            bar.update(done - bar.n)

        yield move


@contextmanager
def reports() -> Iterator[Callable[[str], None]]:
    """Give a function that prints the first bad poses to stderr; the number of the others follows at the end."""
    count = 0

    def report(sentence: str) -> None:
        nonlocal count
        count += 1
        if count <= _MOST_REPORTS:
            say(f"pct: skipped: {sentence}")

    yield report
    if count > _MOST_REPORTS:
        say(f"pct: skipped: {count - _MOST_REPORTS:,} more")
