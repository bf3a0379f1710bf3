"""The report on runs: its figures, what it may not mix, and that it comes out the same every time."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from ser_hf import plots
from ser_hf.metrics import evaluate_predictions, mcnemar
from ser_hf.plots import style
from ser_hf.runs import read_predictions
from tests.predictions import make_predictions, make_run, make_table
from train import compare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four runs: two seeds and an SVM on new voices, and the SVM on a random split."""
    folder = tmp_path_factory.mktemp("reports")
    table = make_table()
    make_run(folder / "runs" / "whisper-actor-seed0", make_predictions(table, 3.0, seed=0), model="whisper")
    make_run(folder / "runs" / "whisper-actor-seed1", make_predictions(table, 3.2, seed=1), model="whisper")
    make_run(folder / "runs" / "svm-actor", make_predictions(table, 1.5, seed=2))
    make_run(folder / "runs" / "svm-random", make_predictions(table, 4.0, seed=3), protocol="random", seconds=None)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    """The text of the report on them, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(style, "DPI", 20)  # what is drawn is tested in test_plots
        (folder / "comparison_files").mkdir()
        (folder / "comparison_files" / "old-run-confusion.png").write_bytes(b"")
        arguments = [f"runs/{path.name}" for path in (folder / "runs").iterdir()]
        assert compare.main([*arguments, "--output", "comparison.md"]) == 0
        return (folder / "comparison.md").read_text()


def rows(text):
    """The cells of every table row, by the first cell."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


def part(report, protocol):
    (found,) = [section for section in report.split("\n## ") if section.startswith(protocol)]
    return found


def test_figures_are_those_of_the_predictions(folder, report):
    metrics = evaluate_predictions(read_predictions(folder / "runs" / "svm-actor"))
    low, high = metrics["intervals"]["accuracy"]
    main = part(report, "actor").split("###")[0]
    cells = rows(main)["svm-actor"]
    assert cells[0] == f"**{100 * metrics['accuracy']:.1f}** [{100 * low:.1f}, {100 * high:.1f}]"
    assert cells[1:6] == [
        f"{100 * metrics['fold_mean_accuracy']:.1f}",
        f"{100 * metrics['balanced_accuracy']:.1f}",
        f"{100 * metrics['macro_f1']:.1f}",
        f"{100 * metrics['ece']:.1f}",
        f"{metrics['nll']:.3f}",
    ]
    assert cells[6:8] == [f"{100 * metrics['per_gender'][gender]['accuracy']:.1f}" for gender in ("female", "male")]
    assert cells[9] == "1.5"
    worst = min(metrics["per_speaker"].values(), key=lambda group: group["accuracy"])
    assert cells[8].startswith(f"{100 * worst['accuracy']:.1f} (")


def test_runs_are_ranked_within_their_protocol_only(report):
    names = list(rows(part(report, "actor").split("### ")[0]))
    assert names.index("svm-actor") > max(names.index("whisper-actor-seed0"), names.index("whisper-actor-seed1"))
    assert "svm-random" not in part(report, "actor")
    assert "svm-actor" not in part(report, "random")


def test_random_splits_are_called_speaker_dependent(report):
    assert "(speaker-dependent)" in part(report, "random").split("\n", 1)[1]
    assert part(report, "random").startswith("random (speaker-dependent)")
    assert "peaker-dependent" not in part(report, "actor")


def test_seeds_are_shown_and_averaged(folder, report):
    accuracies = [
        100 * evaluate_predictions(read_predictions(folder / "runs" / f"whisper-actor-seed{seed}"))["accuracy"]
        for seed in (0, 1)
    ]
    cells = rows(report)["whisper-actor"]
    assert cells[:3] == [
        "2",
        f"{sum(accuracies) / 2:.1f}",
        f"{min(accuracies):.1f} to {max(accuracies):.1f}",
    ]
    assert "svm" not in rows(report)


def test_every_pair_of_a_protocol_is_tested(folder, report):
    differences = part(report, "actor").split("### Differences")[1].split("###")[0]
    pairs = [name for name in rows(differences) if " / " in name and name.count("-actor") == 2]
    assert len(pairs) == 3
    pair = next(name for name in pairs if name.startswith("whisper-actor-seed0 / svm"))
    frames = [read_predictions(folder / "runs" / name) for name in pair.split(" / ")]
    result = mcnemar(*frames)
    cells = rows(differences)[pair]
    assert cells[0].startswith(f"{100 * result['difference']:+.1f} [")
    assert cells[1] == f"{result['b']} / {result['c']}"
    assert "Differences" not in part(report, "random")


def test_accuracy_on_the_share_that_a_run_is_surest_of(folder, report):
    metrics = evaluate_predictions(read_predictions(folder / "runs" / "svm-actor"))
    by_share = {f"{100 * row['coverage']:.0f} %": f"{100 * row['accuracy']:.1f}" for row in metrics["coverage"]}
    table = part(report, "actor").split("most confident share of the clips, %")[1].split("![")[0]
    assert rows(table)["run"] == ["100 %", "90 %", "80 %", "70 %", "50 %"]
    assert rows(table)["svm-actor"] == [by_share[share] for share in rows(table)["run"]]


