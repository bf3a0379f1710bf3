"""The leaderboard: what is run and what is not, what is kept, and what the report says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ser_hf.conditions import CONDITIONS, NO_SPEECH
from ser_hf.metrics import softmax
from ser_hf.runs import finish_run, write_run_json
from tests.predictions import make_predictions, make_run, make_table
from train import jobs, leaderboard
from train.arguments import read_recipe
from train.common import UsageError
from train.leaderboard_report import without_temperature
from train.reporting import read_run

TABLE = {
    "protocols": {"actor": {}, "random": {}, "cross": {"train_corpora": "ravdess", "test_corpora": "emodb"}},
    "rows": [
        {"name": "svm", "command": "baseline", "what": "an SVM"},
        {"name": "whisper", "command": "finetune", "what": "a network", "random": {"hold_out_validation": False}},
    ],
}


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return path


def finished_run(folder: Path, seed: int = 0, temperature: float = 1.0, **facts) -> Path:
    frame = make_predictions(make_table(), skill=1 + seed, seed=seed)
    finish_run(make_run(folder, frame), [frame])
    records = [{"index": fold, "temperature": temperature, "seconds": 90.0, "n_parameters": 2e6} for fold in (0, 1)]
    write_run_json(folder, **{"protocol": "actor", "folds": records, "cores": 2, "arguments": {}} | facts)
    return folder


def write_conditions(folder: Path) -> None:
    (folder / "conditions.json").write_text(json.dumps({name: {"accuracy": 0.5} for name in CONDITIONS}))
    (folder / "no_speech.json").write_text(json.dumps({name: {"sure": 0.1} for name in NO_SPEECH}))


class TestPlan:
    def test_unseen_voices_come_first_and_names_follow_the_convention(self):
        names = [job.name for job in leaderboard.plan(TABLE)]
        assert names == [
            *("svm-actor", "whisper-actor-seed42"),
            *("svm-random", "whisper-random-seed42"),
            *("svm-cross", "whisper-cross-seed42"),
        ]

    def test_a_part_of_it_can_be_chosen_and_what_is_unknown_is_said(self):
        assert [job.name for job in leaderboard.plan(TABLE, "svm", "cross, actor")] == ["svm-cross", "svm-actor"]
        with pytest.raises(UsageError, match="--rows: there is no row 'svn'; did you mean 'svm'"):
            leaderboard.plan(TABLE, "svn")
        with pytest.raises(UsageError, match="--protocols: there is no protocol 'emobox'"):
            leaderboard.plan(TABLE, None, "emobox")

    def test_commands_carry_the_protocol_and_what_the_row_adds(self, tmp_path):
        planned = {job.name: job for job in leaderboard.plan(TABLE)}
        cross = " ".join(planned["svm-cross"].command_line(tmp_path / "new"))
        assert "-m train.baseline" in cross
        assert "--protocol cross" in cross
        assert "--train_corpora ravdess --test_corpora emodb" in cross
        line = planned["whisper-random-seed42"].command_line(tmp_path / "new")
        assert "--hold_out_validation false" in " ".join(line)
        assert "--resume_from_checkpoint" not in line

    def test_every_row_of_the_real_table_has_a_recipe_of_its_command(self):
        from train.arguments import parse_arguments
        from train.baseline import BaselineArguments
        from train.common import DataArguments
        from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

        for job in leaderboard.plan(read_recipe(leaderboard.TABLE)):
            words = job.command_line(Path("no-such-folder"))[3:]
            if job.command == "baseline":
                parse_arguments((DataArguments, BaselineArguments), words)
            else:
                types = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
                parse_arguments(types, words)


class TestRunAll:
    def test_what_is_kept_is_not_run_what_is_finished_is_kept_and_the_rest_is_run(self, tmp_path, monkeypatch):
        runs, kept = tmp_path / "runs", tmp_path / "kept"
        write_conditions(finished_run(kept / "svm-actor"))
        # Kept without conditions, and its models are gone.
        jobs.keep(finished_run(tmp_path / "elsewhere"), kept / "whisper-actor-seed42")
        finished_run(runs / "svm-random")
        ran, asked = [], []

        def run(command, check):
            if "train.robustness" in command:
                asked.extend(Path(word).name for word in command[3:])
                for word in command[3:]:
                    write_conditions(Path(word))
                return subprocess.CompletedProcess(command, 0)
            folder = Path(command[command.index("--output_dir") + 1])
            ran.append(folder.name)
            if folder.name == "svm-cross":
                return subprocess.CompletedProcess(command, 2)
            finished_run(folder)
            (folder / "checkpoint").write_text("large")
            (folder / "importance.json").write_text("{}")
            return subprocess.CompletedProcess(command, 0)

        for module in (jobs, leaderboard):
            monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run))
        failed = leaderboard.run_all(leaderboard.plan(TABLE), runs, kept)
        assert ran == ["whisper-actor-seed42", "whisper-random-seed42", "svm-cross", "whisper-cross-seed42"]
        assert failed == ["svm-cross"]
        assert asked == ["whisper-actor-seed42"]
        assert (kept / "svm-random" / "predictions.parquet").is_file()
        names = {path.name for path in (kept / "whisper-actor-seed42").iterdir()}
        asked_again = {"conditions.json", "no_speech.json"}
        assert names == {"run.json", "metrics.json", "predictions.parquet", *asked_again}
        assert not (kept / "svm-random" / "conditions.json").exists()

    def test_conditions_that_could_not_be_asked_are_told(self, tmp_path, monkeypatch, capsys):
        finished_run(tmp_path / "runs/svm-actor")
        done = SimpleNamespace(run=lambda command, check: subprocess.CompletedProcess(command, 1))
        monkeypatch.setattr(leaderboard, "subprocess", done)
        (job,) = leaderboard.plan(TABLE, "svm", "actor")
        assert leaderboard.run_all([job], tmp_path / "runs", tmp_path / "kept") == ["train.robustness"]
        assert (tmp_path / "kept/svm-actor/metrics.json").is_file()


class TestReport:
    @pytest.fixture
    def report(self, table, tmp_path) -> str:
        kept = tmp_path / "kept"
        finished_run(kept / "svm-actor", seed=0)
        finished_run(kept / "svm-random", seed=2, protocol="random")
        finished_run(kept / "whisper-actor-seed42", seed=1)
        curve = {"as recorded": 0.8, "noise 10 dB": 0.3, "noise 0 dB": 0.2, "first 1 s": 0.5}
        found = {name: {"accuracy": value} for name, value in curve.items()}
        found |= {"half loudness": {"accuracy": 0.6, "changed": 0.0125}, "room": {"accuracy": 0.5, "changed": 0.25}}
        (kept / "svm-actor" / "conditions.json").write_text(json.dumps(found))
        sounds = {"hum": {"sure": 0.125}, "pauses": {"sure": 0.0}}
        (kept / "svm-actor" / "no_speech.json").write_text(json.dumps(sounds))
        (kept / "svm-actor" / "importance.json").write_text(json.dumps({"groups": {"pitch": {"drop": 0.125}}}))
        output = tmp_path / "leaderboard.md"
        command = ["--table", str(table), "--kept_dir", str(kept), "--output", str(output), "--report_only"]
        assert leaderboard.main(command) == 0
        first = output.read_text()
        assert leaderboard.main(command) == 0
        assert output.read_text() == first
        return first

    def test_who_was_not_asked_under_the_conditions_is_told(self, report):
        assert "Not measured yet: `whisper`." in report

    def test_the_best_on_unseen_voices_stands_first(self, report, tmp_path):
        rows = [line for line in report.splitlines() if line.startswith("| `")]
        assert rows[0].startswith("| `whisper`: a network")
        assert rows[1].startswith("| `svm`: an SVM")

    def test_figures_are_those_of_the_predictions(self, report, tmp_path):
        actor, mixed = (read_run(tmp_path / "kept" / f"svm-{name}").metrics for name in ("actor", "random"))
        row = next(line for line in report.splitlines() if line.startswith("| `svm`: an SVM")).split(" | ")
        assert row[1].startswith(f"**{100 * actor['fold_mean_accuracy']:.1f}** [")
        assert row[3] == f"{100 * mixed['fold_mean_accuracy']:.1f}"
        assert row[4] == f"{100 * (mixed['fold_mean_accuracy'] - actor['fold_mean_accuracy']):.1f}"
        assert row[5:7] == ["–", "–"]  # not run
        assert row[7] == "2.0 M"
        assert row[9] == "3"  # minutes on two cores

    def test_what_was_measured_beside_is_shown(self, report, tmp_path):
        assert "| `svm` | 80.0 | 30.0 | 50.0 | 60.0 | 50.0 |" in report
        assert "| `svm` | 1.2 |  |  |  | 25.0 |" in report
        assert "| `svm` | 12.5 | 0.0 |" in report
        assert "| `svm` | 12.5 |\n" in report
        for name in ("drop", "conditions"):
            assert f"leaderboard_files/{name}.png" in report
            assert (tmp_path / "leaderboard_files" / f"{name}.png").is_file()

    def test_what_was_never_run_has_no_row(self, table, tmp_path):
        finished_run(tmp_path / "kept" / "svm-actor")
        output = tmp_path / "one.md"
        command = [
            "--table",
            str(table),
            "--kept_dir",
            str(tmp_path / "kept"),
            "--output",
            str(output),
            "--report_only",
        ]
        assert leaderboard.main(command) == 0
        assert "a network" not in output.read_text()


def test_the_probabilities_before_the_temperature_are_found_again(tmp_path):
    logits = np.random.default_rng(0).normal(size=(192, 8)) * 3
    frame = make_predictions(make_table()).iloc[:192].copy()
    columns = [name for name in frame if name.startswith("p_")]
    frame[columns] = softmax(logits / 2.5)
    frame["predicted"] = [columns[index].removeprefix("p_") for index in logits.argmax(axis=1)]
    folder = tmp_path / "x"
    make_run(folder, frame)
    write_run_json(folder, folds=[{"index": fold, "temperature": 2.5} for fold in (0, 1)])
    assert np.allclose(without_temperature(read_run(folder)), softmax(logits), atol=1e-5)
    write_run_json(folder, folds=[{"index": 0, "temperature": 2.5}])
    assert without_temperature(read_run(folder)) is None
