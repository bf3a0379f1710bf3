import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from ser_hf import predict
from ser_hf.audio import SAMPLE_RATE
from ser_hf.labels import LABELS
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_whisper

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good recordings and a bad one, in two folders, among what is no recording."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "inner").mkdir()
    (folder / "empty").mkdir()
    soundfile.write(folder / "b.wav", make_clip("happy"), SAMPLE_RATE)
    soundfile.write(folder / "inner" / "a.FLAC", make_clip("sad"), SAMPLE_RATE, format="FLAC")
    (folder / "a, bad.wav").write_text("this is no sound")
    (folder / "notes.txt").write_text("nor is this")
    (folder / "._b.wav").write_text("what macOS leaves behind")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny-whisper"))


def run(*arguments: object) -> int:
    return predict.main([str(argument) for argument in arguments])


def test_jsonl_goes_on_after_a_bad_file_and_exits_with_one(folder, model, capsys):
    assert run(folder, "--model", model, "--format", "jsonl") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ["a, bad.wav", "b.wav", "inner/a.FLAC"]
    assert [row["file"] for row in rows] == [str(folder / name) for name in names]
    assert set(rows[0]) == {"file", "error"}
    assert "a, bad.wav" in rows[0]["error"]
    for row in rows[1:]:
        assert tuple(row["scores"]) == LABELS
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert row["scores"][row["label"]] == max(row["scores"].values())
        assert row["duration"] == 3.0
        assert isinstance(row["warnings"], list)


