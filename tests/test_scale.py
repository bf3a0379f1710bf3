"""Prediction by `--engine ray` on a cluster of two cores: the rows, a dead worker, shards, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from ray.data import DataContext

from ser_hf import predict, scale
from ser_hf.audio import SAMPLE_RATE
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_svm

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A connection to a cluster of two cores."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    # Our own workers go there as they are: to import this module would take them longer than the tests.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    head = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        with scale._connected(head.address):
            yield
    finally:
        head.shutdown()
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_svm(tmp_path_factory.mktemp("models") / "tiny-svm"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    names = [str(folder / f"{actor:02}.wav") for actor in range(1, 9)]
    for actor, name in enumerate(names):
        soundfile.write(name, make_clip("happy", actor, seconds=1.0), SAMPLE_RATE)
    return names


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "BATCH_ROWS", 2)


def run(*arguments: object) -> int:
    return predict.main([str(argument) for argument in arguments])


class MortalWorker(scale.Worker):
    """Dies of one recording, as a decoder might that runs out of memory."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if any("deadly" in item for item in batch["item"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.mark.slow
def test_batch_that_kills_its_worker_becomes_errors(cluster, model, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scale, "Worker", MortalWorker)
    monkeypatch.setattr(scale, "RETRIES", 0)
    inputs = [*clips[:2], tmp_path / "deadly.wav", *clips[2:5]]
    assert run(*inputs, "--model", model, "--format", "jsonl", "--engine", "ray") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]  # and nothing that Ray says
    assert [row["file"] for row in rows] == [str(name) for name in inputs]
    assert ["error" in row for row in rows] == [False, False, True, True, False, False]


@pytest.fixture
def shards(clips: list[str], tmp_path: Path) -> Path:
    """Two shards in a folder, as `datasets` writes an Audio column, in groups of two rows; the third holds names."""
    from datasets import Audio, Dataset

    folder = tmp_path / "shards"
    folder.mkdir()
    audio = [{"bytes": Path(name).read_bytes(), "path": Path(name).name} for name in clips[:5]]
    audio += [{"bytes": b"this is no sound", "path": "bad.wav"}, {"bytes": None, "path": clips[5]}]
    audio += [{"bytes": None, "path": None}]
    for number, part in enumerate((audio[:3], audio[3:])):
        table = Dataset.from_dict({"audio": part}).cast_column("audio", Audio(decode=False))
        table.to_parquet(folder / f"{number}.parquet", batch_size=2)
    pyarrow.parquet.write_table(pyarrow.table({"file": clips[6:8]}), folder / "2.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"other": [1]}), folder / "3.parquet")
    return folder


@pytest.fixture
def files(clips: list[str], tmp_path: Path) -> Path:
    """A recording of several windows, one that is too long, one with an odd name, and one that is none."""
    folder = tmp_path / "files"
    (folder / "inner").mkdir(parents=True)
    soundfile.write(folder / "inner" / "windows.flac", make_clip("angry", seconds=12.0), SAMPLE_RATE)
    soundfile.write(folder / "long.wav", make_clip("calm", seconds=20.0), SAMPLE_RATE)
    os.link(clips[0], os.fsencode(folder) + b"/caf\xe9.wav")
    (folder / "bad.wav").write_text("this is no sound")
    return folder


def test_rows_are_those_of_the_local_engine(cluster, model, clips, shards, files, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_hf.rows.SHARD_ROWS", 4)
    output, single = tmp_path / "predictions", tmp_path / "predictions.parquet"
    output.mkdir()
    (output / "part-00009.parquet").touch()  # of an earlier run with more rows
    options = ["--model", model, "--format", "parquet", "--max_minutes", "0.25", "--output"]
    assert run(shards, files, *clips, "absent.wav", *options, output, "--engine", "ray") == 1
    parts = sorted(output.iterdir())
    assert [part.name for part in parts] == [f"part-{number:05}.parquet" for number in range(6)]
    tables = [pd.read_parquet(part) for part in parts]
    assert [len(table) for table in tables] == [4] * 6
    table = pd.concat(tables, ignore_index=True)
    assert run(files, *clips, "absent.wav", *options, single) == 1
    local = pd.read_parquet(single)
    assert local["error"].notna().sum() == 3
    of_files = table.tail(len(local)).reset_index(drop=True)
    pd.testing.assert_frame_equal(of_files, local, check_exact=False, rtol=0, atol=1e-5)

    of_shards = table.head(len(table) - len(local))
    first, second = shards / "0.parquet", shards / "1.parquet"
    assert of_shards["file"].tolist() == [
        *(f"{first}#{row}:{row + 1:02}.wav" for row in range(3)),
        *(f"{second}#{row}:{path}" for row, path in enumerate(("04.wav", "05.wav", "bad.wav", clips[5], ""))),
        *clips[6:8],
        str(shards / "3.parquet"),
    ]
    assert of_shards.index[of_shards["error"].notna()].tolist() == [5, 7, 10]
    columns = [name for name in table.columns if name.startswith("p_")]
    found = of_shards[of_shards["error"].isna()][columns].to_numpy()
    assert abs(found - local[local["file"].isin(clips)][columns].to_numpy()).max() <= 1e-5


def test_worker_that_finds_no_model_ends_the_command(cluster, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(DataContext.get_current(), "max_consecutive_actor_init_deaths", 0)
    with pytest.raises(scale.ScaleError, match="no model folder"):
        list(scale.predict_on_ray(str(tmp_path / "absent"), {}, None, [{"file": name} for name in clips], None))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_absent_cluster_is_refused(address, model, monkeypatch, capsys):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert run("x.wav", "--model", model, "--engine", "ray", "--ray_address", address) == 2
    assert f"--ray_address {address}" in capsys.readouterr().err


@pytest.mark.slow
def test_without_cluster_prints_nothing_but_rows(clips, model):
    command = [sys.executable, "-m", "ser_hf.predict", *clips[:3], "--model", model, "--format", "jsonl"]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}  # that of some other work
    done = subprocess.run(
        [*command, "--engine", "ray"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == clips[:3]
