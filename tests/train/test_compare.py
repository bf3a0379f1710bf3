"""The report on runs: its figures, which runs share a table, and that it is reproducible."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import read_predictions
from ser_hf.evaluation.statistics import mcnemar
from tests.predictions import make_predictions, make_run, make_table
from train import compare
from train.reporting import Gallery, read_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four runs: two seeds and an SVM on unseen speakers, and the SVM on a random split."""
    folder, table = tmp_path_factory.mktemp("reports"), make_table()
    make_run(folder / "runs" / "whisper-actor-seed0", make_predictions(table, 3.0, seed=0), model="whisper")
    make_run(folder / "runs" / "whisper-actor-seed1", make_predictions(table, 3.2, seed=1), model="whisper")
    make_run(folder / "runs" / "svm-actor", make_predictions(table, 1.5, seed=2))
    make_run(folder / "runs" / "svm-random", make_predictions(table, 4.0, seed=3), protocol="random", seconds=None)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "comparison_files").mkdir()
        (folder / "comparison_files" / "old-run-confusion.png").write_bytes(b"")
        arguments = [f"runs/{path.name}" for path in (folder / "runs").iterdir()]
        assert compare.main([*arguments, "--output", "comparison.md"]) == 0
        return (folder / "comparison.md").read_text()


@pytest.fixture(scope="module")
def metrics(folder):
    return {path.name: evaluate_predictions(read_predictions(path)) for path in (folder / "runs").iterdir()}


