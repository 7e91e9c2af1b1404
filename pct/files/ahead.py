"""Do the next pieces of work in a thread while the caller is busy with the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 1) -> Iterator[Result]:
    """Yield ``function(item)`` of each item in their order, made while the caller works with those before.

    Pays where the function waits for a disk or decodes a photo, which leave the interpreter to the caller. Items are
    taken in the caller's thread; an error of the function is raised at its item's turn.

    Args:
        function: Called in one other thread, for one item at a time.
        items: Of any number.
        ahead: Items that are made, or in the making, beyond what was yielded.
    """
    with ThreadPoolExecutor(1) as pool:
        coming: deque[Future[Result]] = deque()
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
