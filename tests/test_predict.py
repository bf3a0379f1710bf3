"""`ser_hf.predict`: its formats, exit codes and limits, and how it resumes."""

import csv
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_hf import EmotionClassifier, predict
from ser_hf.audio import SAMPLE_RATE
from ser_hf.errors import SerHfError
from ser_hf.labels import LABELS
from ser_hf.rows import model_key, partial_file, resumed_rows
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


def printed(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_jsonl_continues_after_a_bad_file(folder, model, capsys):
    assert run(folder, folder / "absent.wav", folder / "empty", "--model", model, "--format", "jsonl") == 1
    bad, *rows, absent, empty = printed(capsys)
    assert [row["file"] for row in (bad, *rows)] == [
        str(folder / name) for name in ("a, bad.wav", "b.wav", "inner/a.FLAC")
    ]
    for row, name in ((bad, "a, bad.wav"), (absent, "absent.wav"), (empty, "empty")):
        assert set(row) == {"file", "error"}
        assert name in row["error"]
    for row in rows:
        assert tuple(row["scores"]) == LABELS
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert row["scores"][row["label"]] == max(row["scores"].values())
        assert row["duration"] == 3.0
        assert isinstance(row["warnings"], list)
    assert run(folder / "inner", folder / "b.wav", "--model", model, "--format", "jsonl") == 0


def test_table_has_a_line_per_file(folder, model, capsys):
    assert run(folder, "--model", model) == 1
    header, bad, good, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["file", "label", "score", "duration", "warnings"]
    assert "not an audio file" in bad
    assert "3.0 s" in good
    assert any(label in good for label in LABELS)


def test_folder_is_searched_by_content(folder, model, tmp_path, capsys):
    """Recordings are found whatever they are called; the others are named, and change no exit status."""
    for name in ("a", "b.XYZ", "in/c.dat", ".trash/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "b.wav", tmp_path / name)
    for name in ("notes.txt", "in/cover.jpg", "in/.DS_Store"):
        (tmp_path / name).write_bytes(b"\xff\xd8 no sound")
    os.mkfifo(tmp_path / "pipe")
    for names in ([tmp_path], [tmp_path / "**"], [tmp_path / "*"]):
        assert run(*names, "--model", model, "--format", "jsonl") == 0
        captured = capsys.readouterr()
        rows = [json.loads(line)["file"] for line in captured.out.splitlines()]
        assert sorted(rows) == [str(tmp_path / name) for name in ("a", "b.XYZ", "in/c.dat")]
        for name in ("notes.txt", "cover.jpg", "pipe"):
            assert name in captured.err
        assert "DS_Store" not in captured.err


def test_patterns_are_expanded(folder, model, capsys):
    shutil.copy(folder / "b.wav", folder / "[b].wav")
    for pattern, names in {"*.wav": ["[b].wav", "a, bad.wav", "b.wav"], "**/*.FLAC": ["inner/a.FLAC"]}.items():
        run(folder / pattern, "--model", model, "--format", "jsonl")
        assert [row["file"] for row in printed(capsys)] == [str(folder / name) for name in names]
    run(folder / "[b].wav", folder / "*.mp9", "--model", model, "--format", "jsonl")
    (folder / "[b].wav").unlink()
    found, absent = printed(capsys)
    assert found["label"] in LABELS  # a file of that name comes before the pattern
    assert "*.mp9" in absent["error"]


def test_url_is_refused_with_the_remedy(model, capsys):
    urls = ["https://example.org/a*.wav?x=[1]", "s3://bucket/a.wav", "file:///a.wav"]
    assert run(*urls, "--model", model, "--format", "jsonl") == 1
    for url, row in zip(urls, printed(capsys), strict=True):
        assert url in row["error"]
        assert "download" in row["error"]


def test_standard_input_is_a_recording(folder, model, tmp_path, capsys, monkeypatch):
    output = tmp_path / "predictions.csv"
    for content, status in (((folder / "b.wav").read_bytes(), 0), (b"no sound", 1), (b"", 1)):
        for more in ([], ["--output", output]):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
            assert run("-", "--model", model, "--format", "jsonl", *more) == status
        (row,) = printed(capsys)
        assert row["file"] == "-"
        assert ("error" in row) == (status == 1)
        assert [row] == [json.loads(line) for line in output.read_text().splitlines()]
    monkeypatch.setattr(sys, "stdin", None)
    assert run("-", "--model", model) == 1


def test_timeline_has_a_row_per_window(folder, model, tmp_path, capsys):
    long = tmp_path / "long.wav"
    soundfile.write(long, make_clip("happy", seconds=12.0), SAMPLE_RATE)
    inputs = [folder / "a, bad.wav", long, folder / "b.wav", "--model", model]
    assert run(*inputs, "--format", "jsonl", "--timeline") == 1
    bad, *rows = printed(capsys)
    for format, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        output = tmp_path / f"windows.{format}"
        assert run(*inputs, "--format", format, "--timeline", "--output", output) == 1
        table = read(output)
        assert table["error"][0] == bad["error"]
        windows = [row | window for row in rows for window in row["timeline"]]
        assert len(windows) == len(table) - 1 > 2
        for index, window in enumerate(windows, start=1):
            found = table.loc[index]
            for key in ("file", "start", "end", "label", "duration"):
                assert found[key] == window[key]
            assert [found[f"p_{label}"] for label in LABELS] == list(window["scores"].values())


def test_csv_holds_no_formula(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ['=HYPERLINK("x").wav', "+a.wav", "@b.wav", "＝c.wav", "d=.wav"]
    for name in names:
        shutil.copy(folder / "b.wav", name)
    (tmp_path / "-e.wav").write_text("no sound")
    assert run("--model", model, "--format", "csv", "--", *names, "-e.wav") == 1
    *rows, bad = csv.DictReader(capsys.readouterr().out.splitlines())
    assert [row["file"] for row in rows] == [*(f"'{name}" for name in names[:4]), names[4]]
    assert (bad["file"], bad["error"][:2]) == ("'-e.wav", "'-")


def test_device_goes_to_the_classifier(folder, monkeypatch):
    given = {}

    def from_pretrained(model, **options):
        given.update(options)
        raise SerHfError("no such device")

    monkeypatch.setattr("ser_hf.classifier.EmotionClassifier.from_pretrained", from_pretrained)
    assert run(folder, "--device", "cuda:1") == 2
    assert given["device"] == "cuda:1"


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_csv_and_parquet_hold_the_rows_of_jsonl(folder, model, tmp_path, capsys, format, monkeypatch):
    monkeypatch.setattr("ser_hf.rows.ROW_GROUP_ROWS", 2)
    output = tmp_path / f"predictions.{format}"
    assert run(folder, "--model", model, "--format", format, "--output", output) == 1
    capsys.readouterr()
    run(folder, "--model", model, "--format", "jsonl")
    expected = printed(capsys)
    table = pd.read_csv(output) if format == "csv" else pd.read_parquet(output)
    assert list(table.columns) == [
        "file", "label", "confident", "distance", *(f"p_{label}" for label in LABELS), "duration", "warnings", "error"
    ]  # fmt: skip
    assert list(table["file"]) == [row["file"] for row in expected]
    assert table["error"].notna().tolist() == [True, False, False]
    for index, row in enumerate(expected[1:], start=1):
        assert table["label"][index] == row["label"]
        assert [table[f"p_{label}"][index] for label in LABELS] == list(row["scores"].values())
    assert [path.name for path in tmp_path.iterdir()] == [output.name]  # nothing half-written is left


def test_interrupted_command_resumes(model, tmp_path, monkeypatch, capsys):
    clips = tmp_path / "clips"
    clips.mkdir()
    for actor in range(1, 5):
        soundfile.write(clips / f"{actor}.wav", make_clip("happy", actor), SAMPLE_RATE)
    whole, output = predict.predict_rows, tmp_path / "predictions.csv"
    output.write_text("old")

    def interrupted(*arguments, **options):
        yield from itertools.islice(whole(*arguments, **options), 3)
        raise KeyboardInterrupt

    arguments = [clips, "--model", model, "--format", "csv", "--output", output]
    monkeypatch.setattr(predict, "predict_rows", interrupted)
    assert run(*arguments) == 130
    assert output.read_text() == "old"
    assert "resume" in capsys.readouterr().err
    monkeypatch.setattr(predict, "predict_rows", whole)
    assert run(*arguments) == 0
    assert "3 of 4" in capsys.readouterr().err
    assert pd.read_csv(output)["file"].tolist() == sorted(str(file) for file in clips.iterdir())
    assert list(tmp_path.glob(".predictions*")) == []


def completed(output: Path, names: list[str], settings=("model",)) -> list[str]:
    """The names that had to be predicted for the rows of all names, which come back in order."""
    predicted = []

    def rows(missing):
        for item in missing:
            predicted.append(item["file"])
            yield {"file": item["file"], "label": "happy"}

    found = resumed_rows(partial_file(output, settings), [{"file": name} for name in names], rows)
    assert [row["file"] for row in found] == names
    return predicted


def test_resumed_rows_predicts_from_the_first_change(tmp_path):
    names = [str(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav", "absent.wav")]
    for name in names[:3]:
        Path(name).write_text("sound")
    output = tmp_path / "predictions.csv"
    assert completed(output, [*names, names[0]]) == [*names, names[0]]
    assert completed(output, names) == []
    os.utime(names[2], ns=(1, 1))
    assert completed(output, names) == names[2:]
    Path(names[1]).write_text("another sound")
    assert completed(output, names) == names[1:]
    assert completed(output, names, settings=("another model",)) == names


@given(cut=st.integers(0, 400), rest=st.binary(max_size=20))
def test_resumed_rows_survive_a_cut_at_any_byte(cut, rest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    names = [str(folder / f"{number}.wav") for number in range(3)]
    completed(folder / "output", names)
    (path,) = folder.glob(".output*")
    lines = path.read_bytes().splitlines(keepends=True)
    kept = b"".join(lines)[:cut]
    whole = next(n for n in range(3, -1, -1) if len(b"".join(lines[:n])) <= len(kept))
    path.write_bytes(kept + rest.replace(b"\n", b" "))
    assert completed(folder / "output", names) == names[whole:]
    assert completed(folder / "output", names) == []


def test_model_key_changes_with_the_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = model_key(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert model_key(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert model_key(tmp_path) != before


def test_max_minutes_refuses_longer_recordings(folder, model, capsys):
    arguments = [folder / "b.wav", "--model", model, "--format", "jsonl", "--max_minutes"]
    assert run(*arguments, 0.04) == 1
    assert "--max_minutes" in printed(capsys)[0]["error"]
    assert run(*arguments, 0.05) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "parquet"], "--output"),
        (["--output", "absent/folder/predictions.csv"], "absent/folder"),
        (["--output", "."], "is a folder"),
        (["--model", "models/absent"], "models/absent"),
        (["--model", "models/ser-wisper"], "'models/ser-whisper'"),
        (["--model", "elsewhere/ser-svm/"], "'ser-svm'"),
        (["--max_minutes", "nan"], "--max_minutes nan"),
        (["--ray_address", "auto"], "--engine ray"),
        (["--engine", "ray", "--format", "csv", "--output", "."], "is a folder"),
        (["--format", "parquet", "--output", "new/"], "--engine ray"),
        (["--engine", "ray", "--format", "parquet", "--output", "README.md/"], "README.md"),
        (["--engine", "ray", "--device", "cuda"], "--device"),
        (["-", "--engine", "ray"], "standard input"),
        (["-", "--group_by", "folder"], "standard input"),
        (["--timeline"], "--format csv"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert run("x.wav", *arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("absent", "words", "named"),
    [
        ("torch transformers onnxruntime", [], "needs torch and transformers"),
        ("torch transformers", ["--runtime", "onnx"], "ser_hf[onnx]"),
        ("pyarrow", ["--format", "parquet", "--output", "predictions.parquet"], "pyarrow"),
        ("ray", ["--engine", "ray"], "requirements-scale.txt"),
    ],
)
def test_missing_package_is_named(absent, words, named, monkeypatch, capsys):
    for module in ("ser_hf.classifier", "ser_hf.predict"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None if name in absent.split() else object())
    assert run("x.wav", *words) == 2
    assert named in capsys.readouterr().err


def test_odd_names_do_not_stop_the_others(model, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in (b"caf\xe9.wav", b"two\nlines.wav"):
        soundfile.write(tmp_path / "clip.wav", make_clip("happy"), SAMPLE_RATE)
        os.rename(tmp_path / "clip.wav", os.fsencode(clips) + b"/" + name)
    outputs = {format: tmp_path / f"predictions.{format}" for format in ("table", "jsonl", "csv", "parquet")}
    for format, output in outputs.items():
        assert run(clips, "--model", model, "--format", format, "--output", output) == 0
    assert len(outputs["table"].read_text().splitlines()) == 3
    assert len([json.loads(line) for line in outputs["jsonl"].read_text().splitlines()]) == 2
    assert len(pd.read_csv(outputs["csv"])) == len(pd.read_parquet(outputs["parquet"])) == 2


def test_bundled_model_is_known_by_its_name(folder, capsys):
    rows = []
    for model in ("ser-svm", REPOSITORY / "models" / "ser-svm"):
        assert run(folder / "b.wav", "--model", model, "--format", "jsonl") == 0
        rows.append(printed(capsys))
    assert rows[0] == rows[1]


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom ser_hf import predict\n"
        "try:\n    predict.main(['--help'])\n"
        "except SystemExit as exit:\n    assert exit.code == 0\n"
        "heavy = {'numpy', 'torch', 'transformers', 'librosa', 'sklearn', 'pyarrow', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_reader_that_leaves_early_is_no_error(folder, model):
    command = [sys.executable, "-m", "ser_hf.predict", *[str(folder / "b.wav")] * 50, "--model", model]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "--format", "jsonl"], cwd=REPOSITORY, **pipes)
    first = process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 128 + signal.SIGPIPE
    assert json.loads(first)["label"] in LABELS
    assert errors == ""


def test_channels_each_gives_a_row_per_side(model, tmp_path, capsys):
    sides = [make_clip(emotion, 3, seconds=1.5)[:24_000] for emotion in ("happy", "sad")]
    soundfile.write(tmp_path / "call.wav", np.stack(sides, 1), 16_000)
    soundfile.write(tmp_path / "mono.wav", sides[0], 16_000)
    alone = [EmotionClassifier.from_pretrained(model).predict(side) for side in sides]
    words = [str(tmp_path), "--model", str(model), "--format", "jsonl"]
    assert predict.main([*words, "--channels", "each"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("channel") for row in rows] == ["left", "right", None]
    for row, one in zip(rows, alone, strict=False):
        assert row["scores"] == pytest.approx(one.scores, abs=0.02)  # 16 bits
    output = tmp_path / "rows.csv"
    words[-1:] = ["csv", "--output", str(output)]
    assert predict.main([*words, "--channels", "right"]) == 1
    found = pd.read_csv(output)
    assert found["channel"].tolist() == ["right", "right"]
    assert found["label"][0] == alone[1].label
    assert found["error"].notna().tolist() == [False, True]
    assert predict.main([str(tmp_path / "call.wav"), *words[1:3], "--channels", "each", "--format", "rttm"]) == 0
    assert sorted(line.split()[2] for line in capsys.readouterr().out.splitlines()) == ["1", "2"]
