"""The machinery of the benchmarks: what they say of speed depends on the machine, that they run must not."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import bulk, comparison, first_steps, inputs, speed, start
from benchmarks.machine import describe, matrix_rates
from benchmarks.stages import operations_of
from benchmarks.start import run
from benchmarks.tables import Settings, Table, alternate, medians, number
from ser_hf import predict
from ser_hf.files import write_json
from ser_hf.models.neural import load_neural
from tests.synthetic import make_ravdess
from tests.tiny_models import save_tiny_whisper
from train.arguments import parse_arguments
from train.baseline import BaselineArguments
from train.common import DataArguments


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0012345, "0.00123"), (1.0, "1"), (24.96, "25"), (99.97, "100"), (1234.5, "1,234"), (None, ""), (0.0, "0")],
)
def test_figures_are_shown_with_three_digits_that_count(value, shown):
    assert number(value) == shown


def test_contenders_take_turns_and_none_is_cold():
    calls = []
    taken = alternate({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3}
    turns = re.sub(r"(.)\1+", r"\1", "".join(calls))  # what is fast is called often in its turn
    assert turns == "ab" * 4
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}


def test_a_table_is_the_same_after_json_and_reads_as_markdown(tmp_path):
    table = Table("Title", "Words.", ["what", "ms"], [["ours", 1.2345], ["theirs", None]], {"ours": [0.1]})
    write_json(tmp_path / "table.json", asdict(table))
    assert Table(**json.loads((tmp_path / "table.json").read_text())) == table
    assert table.markdown() == "## Title\n\nWords.\n\n| what | ms |\n| --- | ---: |\n| ours | 1.23 |\n| theirs |  |\n"


def test_the_machine_is_named_and_multiplies():
    assert re.search(r"\d+ cores \(avx2 (yes|no), .*amx_bf16 (yes|no).*torch \d", describe())
    rates = matrix_rates(["float32", "bfloat16"], rounds=1, size=64)
    assert set(rates) == {"float32", "bfloat16"}
    assert min(rates.values()) > 0


def test_operations_are_those_of_the_network(tmp_path):
    neural = load_neural(save_tiny_whisper(tmp_path))
    clip = neural.feature_extractor([[0.0] * 16_000] * 2, sampling_rate=16_000, return_tensors="pt").input_features
    config, positions, frames = neural.model.config, 250, 500
    width, inner = config.d_model, config.encoder_ffn_dim
    front = 2 * 3 * width * (frames * config.num_mel_bins + positions * width)
    layer = 2 * positions * (4 * width**2 + 2 * width * inner) + 4 * positions**2 * width
    head = 2 * positions * width * config.classifier_proj_size + 2 * config.classifier_proj_size * 8
    assert operations_of(neural, clip[:1]) == front + layer + head
    assert operations_of(neural, clip) == 2 * (front + layer + head)


def test_the_clip_has_four_seconds_at_every_rate(tmp_path):
    for rate, suffix in ((16_000, ".flac"), (48_000, ".wav")):
        info = soundfile.info(inputs.clip_file(tmp_path, suffix, rate))
        assert (info.duration, info.samplerate, info.channels) == (4.0, rate, 1)


def test_a_command_that_fails_is_no_figure():
    with pytest.raises(Exception, match="exit status 3"):
        run(["python3", "-c", "raise SystemExit(3)"], threads=1)


def test_the_memory_of_a_command_is_its_own_and_not_that_of_whoever_began_it():
    held = np.ones(50_000_000)  # 400 MB
    seconds, megabytes = run(["python3", "-S", "-c", "x = bytearray(100_000_000)"], threads=1)
    assert 100 < megabytes < 200 < held.nbytes / 1e6
    assert seconds > 0


@pytest.fixture
def fake_tables(tmp_path, monkeypatch):
    """Tables in no time: one is measured, one fails, one needs what is not here."""
    monkeypatch.setattr(speed, "JOBS", (speed.Job("one", 2), speed.Job("two"), speed.Job("three", needs="data")))
    commands = []

    def ran(command, **options):
        words = dict(zip(command[3::2], command[4::2], strict=False))
        commands.append((command[2], words))
        if command[2] == "benchmarks.two":
            return speed.subprocess.CompletedProcess(command, 1)
        write_json(words["--output"], asdict(Table(f"Title {command[2]}", "Words.", ["what"], [["ours"]])))
        return speed.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(speed.subprocess, "run", ran)
    monkeypatch.delenv("SER_HF_DATA", raising=False)
    return commands


def test_the_report_holds_what_was_measured_and_the_command_says_what_was_not(fake_tables, tmp_path, capsys):
    report = tmp_path / "speed.md"
    assert speed.main(["--output", str(report)]) == 1
    said = capsys.readouterr().out
    assert f"about {speed.MINUTES} minutes" in said
    assert "two: failed with 1" in said
    assert "three: left out, for there is no data" in said
    assert [command for command, _ in fake_tables] == ["benchmarks.one", "benchmarks.two"]
    assert fake_tables[0][1]["--threads"] == "2"
    text = report.read_text()
    assert describe() in text
    assert "## Title benchmarks.one" in text
    assert (tmp_path / "speed" / "one-2.json").is_file()


def test_tables_that_are_left_out_keep_their_figures(fake_tables, tmp_path):
    report = tmp_path / "speed.md"
    speed.main(["--output", str(report)])
    assert speed.main(["--output", str(report), "--only", "three", "--data_dir", str(tmp_path)]) == 0
    assert re.findall(r"^## (.*)$", report.read_text(), re.MULTILINE) == [
        "Title benchmarks.one",
        "Title benchmarks.three",
    ]


def test_tables_of_two_machines_do_not_stand_under_the_name_of_one(fake_tables, tmp_path, capsys):
    report = tmp_path / "speed.md"
    speed.main(["--output", str(report)])
    write_json(tmp_path / "speed" / "machine.json", "an abacus")
    before = report.read_text()
    with pytest.raises(SystemExit):
        speed.main(["--output", str(report), "--only", "one"])
    assert "tables of another machine or other versions (an abacus): measure them all anew, or give" in (
        capsys.readouterr().err
    )
    assert report.read_text() == before
    assert speed.main(["--output", str(report)]) == 1  # all of them anew


def test_an_unknown_table_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        speed.main(["--only", "answers"])
    assert "'answers'; did you mean 'answer'? There are: answer, stages" in capsys.readouterr().err


@pytest.fixture
def commands(monkeypatch):
    """The commands that tables would run, each of which answers at once and must be one that there is."""
    given = []

    def ran(command, threads):
        if command[1:3] == ["-m", "ser_hf.predict"]:
            arguments = predict.build_parser().parse_args(command[3:]) if "--help" not in command else None
            if arguments and arguments.output:
                Path(arguments.output).touch()
        given.append(command)
        return 2.0 * len(given), 100.0

    for module in (start, bulk, comparison):
        monkeypatch.setattr(module, "run", ran)
    return given


def test_starts_are_those_of_ours_and_of_the_stock_models(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "onnx_folder", lambda work: work)
    table = start.measure(Settings(tmp_path, rounds=2, tiny=True))
    assert [row[0] for row in table.rows][:-5] == ["ser_hf.predict --help", *inputs.OURS]
    assert len(commands) == 2 * len(table.rows)
    assert [row[0] for row in table.rows][-3:] == list(inputs.STOCK)
    assert table.rows[0][1:] == [(2.0 + 2.0 * (len(table.rows) + 1)) / 2, 100.0]


@pytest.mark.parametrize("ours", [(inputs.BFLOAT16, inputs.FLOAT32), (inputs.FLOAT32,)])
def test_the_rate_of_many_files_leaves_the_start_out(ours, commands, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "OURS", ours)
    table = bulk.measure(Settings(tmp_path, tiny=True))
    assert len(list((tmp_path / "8-files").iterdir())) == 8
    assert [row[0] for row in table.rows] == [*ours, inputs.SVM]
    # Four clips more, of four seconds each, take two seconds more.
    assert all(row[1:] == [8.0, 100.0, 8, 100.0] for row in table.rows)


def test_the_comparison_is_run_twice_with_a_cache_of_its_own(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_HF_CACHE", "elsewhere")  # so that it is put back
    table = comparison.measure(Settings(tmp_path, data=tmp_path))
    assert table.rows == [["cold", 2.0], ["warm", 4.0]]
    assert commands[0] == commands[1]
    assert comparison.os.environ["SER_HF_CACHE"].startswith(str(tmp_path))
    data, baseline = parse_arguments((DataArguments, BaselineArguments), commands[0][3:])
    assert (data.data_dir, data.protocol, baseline.model) == (str(tmp_path), "actor", "svm")
    assert baseline.overwrite_output_dir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("answer", [*inputs.CONTENDERS]),
        ("stages", ["decode WAV", *(f"model, {inputs.precision_of(name)}, a batch of 2" for name in inputs.OURS)]),
        ("extraction", ["group pitch", "eGeMAPS by openSMILE"]),
        ("training", [*map(inputs.precision_of, inputs.OURS), "encoding by the frozen layers"]),
        ("exactness", ["bfloat16", "onnx"]),
    ],
)
def test_a_table_is_measured_and_reported(table, rows, tmp_path):
    make_ravdess(tmp_path / "ravdess", seconds=1.0)
    report = tmp_path / "speed.md"
    words = ["--tiny", "--rounds", "1", "--threads", "1", "--data_dir", str(tmp_path), "--output", str(report)]
    assert speed.main([*words, "--only", table]) == 0
    for row in rows:
        assert re.search(rf"^\| {re.escape(row)}.* \|.*\d", report.read_text(), re.MULTILINE), row


def test_stock_models_have_the_size_of_the_published_ones():
    """Without making them: a billion bytes of weights are not needed to count them."""
    import torch

    with torch.device("meta"):
        sizes = {name: inputs.make_stock(name, tiny=False)[0].num_parameters() for name in inputs.STOCK}
    assert sizes[inputs.XLSR] / 1e6 == pytest.approx(315.7, abs=0.1)
    assert sizes[inputs.WAV2VEC2] / 1e6 == pytest.approx(94.6, abs=0.1)
    assert sizes[inputs.WHISPER] / 1e6 == pytest.approx(20.7, abs=0.1)


@pytest.fixture
def small_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one file, in place of this one."""
    folder = tmp_path / "repository"
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / "file.txt").write_text("words")
    subprocess.run(["git", "add", "file.txt"], cwd=folder, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "One"], cwd=folder, check=True)
    monkeypatch.setattr(first_steps, "REPOSITORY", folder)
    return folder