def rows(text):
    """The cells of every table row, by the first cell."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


def part(report, protocol):
    (found,) = [section for section in report.split("\n## ") if section.startswith(protocol)]
    return found


def shown(*values):
    return [f"{100 * value:.1f}" for value in values]


def test_tables_show_the_metrics_of_each_run(report, metrics):
    actor, svm = part(report, "actor"), metrics["svm-actor"]
    low, high = shown(*svm["intervals"]["accuracy"])
    cells = rows(actor.split("###")[0])["svm-actor"]
    assert cells[0] == f"**{shown(svm['accuracy'])[0]}** [{low}, {high}]"
    assert cells[1:5] == shown(svm["fold_mean_accuracy"], svm["balanced_accuracy"], svm["macro_f1"], svm["ece"])
    assert cells[5] == f"{svm['nll']:.3f}"
    assert cells[6:8] == shown(*(svm["per_gender"][gender]["accuracy"] for gender in ("female", "male")))
    assert cells[8].startswith(shown(min(group["accuracy"] for group in svm["per_speaker"].values()))[0])
    assert cells[9] == "1.5"
    seeds = [metrics[f"whisper-actor-seed{seed}"]["accuracy"] for seed in (0, 1)]
    spread = " to ".join(shown(min(seeds), max(seeds)))
    assert rows(report)["whisper-actor"][:3] == ["2", *shown(sum(seeds) / 2), spread]
    by_share = {row["coverage"]: row["accuracy"] for row in svm["coverage"]}
    for heading, values in (
        ("Accuracy on the most confident", [by_share[share] for share in compare.SHOWN_COVERAGES]),
        ("Recall", [group["recall"] for group in svm["per_class"].values()]),
        ("Accuracy per fold", [group["accuracy"] for group in svm["per_fold"].values()]),
    ):
        assert rows(actor.split(f"### {heading}")[1].split("![")[0].split("###")[0])["svm-actor"] == shown(*values)


def test_protocols_have_sections_of_their_own(report):
    actor, random = part(report, "actor"), part(report, "random")
    names = list(rows(actor.split("### ")[0]))
    assert names.index("svm-actor") > max(names.index(f"whisper-actor-seed{seed}") for seed in (0, 1))  # best first
    assert random.startswith("random (speaker-dependent)")
    assert not [name for name, text in (("svm-actor", random), ("svm-random", actor)) if name in text]


def test_difference_table_tests_every_pair(folder, report):
    differences = rows(part(report, "actor").split("### Differences")[1].split("###")[0])
    pairs = [name for name in differences if name.count("-actor") == 2]
    assert len(pairs) == 3
    pair = next(name for name in pairs if name.startswith("whisper-actor-seed0 / svm"))
    result = mcnemar(*(read_predictions(folder / "runs" / name) for name in pair.split(" / ")))
    assert differences[pair][0].startswith(f"{100 * result['difference']:+.1f} [")
    assert differences[pair][1] == f"{result['b']} / {result['c']}"
    assert "Differences" not in part(report, "random")


def test_figures_of_a_report_are_there_and_no_others(folder, report):
    named = re.findall(r"\]\((comparison_files/[^)]+\.png)\)", report)
    assert len(named) == len(set(named)) == 4 * 3 + 2 * 3
    assert {f"comparison_files/{path.name}" for path in (folder / "comparison_files").iterdir()} == set(named)


def test_the_same_runs_give_the_same_report(folder, report, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Gallery, "remove_others", lambda self: None)
    folders = [path.relative_to(folder) for path in (folder / "runs").iterdir()]
    compare.compare([*sorted(folders, reverse=True), folders[0]], folder / "again.md")
    again = (folder / "again.md").read_text()
    assert again.replace("again_files", "comparison_files").replace(f"{folder}/again.md", "comparison.md") == report
    assert "\n    python -m train.compare runs/svm-actor runs/" in report


def test_runs_of_other_clips_do_not_share_a_table(tmp_path):
    frame = make_predictions(make_table())
    frames = {"one-fold": frame[frame["fold"] == 0], "other": make_predictions(make_table(), 1.0), "whole": frame}
    groups = compare.grouped([read_run(make_run(tmp_path / name, one)) for name, one in frames.items()])
    assert [[run.name for run in group] for group in groups] == [["whole", "other"], ["one-fold"]]


def test_gallery_gives_each_figure_a_name(tmp_path):
    gallery = Gallery(tmp_path / "x_files")
    names = [gallery.add(None, "accuracy", "") for _ in range(3)]
    assert names == [f"![](x_files/accuracy{suffix}.png)" for suffix in ("", "-2", "-3")]


def test_section_shows_corpora_and_marks_training_corpora(tmp_path):
    tables, runs = [make_table(), make_table(range(1, 5), corpus="emovo")], []
    for name, skill, facts in (("a", 3.0, {"heard_in_training": ["ravdess"]}), ("b", 1.0, {})):
        frames = [make_predictions(table, skill, folds=1).assign(fold=fold) for fold, table in enumerate(tables)]
        runs.append(read_run(make_run(tmp_path / name, pd.concat(frames), protocol="loco", **facts)))
    text = "\n".join(compare.section(runs, Gallery(tmp_path / "files")))
    found = rows(text.split("per corpus, %")[1].split("###")[0])
    assert [cell.split(" ")[0] for cell in found["run"]] == ["emovo", "ravdess", "mean"]
    for run in runs:
        columns = [*run.metrics["per_corpus"].values(), run.metrics["mean_over_corpora"]]
        figures = [[one[key] for key in ("accuracy", "balanced_accuracy", "ece")] for one in columns]
        assert found[run.name] == [" / ".join(shown(*column)) for column in figures]
    assert "**No test:** trained on these corpora: a." in text


def test_folders_that_are_no_runs_are_named(tmp_path, capsys):
    frame = make_predictions(make_table([1]))
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "no-protocol", frame, protocol=None)
    twice = [str(make_run(tmp_path / parent / "svm-actor", frame)) for parent in "ab"]
    for folders, named in (
        (["nowhere"], "nowhere"),
        (["empty"], r"empty.* predictions\.parquet"),
        (["no-protocol"], r"no-protocol.*run\.json"),
        (twice, "svm-actor"),
    ):
        words = [str(tmp_path / folder) for folder in folders]
        assert compare.main([*words, "--output", str(tmp_path / "r.md")]) == 2
        assert re.search(f"^error: .*{named}", capsys.readouterr().err)
        assert not (tmp_path / "r.md").exists()
