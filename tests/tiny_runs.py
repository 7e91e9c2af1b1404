"""The end of a training process amid its work, for tests of runs that go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class CrashError(Exception):
    """Stands for the end of the process."""


class CutAfter:
    """A progress bar that ends the process within the ``phase``-th phase, ``steps`` steps after its start."""

    def __init__(self, steps: int, phase: int = 0) -> None:
        self.steps, self.phases_before = steps, phase

    def __call__(self, steps: Iterable[int], start: int) -> Any:
        self.phases_before -= 1
        return _Cut(steps, self.steps if self.phases_before < 0 else None)


class _Cut:
    def __init__(self, steps: Iterable[int], number: int | None) -> None:
        self.steps, self.number = steps, number

    def __iter__(self) -> Iterator[int]:
        for done, step in enumerate(self.steps):
            if done == self.number:
                raise CrashError
            yield step

    def set_postfix(self, _: dict[str, str]) -> None:
        pass
