"""The arithmetic of the studies' reports, on runs of made-up predictions and with models of no size."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments import jobs, leaderboard, leaderboard_report, robustness, search
from experiments.conditions import CONDITIONS, NO_SPEECH
from experiments.jobs import Job, keep, run_jobs, with_base_model
from ser_hf import EmotionClassifier
from ser_hf.classifier import Prediction
from ser_hf.corpora import load_corpus
from ser_hf.evaluation.metrics import evaluate_predictions, softmax
from ser_hf.evaluation.runs import create_run, prediction_frame, write_predictions, write_run_json
from ser_hf.evaluation.statistics import mcnemar
from ser_hf.features import extract, feature_names
from ser_hf.labels import LABELS
from ser_hf.models.classical import fit_classical
from ser_hf.utils.files import write_json
from tests.predictions import make_predictions, make_run, make_table
from tests.tiny_models import save_tiny_whisper
from train.arguments import parse_arguments, read_recipe
from train.baseline import BaselineArguments
from train.common import DataArguments, UsageError
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments
from train.reporting import read_run

ARGUMENTS = {
    "baseline": (DataArguments, BaselineArguments),
    "finetune": (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments),
}
WHISPER = Job("whisper-actor-seed42", "whisper", "actor", "finetune", {"weighted_layer_sum": True, "speed": 0.2})
TABLE = {
    "protocols": {"actor": {}, "random": {}, "cross": {"train_corpora": "ravdess", "test_corpora": "emodb"}},
    "rows": [
        {"name": "svm", "command": "baseline", "what": "an SVM"},
        {"name": "whisper", "command": "finetune", "what": "a network", "random": {"hold_out_validation": False}},
    ],
}


def finished_run(folder: Path, seed: int = 0, **facts) -> Path:
    """A run whose predictions are better the larger its seed is."""
    frame = make_predictions(make_table(), skill=1 + seed, seed=seed)
    write_json(make_run(folder, frame) / "metrics.json", evaluate_predictions(frame, n_bootstrap=10))
    records = [{"index": fold, "temperature": 1.0, "seconds": 90.0, "n_parameters": 2e6} for fold in (0, 1)]
    write_run_json(folder, **{"protocol": "actor", "folds": records, "cores": 2, "arguments": {}} | facts)
    return folder


def fake_run(monkeypatch, carry_out):
    """Let ``carry_out(words)`` stand for the processes that are started; it returns the exit status."""
    commands = []

    def run(words, check):
        commands.append(words)
        return subprocess.CompletedProcess(words, carry_out(words) or 0)

    for module in (jobs, leaderboard):
        monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run))
    return commands


def cells(report: str, name: str) -> list[list[str]]:
    """The rows of a report's tables that begin with a name, as cells without the name."""
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith(f"| `{name}`")]
    return [[cell.strip() for cell in row[1:]] for row in rows]


@pytest.mark.parametrize("name", ["leaderboard", "search"])
def test_tables_of_the_repository_are_valid_commands(name):
    planned = leaderboard.plan(read_recipe(leaderboard.TABLE))
    if name == "search":
        planned = [search.job_of(one) for one in search.read_experiments(search.TABLE)]
    assert planned
    for job in planned:
        parse_arguments(ARGUMENTS[job.command], job.command_line(Path("no-such-folder"))[3:])


@pytest.mark.parametrize("name", ["leaderboard", "experiments", "robustness"])
def test_old_commands_still_work(name):
    with pytest.raises(SystemExit) as exit:
        importlib.import_module(f"train.{name}").main(["--help"])
    assert exit.value.code == 0


def test_job_command_line_says_all_arguments(tmp_path):
    line = " ".join(WHISPER.command_line(tmp_path / "new"))
    assert f"-m train.finetune --recipe {WHISPER.recipe} --protocol actor --output_dir {tmp_path}/new" in line
    assert line.endswith("--weighted_layer_sum true --speed 0.2")
    assert WHISPER.command_line(tmp_path)[-2:] == ["--resume_from_checkpoint", "true"]
    svm = Job("svm-actor", "svm", "actor", "baseline", {})
    assert svm.command_line(tmp_path)[-1] == "--overwrite_output_dir"
    assert with_base_model(WHISPER, "folder").arguments["base_model"] == "folder"
    assert with_base_model(svm, "folder") is svm