def test_first_steps_are_walked_in_a_clone_one_after_the_other(small_repository, tmp_path, monkeypatch):
    page = ("sh", "-c", "echo page >> done; echo Listening on it; sleep 600")
    monkeypatch.setattr(first_steps, "PAGE", page)
    steps = {"the file": ("cp", "file.txt", "done"), "page": page, "all of it": ("grep", "page", "done")}
    clone = tmp_path / "clone"
    lines = first_steps.walk(steps, clone, os.environ).splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][2:] == [
        "| the file",
        "| page",
        "| all of it",
    ]
    assert (clone / "done").read_text() == "wordspage\n"


@pytest.mark.parametrize("command", [("false",), ("sh", "-c", "echo ended")])
def test_a_first_step_that_fails_is_told(command, small_repository, tmp_path, monkeypatch):
    monkeypatch.setattr(first_steps, "PAGE", ("sh", "-c", "echo ended"))
    with pytest.raises(subprocess.CalledProcessError):
        first_steps.walk({"it": command}, tmp_path / "clone", os.environ)


def test_first_steps_tell_no_path_of_this_machine(small_repository, tmp_path):
    text = first_steps.walk({"it": ("test", "-d", str(tmp_path))}, tmp_path / "clone", os.environ)
    assert str(tmp_path) not in text
    assert f"`test -d {tmp_path.name}`" in text


def test_first_steps_are_commands_of_this_repository(tmp_path):
    steps = first_steps.steps(tmp_path / "weights")
    assert list(steps) == ["installed", "first answer", "page", "first fold of the SVM", "first fold of the network"]
    assert str(tmp_path / "weights") in steps["first fold of the network"]
    for command in steps.values():
        for word in command:
            if word.endswith((".yaml", ".flac")):
                assert (first_steps.REPOSITORY / word).is_file(), word
