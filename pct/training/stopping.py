"""Ending a run on request: Ctrl-C and SIGTERM let the running step finish, so that a checkpoint can be written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class StopRequest:
    """Whether the run was asked to end, and with which signal (0: it was not)."""

    signal_number: int = 0


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Note SIGINT and SIGTERM instead of ending at once; a second one ends at once.

    Only a single process does so, in its main thread: of several, each would stop at another step and wait for the
    others for ever, so those end at once and go on from their last checkpoint.
    """
    request = StopRequest()
    if distributed.is_distributed() or threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal_number = number
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