@pytest.mark.parametrize(("seed", "changed"), [(0, ["conditions.json"]), (1, ["conditions.json", "run.json"])])
def test_keep_replaces_a_run_only_if_predictions_differ(tmp_path, seed, changed):
    kept = tmp_path / "kept"
    arguments = {"base_model": "/home/ann/whisper", "base_model_id": "openai/whisper-base", "data_dir": "/home/ann"}
    keep(finished_run(tmp_path / "first", arguments=arguments), kept)
    assert "/home" not in (kept / "run.json").read_text()
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    again = finished_run(tmp_path / "again", seed=seed, seconds=1.0)
    (again / "conditions.json").write_text("{}")
    keep(again, kept)
    after = {path.name: path.read_bytes() for path in kept.iterdir()}
    files = {"conditions.json", "run.json"}
    assert sorted(name for name in files if after.get(name) != before.get(name)) == changed


def test_run_jobs_reports_kept_runs_of_an_older_recipe(tmp_path, capsys):
    kept = finished_run(tmp_path / WHISPER.name, arguments={"max_steps": 3, "speed": 0.2, "corpora": "ravdess"})
    assert run_jobs([WHISPER], tmp_path / "runs", kept.parent) == []
    printed = capsys.readouterr().err
    assert f"max_steps 3 (recipe: {read_recipe(WHISPER.recipe)['max_steps']})" in printed
    assert "speed" not in printed


def test_plan_orders_jobs_and_takes_a_part():
    names = [job.name for job in leaderboard.plan(TABLE)]
    assert names[:3] == ["svm-actor", "whisper-actor-seed42", "svm-random"]
    assert len(names) == 6
    assert [job.name for job in leaderboard.plan(TABLE, "svm", "cross, actor")] == ["svm-cross", "svm-actor"]
    with pytest.raises(UsageError, match="svm"):
        leaderboard.plan(TABLE, "svn")


def test_run_all_runs_what_is_not_kept(tmp_path, monkeypatch):
    runs, kept = tmp_path / "runs", tmp_path / "kept"

    def write_conditions(folder: Path) -> None:
        write_json(folder / "conditions.json", {name: {"accuracy": 0.5} for name in CONDITIONS})
        write_json(folder / "no_speech.json", {name: {"sure": 0.1} for name in NO_SPEECH})

    def carry_out(words):
        if "experiments.robustness" in words:
            return [write_conditions(Path(word)) for word in words[3:]] and 0
        folder = Path(words[words.index("--output_dir") + 1])
        if folder.name == "svm-cross":
            return 2
        (finished_run(folder) / "checkpoint").write_text("large")

    write_conditions(finished_run(kept / "svm-actor"))
    keep(finished_run(tmp_path / "elsewhere"), kept / "whisper-actor-seed42")  # without conditions and models
    finished_run(runs / "svm-random")
    commands = fake_run(monkeypatch, carry_out)
    assert leaderboard.run_all(leaderboard.plan(TABLE), runs, kept) == ["svm-cross"]
    ran = [Path(words[words.index("--output_dir") + 1]).name for words in commands if "--output_dir" in words]
    assert ran == ["whisper-actor-seed42", "whisper-random-seed42", "svm-cross", "whisper-cross-seed42"]
    assert [Path(word).name for word in commands[-1][3:]] == ["whisper-actor-seed42"]
    names = {path.name for path in (kept / "whisper-actor-seed42").iterdir()}
    assert names == {"run.json", "metrics.json", "predictions.parquet", "conditions.json", "no_speech.json"}


