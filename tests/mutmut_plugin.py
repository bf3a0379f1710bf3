"""What mutmut 3.8 reads of a test and pytest 9.2 does not keep any more: the test's name under its former attribute."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item._nodeid = item.nodeid  # type: ignore[attr-defined]
