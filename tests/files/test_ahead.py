"""Work done ahead: same order, so many ahead and no more, errors at their turn."""

from __future__ import annotations

import threading

import pytest

from pct.files.ahead import map_ahead


def test_the_next_item_is_made_while_the_caller_is_busy() -> None:
    made = threading.Event()
    results = map_ahead(lambda item: made.set() or item if item == 1 else item, range(5))
    assert next(results) == 0
    assert made.wait(10), "item 1 is made before it is asked for"
    assert list(results) == [1, 2, 3, 4]
    assert list(map_ahead(str, [])) == []


@pytest.mark.parametrize("ahead", [1, 3])
def test_items_are_taken_ahead_and_in_the_callers_thread(ahead: int) -> None:
    taken, threads = [], set()

    def items():
        for item in range(10):
            taken.append(item)
            threads.add(threading.current_thread())
            yield item

    results = map_ahead(lambda item: item, items(), ahead)
    for number in range(3):
        assert next(results) == number
        assert taken == list(range(number + 1 + ahead))
    assert threads == {threading.current_thread()}


def test_an_error_is_raised_at_its_items_turn() -> None:
    results = map_ahead(lambda x: 1 / x, [2, 1, 0, 1])
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_caller_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = map_ahead(lambda x: x, range(100))
    next(results)
    results.close()
    assert threading.active_count() == before
