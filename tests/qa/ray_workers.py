"""Ray as it starts itself: workers that die or find no model, and nothing printed but rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from ray import cloudpickle
from ray.data import DataContext

from ser_hf import predict, scale
from ser_hf.audio import SAMPLE_RATE
from tests.synthetic import make_clip

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def words(tiny_svm: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that predict five clips by a tiny model and Ray."""
    folder = tmp_path_factory.mktemp("material")
    names = [str(folder / f"{actor:02}.wav") for actor in range(1, 6)]
    for actor, name in enumerate(names):
        soundfile.write(name, make_clip("happy", actor, seconds=1.0), SAMPLE_RATE)
    return [*names, "--model", str(tiny_svm), "--format", "jsonl", "--engine", "ray"]


class MortalWorker(scale.Worker):
    """Dies of one recording, as a decoder might that runs out of memory."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if any("deadly" in item for item in batch["item"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def test_batch_that_kills_its_worker_becomes_errors(words, monkeypatch, capsys):
    for name, value in (("Worker", MortalWorker), ("RETRIES", 0), ("BATCH_ROWS", 2)):
        monkeypatch.setattr(scale, name, value)
    # Our own worker goes there as it is: to import this module would take it longer than the test.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    assert predict.main([*words[:2], "deadly.wav", *words[2:]]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [*words[:2], "deadly.wav", *words[2:5]]
    assert ["error" in row for row in rows] == [False, False, True, True, False, False]


def test_worker_that_finds_no_model_ends_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(DataContext.get_current(), "max_consecutive_actor_init_deaths", 0)
    with pytest.raises(scale.ScaleError, match="no model folder"):
        list(scale.predict_on_ray(str(tmp_path / "absent"), {}, None, [{"file": "a.wav"}], None))


def test_without_cluster_prints_nothing_but_rows(words):
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}  # that of some other work
    command = [sys.executable, "-m", "ser_hf.predict", *words]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == words[:5]
