"""Prediction by `--engine ray` on two nodes of one core each: the rows, a dead worker, shards, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
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
from ser_hf.cluster import ScaleError, cluster
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_svm, save_tiny_whisper

REPOSITORY = Path(__file__).resolve().parent.parent
PARQUET = ("--engine", "ray", "--format", "parquet", "--output")


@pytest.fixture(scope="module")
def nodes() -> Iterator[str]:
    """The address of a cluster of two nodes, as two machines would be, which this process is connected to."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    # Our own workers go there as they are: to import this module would take them longer than the tests.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        two.add_node(num_cpus=1)
        with cluster(two.address):
            yield two.address
    finally:
        two.shutdown()
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_svm(tmp_path_factory.mktemp("models") / "tiny-svm"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for actor in range(1, 13):
        soundfile.write(folder / f"{actor:02}.wav", make_clip("happy", actor, seconds=1.0), SAMPLE_RATE)
    return folder


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_hf.classifier.BATCH_SIZE", 2)


def run(*arguments: object) -> int:
    return predict.main([str(argument) for argument in arguments])


def names(folder: Path) -> list[str]:
    return sorted(str(file) for file in folder.glob("*.wav"))


def test_rows_are_those_of_the_local_engine(nodes, tmp_path, capsys):
    model = save_tiny_whisper(tmp_path / "tiny-whisper")
    folder = tmp_path / "recordings"
    (folder / "inner").mkdir(parents=True)
    for actor in range(1, 6):
        soundfile.write(folder / f"{actor}.wav", make_clip("sad", actor, seconds=1 + actor % 3), SAMPLE_RATE)
    soundfile.write(folder / "inner" / "windows.flac", make_clip("angry", seconds=12.0), SAMPLE_RATE)
    soundfile.write(folder / "long.wav", make_clip("calm", seconds=20.0), SAMPLE_RATE)
    os.rename(folder / "1.wav", os.fsencode(folder) + b"/caf\xe9.wav")
    (folder / "2b.wav").write_text("this is no sound")
    (folder / "3b.wav").touch()
    arguments = [folder, tmp_path / "absent.wav", "--model", model, "--format", "jsonl", "--max_minutes", "0.25"]
    rows = []
    for engine in ("local", "ray"):
        assert run(*arguments, "--engine", engine) == 1
        rows.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    local, ray = rows
    assert len(ray) == 10
    assert [row["file"] for row in ray] == [row["file"] for row in local]
    assert [row.get("error") for row in ray] == [row.get("error") for row in local]
    assert sum("error" in row for row in ray) == 4
    assert any("(or raise --max_minutes)" in row.get("error", "") for row in ray)
    for row, other in zip(ray, local, strict=True):
        if "error" not in row:
            assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)
            assert len(row.pop("timeline")) == len(other.pop("timeline"))
            assert {**row, "scores": None} == {**other, "scores": None}


class NotedWorker(scale.Worker):
    """Notes, in a folder ``noted`` beside the recordings, when which process begins and ends which batch."""

    def __call__(self, batch: Any) -> Any:
        place = Path(json.loads(batch["item"][0].as_py()))
        note = place.parent / "noted" / f"{place.stem}-{os.getpid()}"
        note.touch()
        time.sleep(0.5)
        answers = super().__call__(batch)
        note.with_suffix(".done").touch()
        return answers


