"""Prediction by `--engine ray`: the rows of files and shards on a cluster of two cores, lost rows, refusals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from ray.exceptions import RayError

from ser_hf import predict, scale
from ser_hf.audio import SAMPLE_RATE
from tests.synthetic import make_clip


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A connection to a cluster of two cores."""
    from ray.cluster_utils import Cluster

    head = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        with scale._connected(head.address):
            yield
    finally:
        head.shutdown()


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


def test_rows_are_those_of_the_local_engine(cluster, tiny_svm, clips, shards, files, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_hf.rows.SHARD_ROWS", 4)
    output, single = tmp_path / "predictions", tmp_path / "predictions.parquet"
    output.mkdir()
    (output / "part-00009.parquet").touch()  # of an earlier run with more rows
    options = ["--model", tiny_svm, "--format", "parquet", "--max_minutes", "0.25", "--output"]
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


class Rows:
    """What Ray's dataset gives: the second of three rows, and then perhaps an error."""

    error: Exception | None = None

    def map_batches(self, *args: object, **options: object) -> Rows:
        return self

    def iter_rows(self) -> Iterator[dict]:
        yield {"index": 1, "row": '{"file": "b.wav"}'}
        if self.error:
            raise self.error


def test_rows_that_ray_lost_become_errors(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", dict)
    monkeypatch.setattr("ray.data.from_items", lambda *args, **options: Rows())
    inputs = [{"file": name} for name in ("a.wav", "b.wav", "c.wav")]
    rows = list(scale.predict_on_ray(None, {}, None, inputs, None))
    assert [row["file"] for row in rows] == ["a.wav", "b.wav", "c.wav"]
    assert ["error" in row for row in rows] == [True, False, True]
    monkeypatch.setattr(Rows, "error", RayError("in a worker:\nno model folder"))
    with pytest.raises(scale.ScaleError, match="no model folder"):
        list(scale.predict_on_ray(None, {}, None, inputs, None))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_absent_cluster_is_refused(address, tiny_svm, monkeypatch, capsys):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert run("x.wav", "--model", tiny_svm, "--engine", "ray", "--ray_address", address) == 2
    assert f"--ray_address {address}" in capsys.readouterr().err
