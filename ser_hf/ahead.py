"""Reading ahead: what comes next is made ready while what came before is being used."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], weight: Callable[[Item], float], limit: float) -> Iterator[Item]:
    """Items in their order, drawn by a thread while the caller is busy with those before.

    Args:
        items: drawn by one thread, one after the other; what they raise is raised here, in its place.
        weight: of an item that waits, such as the memory it takes.
        limit: no further item is drawn while those that wait, and the one in use, weigh as much; one item may weigh
            more, and is then alone in memory if the caller lets go of it before it asks for the next.
    """
    waiting: deque[tuple[Any, BaseException | None]] = deque()  # an item, or what was raised in its place
    changed = threading.Condition()
    state = {"weight": 0.0, "closed": False}

    def put(item: Item | None, error: BaseException | None, load: float) -> bool:
        """Let an item wait; returns whether more is wanted, as soon as there is room."""
        with changed:
            waiting.append((item, error))
            state["weight"] += load
            changed.notify_all()
            changed.wait_for(lambda: state["weight"] < limit or state["closed"])
            return not state["closed"]

    def draw() -> None:
        try:
            for item in items:
                if not put(item, None, weight(item)):
                    return
                del item  # it must not stay until the next one is there
        except BaseException as error:  # whatever it is, it belongs to who asked
            put(None, error, 0)
        else:
            put(None, StopIteration(), 0)

    threading.Thread(target=draw, daemon=True).start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting)
                item, error = waiting.popleft()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            load = weight(item)
            yield item
            del item
            with changed:
                state["weight"] -= load
                changed.notify_all()
    finally:
        with changed:
            state["closed"] = True
            changed.notify_all()