def kill_one(noted: Path, killed: list[Path]) -> None:
    """Kill a worker in the midst of its second batch or a later one."""
    deadline = time.monotonic() + 100
    while not killed and time.monotonic() < deadline:
        begun = {note for note in noted.iterdir() if not note.suffix}
        done = {note.with_suffix("") for note in noted.glob("*.done")}
        for note in sorted(begun - done):
            pid = note.name.split("-")[1]
            if any(other.name.endswith(f"-{pid}") for other in done):
                os.kill(int(pid), signal.SIGKILL)
                killed.append(note)
                return
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(nodes, model, clips, capsys, monkeypatch):
    monkeypatch.setattr(scale, "Worker", NotedWorker)
    noted, killed = clips / "noted", []
    noted.mkdir()
    killer = threading.Thread(target=kill_one, args=(noted, killed))
    killer.start()
    status = run(clips, "--model", model, "--format", "jsonl", "--engine", "ray")
    killer.join()
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]  # and nothing that Ray says
    assert len(killed) == 1, "the command ended before a worker could be killed"
    assert not killed[0].with_suffix(".done").exists()
    batch = killed[0].name.split("-")[0]
    others = [note for note in noted.glob(f"{batch}-*.done") if note.stem != killed[0].name]
    assert len(others) == 1, "the batch of the killed worker was done again"
    assert [row["file"] for row in rows] == names(clips)
    assert [row["error"] for row in rows if "error" in row] == []
    assert status == 0
    assert "Traceback" not in printed.err


class MortalWorker(scale.Worker):
    """Dies of a recording, as a decoder might that runs out of memory."""

    def __call__(self, batch: Any) -> Any:
        if any("deadly" in item for item in batch["item"].to_pylist()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.mark.slow
def test_a_recording_that_kills_whoever_hears_it_is_an_error_of_its_own(nodes, model, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "Worker", MortalWorker)
    monkeypatch.setattr(scale, "RETRIES", 0)
    deadly = tmp_path / "deadly.wav"
    deadly.write_bytes((clips / "01.wav").read_bytes())
    inputs = [*names(clips)[:3], str(deadly), *names(clips)[3:6]]
    output = tmp_path / "answers.jsonl"
    assert run(*inputs, "--model", model, "--format", "jsonl", "--engine", "ray", "--output", output) == 1
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["file"] for row in rows] == inputs
    assert [(row["file"], row["error"]) for row in rows if "error" in row] == [
        (str(deadly), f"{deadly}: the worker that hears it dies (out of memory, perhaps)")
    ]


def test_a_broken_off_run_is_gone_on_with(nodes, model, clips, tmp_path, monkeypatch, capsys):
    output = tmp_path / "answers.csv"
    arguments = [clips, "--model", model, "--format", "csv", "--engine", "ray", "--output", output]
    whole, asked = scale.answer_on_ray, []

    def interrupted(*arguments, **options):
        for number, row in enumerate(whole(*arguments, **options)):
            if number == 5:
                raise KeyboardInterrupt
            yield row

    def counted(model, options, inputs, **others):
        asked.extend(inputs)
        return whole(model, options, inputs, **others)

    monkeypatch.setattr(scale, "answer_on_ray", interrupted)
    assert run(*arguments) == 130
    assert not output.exists()
    monkeypatch.setattr(scale, "answer_on_ray", counted)
    assert run(*arguments) == 0
    assert "5 of 12 recordings are done" in capsys.readouterr().err
    assert asked == names(clips)[5:]
    assert pd.read_csv(output)["file"].tolist() == names(clips)
    assert list(tmp_path.iterdir()) == [output]


@pytest.fixture
def shards(clips: Path, tmp_path: Path) -> Path:
    """Two shards in a folder, as `datasets` writes an Audio column, in groups of two rows; the third holds names."""
    from datasets import Audio, Dataset

    folder = tmp_path / "shards"
    folder.mkdir()
    sounds = [{"bytes": Path(name).read_bytes(), "path": Path(name).name} for name in names(clips)[:5]]
    sounds += [{"bytes": b"this is no sound", "path": "bad.wav"}, {"bytes": None, "path": names(clips)[5]}]
    sounds += [{"bytes": None, "path": None}]
    for number, part in enumerate((sounds[:3], sounds[3:])):
        table = Dataset.from_dict({"audio": part}).cast_column("audio", Audio(decode=False))
        table.to_parquet(folder / f"{number}.parquet", batch_size=2)
    pyarrow.parquet.write_table(pyarrow.table({"file": names(clips)[6:8]}), folder / "2.parquet")
    return folder