def test_leaderboard_shows_the_figures_of_the_runs(tmp_path):
    kept, table, output = tmp_path / "kept", tmp_path / "table.json", tmp_path / "leaderboard.md"
    write_json(table, TABLE)
    svm = finished_run(kept / "svm-actor")
    finished_run(kept / "svm-random", seed=2, protocol="random")
    finished_run(kept / "whisper-actor-seed42", seed=1)
    found = {"as recorded": 0.8, "noise 10 dB": 0.3, "noise 0 dB": 0.2, "first 1 s": 0.5}
    conditions = {name: {"accuracy": value} for name, value in found.items()}
    conditions |= {"half loudness": {"accuracy": 0.6, "changed": 0.0125}, "room": {"accuracy": 0.5, "changed": 0.25}}
    write_json(svm / "conditions.json", conditions)
    write_json(svm / "no_speech.json", {"hum": {"sure": 0.125}, "pauses": {"sure": 0.0}})
    write_json(svm / "importance.json", {"groups": {"pitch": {"drop": 0.125}}})
    words = ["--table", str(table), "--kept_dir", str(kept), "--output", str(output), "--report_only"]
    assert leaderboard.main(words) == 0
    report = output.read_text()
    assert report.index("| `whisper`: a network") < report.index("| `svm`: an SVM")  # best first
    line = next(line for line in report.splitlines() if line.startswith("| `svm`: an SVM"))
    actor, mixed = (read_run(kept / f"svm-{name}").metrics["fold_mean_accuracy"] for name in ("actor", "random"))
    first, _, second, drop, *others = line.split(" | ")[1:]
    assert first.startswith(f"**{100 * actor:.1f}** [")
    assert (second, drop) == (f"{100 * mixed:.1f}", f"{100 * (mixed - actor):.1f}")
    assert others == ["–", "–", "2.0 M", "–", "3", "– |"]  # not run; minutes on two cores
    *_, robust, changed, sounds, importance = cells(report, "svm")
    assert robust == ["80.0", "30.0", "50.0", "60.0", "50.0"]
    assert changed[0] == "1.2"
    assert changed[-1] == "25.0"
    assert (sounds, importance) == (["12.5", "0.0"], ["12.5"])
    assert "Not measured yet: `whisper`" in report
    assert {path.name for path in (tmp_path / "leaderboard_files").iterdir()} == {"drop.png", "conditions.png"}


def test_drop_and_condition_figures_draw_every_model(tmp_path):
    seen, unseen = (
        {name: read_run(finished_run(tmp_path / str(shift) / name, seed + shift)) for seed, name in enumerate("ab")}
        for shift in (2, 0)
    )
    (axes,) = leaderboard_report.drop_figure(unseen, seen).axes
    runs = [*unseen.values(), *seen.values()]
    expected = {f"{100 * run.metrics['fold_mean_accuracy']:.1f}" for run in runs}
    assert {text.get_text() for text in axes.texts} == expected
    noise, length = {"none": np.inf, "0 dB": 0.0, "20 dB": 20.0}, {"1 s": 1.0, "2 s": 2.0}
    found = {"none": 0.8, "20 dB": 0.7, "0 dB": 0.2, "1 s": 0.4, "2 s": 0.6}
    measured = {"cnn": {name: {"accuracy": value} for name, value in found.items()}}
    left, right = leaderboard_report.condition_curves(measured, noise, length).axes
    assert left.lines[0].get_ydata().tolist() == pytest.approx([80, 70, 20])
    assert right.lines[0].get_ydata().tolist() == pytest.approx([60, 40])
    assert [label.get_text() for label in left.get_xticklabels()] == ["none", "20", "0"]


def test_without_temperature_inverts_the_temperature(tmp_path):
    logits = np.random.default_rng(0).normal(size=(192, 8)) * 3
    frame = make_predictions(make_table()).iloc[:192].copy()
    frame[[f"p_{label}" for label in LABELS]] = softmax(logits / 2.5)
    frame["predicted"] = [LABELS[index] for index in logits.argmax(axis=1)]
    make_run(tmp_path / "x", frame)
    write_run_json(tmp_path / "x", folds=[{"index": fold, "temperature": 2.5} for fold in (0, 1)])
    raw = leaderboard_report.without_temperature(read_run(tmp_path / "x"))
    assert np.allclose(raw, softmax(logits), atol=1e-5)
    write_run_json(tmp_path / "x", folds=[{"index": 0, "temperature": 2.5}])
    assert leaderboard_report.without_temperature(read_run(tmp_path / "x")) is None


FIRST = {"name": "first", "recipe": "whisper", "hypothesis": "To compare with."}
SECOND = {"name": "second", "recipe": "whisper", "hypothesis": "Helps.", "arguments": {"copies": 0, "calibrate": False}}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"name": "one", "recipe": "whisper"}], "one has no hypothesis"),
        ([FIRST | {"argument": {}}], "first has an unknown key 'argument'"),
        ([FIRST, FIRST], "two experiments called first"),
        ([FIRST, SECOND | {"against": "soup"}], "second is compared with soup"),
    ],
)
def test_read_experiments_names_what_is_wrong(tmp_path, entries, words):
    write_json(tmp_path / "table.yaml", {"experiments": entries})
    with pytest.raises(UsageError, match=words):
        search.read_experiments(tmp_path / "table.yaml")


