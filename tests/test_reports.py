"""The kept runs: every figure in README.md, docs/ and the reports is the one that the kept predictions give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs import pages
from experiments import leaderboard
from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import read_predictions, read_run_json
from train.compare import compare

REPOSITORY = Path(__file__).resolve().parent.parent
KEPT = sorted(path for path in (REPOSITORY / "reports" / "runs").glob("*") if path.is_dir())
MODELS = r"(svm|svm-textbook|whisper|whisper-linear-probe)(-ravdess)?"
COMPARED = [path for path in KEPT if re.fullmatch(rf"{MODELS}-(actor|random|emobox|loco)(-seed\d+)?", path.name)]
IN_RESULTS = [path for path in KEPT if re.fullmatch(rf"{MODELS}-\w+(-seed\d+)?", path.name)]
EMODB_CLIPS = 454  # have an emotion that RAVDESS has too
LOCO_CLIPS = {"savee": 480, "emodb": EMODB_CLIPS, "emovo": 294, "nemo": 477, "korean-emotion-tts": 180, "ased": 738}
CLIPS = {"actor": 1440, "random": 1440, "emobox": 1440, "cross": EMODB_CLIPS, "loco": sum(LOCO_CLIPS.values())}


def test_there_are_kept_runs():
    assert {"svm-actor", "svm-textbook-actor", "whisper-actor-seed42"} <= {path.name for path in KEPT}


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_a_kept_run_tests_every_clip_once_and_says_how_it_was_made(folder):
    frame, run = read_predictions(folder), read_run_json(folder)
    assert len(frame) == CLIPS[run["protocol"]]
    assert not frame.duplicated(["corpus", "clip"]).any()
    alone = "(-ravdess)?" if not run["arguments"].get("train_corpora") else ""
    assert re.fullmatch(rf"{run['model']}(-smote|-egemaps)?{alone}-{run['protocol']}(-seed\d+)?", folder.name)
    assert run["seconds"] > 0
    assert run["corpus_fingerprint"]


def test_pages_show_the_figures_of_the_kept_runs():
    assert pages.main(["--check"]) == 0
    shown = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in shown for path in IN_RESULTS)


def test_the_report_is_what_the_kept_predictions_give(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    made = tmp_path / "comparison.md"
    compare([path.relative_to(REPOSITORY) for path in COMPARED], made)
    kept = (REPOSITORY / "reports" / "comparison.md").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8").replace(made.as_posix(), "reports/comparison.md") == kept


def test_the_leaderboard_is_what_the_kept_predictions_give(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    made = tmp_path / "leaderboard.md"
    assert leaderboard.main(["--report_only", "--output", str(made)]) == 0
    assert made.read_text(encoding="utf-8") == (REPOSITORY / "reports" / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("model", "run"), [("ser-whisper", "whisper-actor-seed42"), ("ser-svm", "svm-actor")])
def test_a_bundled_model_brings_the_figures_of_its_run(model, run):
    metrics = json.loads((REPOSITORY / "models" / model / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["corpora"] == ["ravdess"]
    beside = ("corpora", "protocol", "left_out_corpora")
    expected = evaluate_predictions(read_predictions(REPOSITORY / "reports" / "runs" / run))
    assert {key: value for key, value in metrics.items() if key not in beside} == expected