def test_shards_are_read_and_written(nodes, model, clips, shards, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_hf.rows.SHARD_ROWS", 4)
    answers = shards / "answers"
    assert run(shards, "--model", model, *PARQUET, f"{answers}/") == 1
    parts = sorted(answers.iterdir())
    assert [part.name for part in parts] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    tables = [pd.read_parquet(part) for part in parts]
    assert [len(table) for table in tables] == [4, 4, 2]
    table = pd.concat(tables, ignore_index=True)
    first, second = shards / "0.parquet", shards / "1.parquet"
    assert table["file"].tolist() == [
        *(f"{first}#{row}:{row + 1:02}.wav" for row in range(3)),
        f"{second}#0:04.wav",
        f"{second}#1:05.wav",
        f"{second}#2:bad.wav",
        f"{second}#3:{clips / '06.wav'}",
        f"{second}#4:",
        *names(clips)[6:8],
    ]
    assert table.index[table["error"].notna()].tolist() == [5, 7]
    assert "not an audio file" in table["error"][5]
    assert "neither bytes nor a path" in table["error"][7]

    # The same sounds as files, in one file by this process; where answers lie already, they are no inputs.
    single = tmp_path / "answers.parquet"
    assert run(*names(clips)[:8], "--model", model, "--format", "parquet", "--output", single) == 0
    expected = pd.read_parquet(single)
    assert list(table.columns) == list(expected.columns)
    columns = [name for name in table.columns if name.startswith("p_")]
    found = table[table["error"].isna()].reset_index(drop=True)
    assert (found[columns] - expected[columns]).abs().to_numpy().max() <= 1e-5
    assert list(predict.find_recordings(str(shards), (".parquet",), apart_from=answers)) == [
        str(shards / f"{number}.parquet") for number in range(3)
    ]


def test_workers_that_cannot_find_the_model_end_the_command_in_words(nodes, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(DataContext.get_current(), "max_consecutive_actor_init_deaths", 0)
    with pytest.raises(ScaleError, match="no model folder"):
        list(scale.answer_on_ray(str(tmp_path / "absent"), {}, names(clips), max_seconds=60))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ray_address", "auto"], "--ray_address auto goes with --engine ray: give both, or neither"),
        (["--engine", "ray", "--format", "csv", "--output", "."], "is a folder; name a file"),
        (["--format", "parquet", "--output", "new/"], "--engine ray --format parquet takes a folder"),
        ([*PARQUET, "README.md/"], "there is a file of that name"),
        ([*PARQUET, "absent/answers/"], "there is no folder absent"),
    ],
)
def test_wrong_usage_is_refused_in_words(arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert run("x.wav", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not Path("new").exists()


def test_without_ray_the_file_to_install_is_named(monkeypatch, capsys):
    monkeypatch.setattr(predict, "find_spec", lambda name: None if name == "ray" else object())
    assert run("x.wav", "--engine", "ray") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install -r requirements-scale.txt" in error


@pytest.mark.parametrize(
    ("address", "words"), [("127.0.0.1:1", "refused"), ("nowhere", "an address is auto or HOST:PORT")]
)
def test_a_cluster_that_is_not_there_is_told(address, words, model, monkeypatch, capsys):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert run("x.wav", "--model", model, "--engine", "ray", "--ray_address", address) == 2
    error = capsys.readouterr().err
    assert f"--ray_address {address}: there is no Ray cluster" in error
    assert words in error
    assert "ray start --head" in error


@pytest.mark.slow
def test_alone_on_a_machine_the_command_starts_its_own_ray_and_prints_nothing_but_rows(clips, model, tmp_path):
    command = [sys.executable, "-m", "ser_hf.predict", *names(clips)[:3], "--model", model, "--format", "jsonl"]
    # The address is that of some other work; Ray keeps a token in the home.
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--engine", "ray"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == names(clips)[:3]
