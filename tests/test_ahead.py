"""Reading ahead keeps the order, the errors and the limit."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.ahead import read_ahead


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_items_come_in_their_order_whatever_they_weigh(items, limit):
    assert list(read_ahead(items, float, limit)) == items


def test_no_more_is_drawn_than_may_wait():
    drawn, used = [], []

    def items():
        for number in range(20):
            drawn.append(number)
            assert len(drawn) - len(used) <= 4  # one in use, two that wait and one that was drawn to wait
            yield number

    for item in read_ahead(items(), lambda _: 1, limit=2):
        used.append(item)
    assert used == list(range(20))


def test_an_error_comes_behind_what_was_drawn_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    ahead = read_ahead(items(), lambda _: 1, limit=10)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_who_leaves_early_stops_the_drawing():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = read_ahead(items(), lambda _: 1, limit=3)
    next(ahead)
    ahead.close()
    assert closed.wait(timeout=10)