def test_good_files_exit_with_zero(folder, model, capsys):
    assert run(folder / "inner", folder / "b.wav", "--model", model, "--format", "jsonl") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_table_has_a_line_a_file_and_tells_the_error(folder, model, capsys):
    assert run(folder, "--model", model) == 1
    header, bad, good, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["file", "answer", "sure", "length", "remarks"]
    assert "not an audio file" in bad
    assert "3.0 s" in good
    assert any(label in good for label in LABELS)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_csv_and_parquet_hold_the_same_rows_as_jsonl(folder, model, tmp_path, capsys, format):
    output = tmp_path / f"answers.{format}"
    assert run(folder, "--model", model, "--format", format, "--output", output) == 1
    run(folder, "--model", model, "--format", "jsonl")
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    table = pd.read_csv(output) if format == "csv" else pd.read_parquet(output)
    assert list(table.columns) == [
        "file", "label", "confident", *(f"p_{label}" for label in LABELS), "duration", "warnings", "error"
    ]  # fmt: skip
    assert list(table["file"]) == [row["file"] for row in expected]
    assert table["error"].notna().tolist() == [True, False, False]
    for index, row in enumerate(expected[1:], start=1):
        assert table["label"][index] == row["label"]
        assert [table[f"p_{label}"][index] for label in LABELS] == list(row["scores"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name]  # nothing half-written is left


def test_parquet_keeps_the_rows_of_many_groups(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_hf.rows.PARQUET_ROWS_AT_ONCE", 2)
    output = tmp_path / "answers.parquet"
    files = [folder / "b.wav"] * 5
    assert run(*files, "--model", model, "--format", "parquet", "--output", output) == 0
    assert len(pd.read_parquet(output)) == 5


def test_output_that_breaks_off_leaves_the_old_file_and_is_gone_on_with(folder, model, tmp_path, monkeypatch, capsys):
    output = tmp_path / "answers.jsonl"
    output.write_text("old")
    arguments = [folder, "--model", model, "--format", "jsonl", "--output", output]
    whole, asked = predict.answer, []

    def interrupted(classifier, inputs, **options):
        for row in whole(classifier, inputs, **options):
            if row["file"].endswith("a.FLAC"):
                raise KeyboardInterrupt
            yield row

    def counted(classifier, inputs, **options):
        asked.extend(Path(name).name for name in inputs)
        return whole(classifier, inputs, **options)

    monkeypatch.setattr(predict, "answer", interrupted)
    assert run(*arguments) == 130
    assert "the same command resumes" in capsys.readouterr().err
    assert output.read_text() == "old"
    monkeypatch.setattr(predict, "answer", counted)
    assert run(*arguments) == 1
    assert asked == ["a.FLAC"]
    assert "2 of 3 recordings are done" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert run(folder, "--model", model, "--format", "jsonl") == 1
    rows, expected = output.read_text().splitlines(), capsys.readouterr().out.splitlines()
    assert [json.loads(row)["file"] for row in rows] == [json.loads(row)["file"] for row in expected]
    for row, other in zip(map(json.loads, rows), map(json.loads, expected), strict=True):
        assert row.get("scores", {}) == pytest.approx(other.get("scores", {}), abs=1e-5)


DEADLY = """
import os, signal, sys
from ser_hf import predict
answer = predict.answer
def deadly(*arguments, **options):
    for number, row in enumerate(answer(*arguments, **options)):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row
predict.answer = deadly
predict.main(sys.argv[1:])
"""


def test_a_killed_command_does_no_recording_twice(model, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for actor in range(1, 9):
        soundfile.write(clips / f"{actor}.wav", make_clip("happy", actor), SAMPLE_RATE)
    output = tmp_path / "answers.csv"
    words = [str(clips), "--model", model, "--format", "csv", "--output", str(output)]
    killed = subprocess.run([sys.executable, "-c", DEADLY, *words], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    command = [sys.executable, "-m", "ser_hf.predict", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "5 of 8 recordings are done" in done.stderr
    assert pd.read_csv(output)["file"].tolist() == sorted(str(file) for file in clips.iterdir())
    assert list(tmp_path.glob(".answers*")) == []


def test_what_is_longer_than_may_be_is_refused_and_the_limit_can_be_raised(folder, model, capsys):
    arguments = [folder / "b.wav", "--model", model, "--format", "jsonl", "--max_minutes"]
    assert run(*arguments, 0.04) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "3 s long; at most 2.4 s are taken" in error
    assert "--max_minutes" in error
    assert run(*arguments, 0.05) == 0


def test_a_path_with_a_dash_first_comes_after_two_dashes(model, folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "-b.wav").write_bytes((folder / "b.wav").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        run("-b.wav", "--model", model)
    assert exit.value.code == 2
    assert run("--model", model, "--", "-b.wav") == 0


def test_folder_without_recordings_and_absent_file_are_errors_in_words(folder, model, capsys):
    assert run(folder / "empty", folder / "absent.wav", "--model", model, "--format", "jsonl") == 1
    empty, absent = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "no recordings" in empty["error"]
    assert "no such file" in absent["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.wav", "--format", "parquet"], "--output"),
        (["x.wav", "--output", "absent/folder/answers.csv"], "no folder"),
        (["x.wav", "--output", "."], "is a folder"),
        (["x.wav", "--model", "models/absent"], "no model folder"),
        (["x.wav", "--model", "models/ser-wisper"], "did you mean 'models/ser-whisper'?"),
        (["x.wav", "--model", "elsewhere/ser-svm/"], "did you mean 'ser-svm'?"),
        (["x.wav", "--model", "ser-swm"], "did you mean 'ser-svm'?"),
        (["x.wav", "--max_minutes", "0"], "--max_minutes 0: a number above zero"),
        (["x.wav", "--max_minutes", "nan"], "--max_minutes nan: a number above zero"),
    ],
)
def test_wrong_usage_exits_with_two_and_says_why(arguments, words, capsys):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["x.wav", "--format", "xml"]])
def test_unknown_arguments_exit_with_two(arguments):
    with pytest.raises(SystemExit) as exit:
        run(*arguments)
    assert exit.value.code == 2


def test_names_that_are_no_utf8_or_break_lines_do_not_stop_the_others(model, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in (b"caf\xe9.wav", b"two\nlines.wav"):
        soundfile.write(tmp_path / "clip.wav", make_clip("happy"), SAMPLE_RATE)
        os.rename(tmp_path / "clip.wav", os.fsencode(clips) + b"/" + name)
    outputs = {format: tmp_path / f"answers.{format}" for format in ("table", "jsonl", "csv", "parquet")}
    for format, output in outputs.items():
        assert run(clips, "--model", model, "--format", format, "--output", output) == 0
    assert len(outputs["table"].read_text().splitlines()) == 3
    assert [json.loads(line)["label"] for line in outputs["jsonl"].read_text().splitlines()]
    with open(outputs["csv"], newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert len(pd.read_parquet(outputs["parquet"])) == 2


@pytest.mark.parametrize(
    ("absent", "words", "told"),
    [
        ("torch transformers onnxruntime", [], "ser-whisper is a neural network, which needs torch and transformers"),
        ("torch transformers", ["--runtime", "onnx"], "needs transformers: install ser_hf[onnx]"),
        ("pyarrow", ["--format", "parquet", "--output", "answers.parquet"], "--format parquet needs pyarrow"),
    ],
)
def test_packages_that_only_some_need_are_named(absent, words, told, monkeypatch, capsys):
    def find(name):
        return None if name in absent.split() else object()

    for module in ("ser_hf.classifier", "ser_hf.predict"):
        monkeypatch.setattr(f"{module}.find_spec", find)
    assert run("x.wav", *words) == 2
    assert told in capsys.readouterr().err


def test_a_bundled_model_is_known_by_its_name(folder, capsys):
    assert run(folder / "b.wav", "--model", "ser-svm", "--format", "jsonl") == 0
    by_name = json.loads(capsys.readouterr().out)
    assert run(folder / "b.wav", "--model", REPOSITORY / "models" / "ser-svm", "--format", "jsonl") == 0
    assert by_name == json.loads(capsys.readouterr().out)


def test_help_does_not_wait_for_heavy_imports():
    code = (
        "import sys, runpy\n"
        "sys.argv = ['predict', '--help']\n"
        "try:\n    runpy.run_module('ser_hf.predict', run_name='__main__')\n"
        "except SystemExit as exit:\n    assert exit.code == 0\n"
        "heavy = {'numpy', 'torch', 'transformers', 'librosa', 'sklearn', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--format" in done.stdout


def test_reader_that_leaves_early_ends_the_command_quietly(folder, model):
    command = [sys.executable, "-m", "ser_hf.predict", *[str(folder / "b.wav")] * 50]
    process = subprocess.Popen(
        [*command, "--model", model, "--format", "jsonl"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 128 + signal.SIGPIPE
    assert json.loads(first)["label"] in LABELS
    assert errors == ""
