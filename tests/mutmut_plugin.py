"""What mutmut 3.8 needs of the tests: their names as it reads them, and an end at the first failure."""

from __future__ import annotations

import hypothesis
import pytest


def pytest_sessionstart() -> None:
    """A mutant is noticed by the first case that fails: to look for the smallest one takes a minute more."""
    profile = hypothesis.settings.get_profile("tests")
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", profile, phases=phases)
    hypothesis.settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's name, which pytest 9.2 does not keep any more under this attribute."""
    for item in items:
        item._nodeid = item.nodeid  # type: ignore[attr-defined]
