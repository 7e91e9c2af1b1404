"""Do the next piece of work in a thread while the caller is busy with the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` of each item in their order, each made while the caller works with the one before.

    Pays where the function waits for a disk or decodes a photo, which leave the interpreter to the caller. Items are
    taken in the caller's thread, one ahead of what was yielded; an error of the function is raised at its item's turn.

    Args:
        function: Called in one other thread, for one item at a time.
        items: Of any number.
    """
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Result] | None = None
        for item in items:
            made, coming = coming, pool.submit(function, item)
            if made is not None:
                yield made.result()
        if coming is not None:
            yield coming.result()
