"""Reading ahead keeps the order, the errors and the limit."""

from __future__ import annotations

import threading
import weakref

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
            assert len(drawn) - len(used) <= 3  # one in use, one that waits and one that was drawn to wait
            yield number

    for item in read_ahead(items(), lambda _: 1, limit=2):
        used.append(item)
    assert used == list(range(20))


class Heavy:
    """Something that can be seen to be gone."""


def test_nothing_is_drawn_beside_a_heavy_item_in_use_nor_before_it_is_gone():
    """Two recordings of an hour were once in memory together."""
    former, drawn = [], threading.Semaphore(0)

    def items():
        for _ in range(3):
            assert not any(reference() for reference in former)
            drawn.release()
            heavy = Heavy()
            former.append(weakref.ref(heavy))
            yield heavy
            del heavy

    ahead = read_ahead(items(), lambda _: 10, limit=5)
    for _ in range(3):
        item = next(ahead)
        assert drawn.acquire(timeout=10)
        assert not drawn.acquire(timeout=0.1)
        assert isinstance(item, Heavy)
        del item
    assert list(ahead) == []


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