def test_search_runs_keeps_and_reports_differences(tmp_path, monkeypatch, capsys):
    write_json(tmp_path / "table.yaml", {"experiments": [FIRST, SECOND]})
    kept, output = tmp_path / "kept", tmp_path / "experiments.md"
    words = ["--table", str(tmp_path / "table.yaml"), "--output", str(output), "--kept_dir", str(kept)]
    words += ["--runs_dir", str(tmp_path / "runs"), "--base_model", "somewhere"]
    finished_run(kept / "first")
    fake_run(monkeypatch, lambda words: 1)
    assert search.main([*words, "--names", "second"]) == 1
    assert "failed: second" in capsys.readouterr().err
    commands = fake_run(
        monkeypatch, lambda words: finished_run(Path(words[words.index("--output_dir") + 1]), seed=1) and 0
    )
    assert search.main(words) == 0
    (line,) = commands
    assert line[-6:] == ["--copies", "0", "--calibrate", "false", "--base_model", "somewhere"]
    test = mcnemar(*(read_run(kept / name).frame for name in ("second", "first")))
    (row,) = cells(output.read_text(), "second")
    assert row[4].startswith(f"first: {100 * test['difference']:+.1f} [")
    assert "train.finetune --recipe train/recipes/whisper.yaml --protocol develop --copies 0" in output.read_text()


@pytest.fixture
def run(corpus_dir, tmp_path, monkeypatch) -> Path:
    """A run of two folds, an actor each, with a model each, and three conditions."""
    chosen = {name: CONDITIONS[name] for name in ("as recorded", "noise 0 dB")}
    chosen["silence"] = lambda samples, rng: np.zeros_like(samples)
    sounds = {kind: NO_SPEECH[kind] for kind in ("tones", "pauses")}
    monkeypatch.setattr(robustness, "CONDITIONS", chosen)
    monkeypatch.setattr(robustness, "NO_SPEECH", sounds)
    table, folder, frames = load_corpus("ravdess", corpus_dir), create_run(tmp_path / "tiny-actor"), []
    for fold in (0, 1):
        rows = np.arange(8 * fold, 8 * fold + 8)
        model = EmotionClassifier.from_pretrained(save_tiny_whisper(folder / f"fold{fold}" / "model", seed=fold))
        scores = [list(one.scores.values()) for one in model.predict_many(table.select(rows)["audio"])]
        frames.append(prediction_frame(table, rows, fold, np.array(scores)))
    write_predictions(folder, pd.concat(frames))
    return folder


def test_robustness_predicts_each_clip_by_its_fold(run, corpus_dir, capsys):
    words = [str(run), "--data_dir", str(corpus_dir)]
    assert robustness.main([*words, "--conditions", "noise 0 dB"]) == 0
    part = json.loads((run / "conditions.json").read_text())
    assert robustness.main(words) == 0
    found = json.loads((run / "conditions.json").read_text())
    assert list(found) == ["as recorded", "noise 0 dB", "silence"]
    assert found["noise 0 dB"] == part["noise 0 dB"]  # kept, and the same noise each time
    frame = read_run_frame(run)
    assert found["as recorded"]["accuracy"] == pytest.approx((frame["emotion"] == frame["predicted"]).mean())
    assert (found["as recorded"]["changed"], found["as recorded"]["n"]) == (0.0, 16)
    refused = {"accuracy": 0.0, "changed": 1.0, "confidence": None, "unfamiliar": None, "answered": 0.0, "n": 16}
    assert found["silence"] == refused
    sounds = json.loads((run / "no_speech.json").read_text())
    assert {kind: row["n"] for kind, row in sounds.items()} == {"tones": 2 * robustness.SOUNDS_A_KIND, "pauses": 16}
    assert robustness.is_measured(run)
    (run / "conditions.json").write_text("{")
    assert robustness.main(words) == 2
    assert "conditions.json" in capsys.readouterr().err


def read_run_frame(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "predictions.parquet")


