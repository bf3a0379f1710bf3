"""A training that is killed at any moment and resumed ends as the unbroken one."""

from __future__ import annotations

import pytest

from tests.train import killed


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    return killed.prepare(tmp_path_factory.mktemp("killed"))


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "kills"), [("gradient", 6), ("cached", 4)])
def test_killed_runs_end_as_the_unbroken_one(common, tmp_path, recipe, kills):
    outcome = killed.survive(common, recipe, tmp_path, kills)
    assert outcome.complaints == []
    assert len(outcome.moments) == kills


def test_difference_names_files():
    expected = {"model.safetensors": b"1", "predictions.parquet": b"2"}
    assert killed.difference(expected, dict(expected)) == ""
    found = {"model.safetensors": b"3", "checkpoint-4/optimizer.pt": b"4"}
    told = "missing: predictions.parquet; left over: checkpoint-4/optimizer.pt; other bytes: model.safetensors"
    assert killed.difference(expected, found) == told
