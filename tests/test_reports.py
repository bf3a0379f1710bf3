"""The kept runs: every figure in README.md, docs/ and the reports is the one that the kept predictions give."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest

from docs import pages
from experiments import leaderboard, leaderboard_report
from ser_hf.evaluation.runs import read_predictions, read_run_json
from train import compare, reporting

REPOSITORY = Path(__file__).resolve().parent.parent
KEPT = sorted(path for path in (REPOSITORY / "reports" / "runs").glob("*") if path.is_dir())
MODELS = r"(svm|svm-textbook|whisper|whisper-linear-probe)(-ravdess)?"
COMPARED = [path for path in KEPT if re.fullmatch(rf"{MODELS}-(actor|random|emobox|loco)(-seed\d+)?", path.name)]
IN_RESULTS = [path for path in KEPT if re.fullmatch(rf"{MODELS}-\w+(-seed\d+)?", path.name)]
EMODB_CLIPS = 454  # have an emotion that RAVDESS has too
LOCO_CLIPS = {"savee": 480, "emodb": EMODB_CLIPS, "emovo": 294, "nemo": 477, "korean-emotion-tts": 180, "ased": 738}
CLIPS = {"actor": 1440, "random": 1440, "emobox": 1440, "cross": EMODB_CLIPS, "loco": sum(LOCO_CLIPS.values())}

POOLED_CLIPS = 4711  # of all corpora that are here


@pytest.fixture(scope="module", autouse=True)
def run_of():
    """A function that reads a run by its name; each is read once for all reports."""

    @functools.cache
    def read(name: str) -> reporting.Run:
        return reporting.read_run(REPOSITORY / "reports" / "runs" / name)

    with pytest.MonkeyPatch.context() as patch:
        for module in (compare, leaderboard_report):
            patch.setattr(module, "read_run", lambda folder: read(folder.name))
        patch.setattr(pages, "metrics_of", lambda name: read(name).metrics)
        yield read


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_a_kept_run_tests_every_clip_once_and_says_how_it_was_made(folder):
    frame, run = read_predictions(folder), read_run_json(folder)
    pooled = "-pooled" if "savee" in run["arguments"]["corpora"] else ""
    assert len(frame) == (POOLED_CLIPS if pooled else CLIPS[run["protocol"]])
    assert not frame.duplicated(["corpus", "clip"]).any()
    alone = "(-ravdess)?" if not run["arguments"].get("train_corpora") else ""
    assert re.fullmatch(rf"{run['model']}(-smote|-egemaps)?{alone}{pooled}-{run['protocol']}(-seed\d+)?", folder.name)
    assert run["seconds"] > 0
    assert run["corpus_fingerprint"]


def test_pages_show_the_figures_of_the_kept_runs():
    assert pages.main(["--check"]) == 0
    shown = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in shown for path in IN_RESULTS)


def test_the_report_is_what_the_kept_predictions_give(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    made = tmp_path / "comparison.md"
    compare.compare([path.relative_to(REPOSITORY) for path in COMPARED], made)
    kept = (REPOSITORY / "reports" / "comparison.md").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8").replace(made.as_posix(), "reports/comparison.md") == kept


def test_the_leaderboard_is_what_the_kept_predictions_give(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    made = tmp_path / "leaderboard.md"
    assert leaderboard.main(["--report_only", "--output", str(made)]) == 0
    assert made.read_text(encoding="utf-8") == (REPOSITORY / "reports" / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("model", "run"), [("ser-whisper", "whisper-actor-seed42"), ("ser-svm", "svm-actor")])
def test_a_bundled_model_brings_the_figures_of_its_run(model, run, run_of):
    metrics = json.loads((REPOSITORY / "models" / model / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["corpora"] == ["ravdess"]
    beside = ("corpora", "protocol", "left_out_corpora")
    assert {key: value for key, value in metrics.items() if key not in beside} == run_of(run).metrics
