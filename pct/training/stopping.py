"""Ending a run on request: Ctrl-C and SIGTERM let the running step finish, so that a checkpoint can be written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pct import distributed


class TrainingStopped(KeyboardInterrupt):
    """A run was asked to end and has written a checkpoint.

    Attributes:
        step: Optimiser steps done.
        signal_number: What it was asked with.
    """

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped after step {step}, which is saved")
        self.step, self.signal_number = step, signal_number


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Note SIGINT and SIGTERM instead of ending at once, and give a function that returns which, 0 if none.

    A second signal ends at once. Only a single process does so, in its main thread: of several, each would stop at
    another step and wait for the others for ever, so those end at once and go on from their last checkpoint.
    """
    seen = [0]
    if distributed.is_distributed() or threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: seen[-1]
    finally:
        restore()