def test_robustness_counts_confident_and_unfamiliar(run, corpus_dir, monkeypatch):
    class AtADistance:
        def predict_many(self, recordings):
            for recording in recordings:
                distance = 2.4 if recording.name == "pauses" else 1.2
                yield Prediction(recording.name, "sad", {"sad": 1.0}, 4.0, distance=distance)

    monkeypatch.setattr(robustness.TestedRun, "_load", lambda self, fold, memory: AtADistance())
    held_up, sounds = robustness.measure([run], str(corpus_dir))[run]
    assert {row["unfamiliar"] for row in held_up.values()} == {1.0}
    assert (sounds["tones"]["sure"], sounds["pauses"]["sure"]) == (1.0, 0.0)


def test_robustness_names_missing_models_and_clips(run, corpus_dir):
    frame = read_run_frame(run)
    frame.loc[3, "clip"] = "03-01-01-01-01-01-77"
    with pytest.raises(robustness.RunError, match="03-01-01-01-01-01-77"):
        robustness.read_clips(frame, str(corpus_dir))
    (run / "fold1" / "model").rename(run / "gone")
    with pytest.raises(robustness.RunError, match="fold1/model"):
        robustness.measure([run], str(corpus_dir))


def test_feature_memory_computes_each_group_once(monkeypatch):
    rng = np.random.default_rng(0)
    clips = [(rng.normal(size=16_000) * level).astype(np.float32) for level in (0.1, 0.2, 0.3, 0.4)]
    computed = []
    monkeypatch.setattr(robustness, "extract", lambda clip, groups: computed.append(groups) or extract(clip, groups))
    memory = robustness.FeatureMemory()
    for groups in (["mfcc", "energy"], ["energy", "zcr", "mfcc"]):
        features = pd.DataFrame([extract(clip, groups) for clip in clips * 5], columns=feature_names(groups))
        model = fit_classical("decision-tree", features, np.array([0, 0, 1, 1] * 5), None, groups, n_jobs=1)
        recalled = robustness.RecallingModel(model, memory).predict_proba(clips)
        np.testing.assert_array_equal(recalled, model.predict_proba(clips))
    assert computed == [["mfcc", "energy"]] * 4 + [["zcr"]] * 4


def test_speed_tables_and_report(tmp_path, monkeypatch):
    from experiments import speed
    from experiments.measuring import Table, alternate, medians, number
    from experiments.measuring import run as run_watched

    assert [number(value) for value in (0.0012345, 24.96, 1234.5, None)] == ["0.00123", "25", "1,234", ""]
    assert {name: len(seconds) for name, seconds in alternate({"a": lambda: None}, 3).items()} == {"a": 3}
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
    table = Table("Title", "Words.", ["what", "ms"], [["ours", 1.2345], ["theirs", None]])
    assert table.markdown().endswith("| what | ms |\n| --- | ---: |\n| ours | 1.23 |\n| theirs |  |\n")
    with pytest.raises(subprocess.CalledProcessError):
        run_watched([sys.executable, "-c", "raise SystemExit(3)"])
    seconds, megabytes = run_watched([sys.executable, "-S", "-c", "x = bytearray(100_000_000)"])
    assert 100 < megabytes < 200
    assert seconds > 0

    monkeypatch.setattr(speed, "SIZES", dict.fromkeys((speed.BFLOAT16, speed.FLOAT32, speed.SVM), 8))
    monkeypatch.setattr(speed, "FEW", 4)
    times = iter(2.0 * count for count in range(1, 100))
    monkeypatch.setattr(
        speed, "run", lambda command: Path(command[command.index("--output") + 1]).touch() or (next(times), 100.0)
    )
    rates = speed.bulk(tmp_path, 1).rows
    assert [row[1] for row in rates] == [8.0] * len(rates)  # four more clips of 4 s take two seconds more

    monkeypatch.setattr(speed, "alone", lambda name, work, threads: table)
    words = ["--output", str(tmp_path / "speed.md")]
    assert speed.main([*words, "--only", "start,bulk"]) == 0
    assert (tmp_path / "speed.md").read_text().count("## Title") == 2
    assert json.loads((tmp_path / "speed" / "bulk.json").read_text()) == asdict(table)
    write_json(tmp_path / "speed" / "machine.json", "an abacus")
    assert speed.main([*words, "--only", "bulk"]) == 2