def test_every_picture_is_there_and_no_other(folder, report):
    named = re.findall(r"\]\((comparison_files/[^)]+\.png)\)", report)
    assert len(named) == len(set(named)) == 4 * 3 + 2 * 3
    assert {f"comparison_files/{path.name}" for path in (folder / "comparison_files").iterdir()} == set(named)


def test_the_report_says_how_it_was_made(report):
    assert "\n    python -m train.compare runs/* --output comparison.md\n" in report


def test_the_same_runs_give_the_same_report(folder, report, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(plots, "save", lambda figure, path: path)
    monkeypatch.setattr(compare.Gallery, "remove_others", lambda self: None)
    folders = [path.relative_to(folder) for path in (folder / "runs").iterdir()]
    compare.compare(sorted(folders, reverse=True), folder / "again.md")
    again = (folder / "again.md").read_text()
    assert again.replace("again_files", "comparison_files").replace(f"{folder}/again.md", "comparison.md") == report


def test_runs_of_other_clips_do_not_share_a_table(tmp_path):
    frame = make_predictions(make_table())
    whole = compare.read_run(make_run(tmp_path / "whole", frame))
    one_fold = compare.read_run(make_run(tmp_path / "one-fold", frame[frame["fold"] == 0]))
    other = compare.read_run(make_run(tmp_path / "other", make_predictions(make_table(), 1.0)))
    assert [[run.name for run in group] for group in compare.grouped([one_fold, other, whole])] == [
        ["whole", "other"],
        ["one-fold"],
    ]


def test_pictures_of_the_same_name_do_not_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda figure, path: path)
    gallery = compare.Gallery(tmp_path / "x_files")
    assert [gallery.add(None, "actor-accuracy", "") for _ in range(3)] == [
        "![](x_files/actor-accuracy.png)",
        "![](x_files/actor-accuracy-2.png)",
        "![](x_files/actor-accuracy-3.png)",
    ]


def test_a_model_that_heard_the_corpus_is_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda figure, path: path)
    frame = make_predictions(make_table(), folds=1)
    run = compare.read_run(make_run(tmp_path / "x", frame, protocol="cross", heard_in_training=["ravdess"]))
    text = "\n".join(compare.section([run], compare.Gallery(tmp_path / "y_files")))
    assert "**No test:** trained on these corpora: x." in text


def test_compare_shows_figures_per_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda figure, path: path)
    tables = [make_table(), make_table(range(1, 5), corpus="emovo")]
    runs = []
    for name, skill in (("a", 3.0), ("b", 1.0)):
        frames = [make_predictions(table, skill, folds=1).assign(fold=fold) for fold, table in enumerate(tables)]
        runs.append(compare.read_run(make_run(tmp_path / name, pd.concat(frames), protocol="loco")))
    text = "\n".join(compare.section(runs, compare.Gallery(tmp_path / "files")))
    found = rows(text.split("per corpus, %")[1].split("###")[0])
    assert [cell.split(" ")[0] for cell in found["run"]] == ["emovo", "ravdess", "mean"]
    for run in runs:
        columns = [*run.metrics["per_corpus"].values(), run.metrics["mean_over_corpora"]]
        figures = [[one[key] for key in ("accuracy", "balanced_accuracy", "ece")] for one in columns]
        assert found[run.name] == [" / ".join(f"{100 * value:.1f}" for value in column) for column in figures]
    assert "a / b" in rows(text)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "there is no run folder"),
        (lambda path: path.mkdir(), r"holds no predictions\.parquet"),
        (lambda path: make_run(path, make_predictions(make_table([1])), protocol=None), "which protocol"),
    ],
)
def test_a_folder_that_is_no_run_is_named(tmp_path, capsys, prepare, message):
    prepare(tmp_path / "strange")
    assert compare.main([str(tmp_path / "strange"), "--output", str(tmp_path / "r.md")]) == 2
    assert re.search(f"^error: .*strange.*{message}|{message}.*strange", capsys.readouterr().err)
    assert not (tmp_path / "r.md").exists()


def test_two_runs_of_one_name_are_refused(tmp_path, capsys):
    frame = make_predictions(make_table([1, 2]))
    folders = [str(make_run(tmp_path / parent / "svm-actor", frame)) for parent in ("a", "b")]
    assert compare.main([*folders, "--output", str(tmp_path / "r.md")]) == 2
    assert "several run folders are named svm-actor" in capsys.readouterr().err


def test_a_run_named_twice_counts_once_and_order_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda figure, path: path)
    first, second = (make_run(tmp_path / "runs" / name, make_predictions(make_table([1, 2]))) for name in "ab")
    texts = []
    for folders in ([first, second], [second, first, second]):
        compare.compare(folders, tmp_path / "r.md")
        texts.append((tmp_path / "r.md").read_text())
    assert texts[0] == texts[1]
    assert "the predictions of 2 runs" in texts[0]
