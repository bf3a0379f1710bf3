"""The evidence in a model folder: a copy of the runs without what is private, and figures that are held to it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import read_predictions, write_predictions, write_run_json
from ser_hf.hub.evidence import (
    CardError,
    add_evaluation,
    check_metrics,
    difference,
    publishable,
    read_evaluations,
)
from tests.predictions import make_predictions, make_run, make_table

REPOSITORY = Path(__file__).resolve().parent.parent
KEPT = sorted(path for path in (REPOSITORY / "reports" / "runs").glob("*") if path.is_dir())


@pytest.fixture(autouse=True)
def pictures(monkeypatch) -> list[str]:
    """The titles of the pictures that would have been drawn; tests/test_plots.py draws them."""
    titles: list[str] = []
    monkeypatch.setattr(
        "ser_hf.evaluation.plots.save_run_plots", lambda frame, metrics, folder, title: titles.append(title)
    )
    return titles


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "ser_hf-classical", "family": "svm"}))
    return folder


def a_run(folder: Path, protocol: str = "actor", seed: int = 0, **facts) -> Path:
    return make_run(folder, make_predictions(make_table(), seed=seed), protocol, **facts)


def figures(model: Path) -> dict:
    return json.loads((model / "metrics.json").read_text())


def test_add_evaluation_copies_a_run_and_its_figures(model, tmp_path, pictures):
    run = a_run(tmp_path / "svm-actor")
    copy = add_evaluation(model, run)
    assert copy == model / "evaluation" / "svm-actor"
    assert pictures == ["svm-actor"]
    assert (copy / "predictions.parquet").read_bytes() == (run / "predictions.parquet").read_bytes()
    expected = {"corpora": ["ravdess"], "protocol": "actor", **evaluate_predictions(read_predictions(run))}
    assert figures(model) == expected
    assert list(figures(model))[:2] == ["corpora", "protocol"]
    check_metrics(model)


@pytest.mark.parametrize("first", ["random", "emobox"])
def test_add_evaluation_makes_the_best_protocol_the_headline(first, model, tmp_path, pictures):
    add_evaluation(model, a_run(tmp_path / "a-run", first, seed=1))
    assert figures(model)["protocol"] == first
    assert pictures == ["a-run (speaker-dependent)" if first == "random" else "a-run"]
    add_evaluation(model, a_run(tmp_path / "z-run", "actor", seed=42))
    before = figures(model)
    assert before["protocol"] == "actor"
    for name, protocol in (("b-run", first), ("c-run", "actor")):  # the first run of a protocol stays its best
        add_evaluation(model, a_run(tmp_path / name, protocol, seed=3))
    assert figures(model) == before
    names = [evaluation.name for evaluation in read_evaluations(model)]
    assert names == ["z-run", "c-run", "a-run", "b-run"]
    check_metrics(model)


def test_add_evaluation_replaces_an_earlier_copy(model, tmp_path):
    run = a_run(tmp_path / "svm-actor")
    add_evaluation(model, run)
    before = figures(model)
    write_predictions(run, make_predictions(make_table(), seed=5))
    add_evaluation(model, run)
    assert figures(model) != before
    add_evaluation(model, model / "evaluation" / "svm-actor")  # its own copy: only the pictures are drawn again
    check_metrics(model)


def test_model_metrics_hold_the_uar_of_left_out_corpora(model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "actor"))
    assert "left_out_corpora" not in figures(model)
    tables = [make_table(), make_table(corpus="emovo")]
    frames = [make_predictions(table, folds=1, seed=fold).assign(fold=fold) for fold, table in enumerate(tables)]
    add_evaluation(model, make_run(tmp_path / "loco", pd.concat(frames), "loco"))
    found = figures(model)
    assert found["protocol"] == "actor"
    groups = read_evaluations(model)[1].metrics["per_corpus"]
    expected = {name: groups[name]["balanced_accuracy"] for name in ("emovo", "ravdess")}
    assert found["left_out_corpora"]["balanced_accuracy"] == expected
    assert found["left_out_corpora"]["mean"] == pytest.approx(sum(expected.values()) / 2)
    check_metrics(model)
    add_evaluation(model, a_run(tmp_path / "b-actor", seed=3))
    assert read_evaluations(model)[0].name == "actor"


def test_corpus_seen_in_training_is_no_headline(model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "cross", "cross", heard_in_training=["ravdess"]))
    assert not read_evaluations(model)[0].speaker_independent
    add_evaluation(model, a_run(tmp_path / "z-loao", "loao"))
    assert read_evaluations(model)[0].name == "z-loao"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda stored: stored.update(accuracy=stored["accuracy"] + 1e-5), r"accuracy is 0\.\d+ there and 0\.\d+ by"),
        (lambda stored: stored["intervals"]["nll"].__setitem__(1, 9.0), r"intervals\.nll\.1 is"),
        (lambda stored: stored["confusion_matrix"][0].__setitem__(3, -1), r"confusion_matrix\.0\.3 is"),
        (lambda stored: stored["per_speaker"].pop("03"), r"per_speaker\.03 is missing"),
        (lambda stored: stored.update(wer=0.1), r"wer is one too many"),
        (lambda stored: stored.update(corpora=["emodb"]), r"corpora\.0 is 'emodb' there"),
        (lambda stored: stored.update(accuracy=stored["accuracy"] + 1e-8), None),  # rounding between machines
    ],
)
def test_check_metrics_names_a_figure_that_differs(change, name, model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "svm-actor"))
    stored = figures(model)
    change(stored)
    (model / "metrics.json").write_text(json.dumps(stored))
    if name is None:
        check_metrics(model)
    else:
        with pytest.raises(CardError, match=f"metrics.json is not what evaluation/svm-actor/.* gives: {name}"):
            check_metrics(model)


def test_check_metrics_finds_changed_and_lost_predictions(model, tmp_path):
    copy = add_evaluation(model, a_run(tmp_path / "svm-actor"))
    frame = read_predictions(copy)
    write_predictions(copy, frame.assign(emotion=np.roll(frame["emotion"], 1)))
    with pytest.raises(CardError, match="is not what"):
        check_metrics(model)
    (copy / "predictions.parquet").unlink()
    with pytest.raises(CardError, match=r"svm-actor holds no predictions\.parquet"):
        check_metrics(model)


@settings(max_examples=20)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_difference_is_none_for_equal_structures(value):
    assert difference(value, value) is None
    assert difference({"a": value}, {"a": value, "b": value}).endswith("is missing")
    assert difference([value], [value, value])
    assert difference({"a": float("nan")}, {"a": 0.5})


def test_publishable_leaves_out_what_is_private():
    private = {
        "command": "python -m train.evaluate --model /home/me/models/mine --output_dir runs/x",
        "protocol": "actor",
        "processor": "Some Processor w/ Graphics",
        "model": "whisper",
        "failed": [{"clip": "a", "error": "/home/me/a.wav: too short"}],
        "arguments": {
            "base_model": "../shared/whisper",
            "base_model_id": None,
            "data_dir": "/home/me/data",
            "output_dir": "runs/x",
            "logging_dir": "/home/me/logs",
            "reference_run": "reports/runs/one, /home/me/runs/two",
            "folds_from": "alice/folds@v1",
            "resume_from_checkpoint": "/home/me/runs/x/checkpoint-3",
            "hub_token": "secret",
            "push_to_hub_token": "secret",
            "note": "hf_abcdefghijklmnop",
            "deepspeed": "~/ds.json",
            "windows": "C:\\Users\\me\\file.json",
            "accelerator_config": {"config_file": "/home/me/a.yaml", "even_batches": True},
            "average_tokens_across_devices": True,
            "learning_rate": 6e-05,
        },
    }
    assert publishable(private) == {
        "command": "train.evaluate",
        "protocol": "actor",
        "processor": "Some Processor w/ Graphics",
        "model": "whisper",
        "failed": [{"clip": "a"}],
        "arguments": {
            "base_model": "whisper",
            "base_model_id": None,
            "reference_run": "one,two",
            "folds_from": "alice/folds@v1",
            "resume_from_checkpoint": True,
            "note": None,
            "deepspeed": "ds.json",
            "windows": "file.json",
            "accelerator_config": {"config_file": "a.yaml", "even_batches": True},
            "average_tokens_across_devices": True,
            "learning_rate": 6e-05,
        },
    }
    assert publishable(publishable(private)) == publishable(private)


def test_publishable_leaves_no_paths_in_kept_runs():
    assert KEPT
    for folder in KEPT:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        kept = publishable(run)
        assert not re.search(r"/shared|\.\./|runs/|data_dir|output_dir|TOKEN|/work|/home", json.dumps(kept))
        assert (kept["versions"], kept["seconds"]) == (run["versions"], run["seconds"])


def test_publishable_names_a_base_model_of_the_hub():
    arguments = {"base_model": "copy/of/it", "base_model_id": "openai/whisper-base"}
    assert publishable({"arguments": arguments})["arguments"]["base_model"] == "openai/whisper-base"
    assert publishable({"arguments": {"base_model": "a/b@main"}})["arguments"]["base_model"] == "a/b@main"


def test_add_evaluation_refuses_what_is_no_evidence(model, tmp_path):
    unfinished, nameless = a_run(tmp_path / "unfinished"), a_run(tmp_path / "nameless")
    (unfinished / "predictions.parquet").unlink()
    (nameless / "run.json").write_text("{}")
    for run, reason in (
        (tmp_path / "nowhere", "cannot read"),
        (unfinished, "did its run end"),
        (nameless, "names no protocol"),
        (a_run(tmp_path / "other", model="knn"), "is a run of 'knn', which the model in"),
    ):
        with pytest.raises(CardError, match=reason):
            add_evaluation(model, run)
    assert not (model / "evaluation").exists()
    with pytest.raises(CardError, match="holds no evaluation/"):
        check_metrics(model)
    (model / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(CardError, match="which the model in"):
        add_evaluation(model, a_run(tmp_path / "svm-actor", command="train.baseline"))


def test_add_evaluation_knows_its_own_weights(model, tmp_path):
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    run = make_run(tmp_path / "fold3", make_predictions(make_table(), folds=1), command="train.finetune")
    write_run_json(run, folds=[{"index": 3}])
    (run / "fold3" / "model").mkdir(parents=True)
    shutil.copy(model / "model.safetensors", run / "fold3" / "model")
    add_evaluation(model, run)
    assert read_evaluations(model)[0].run["tests_this_model"] is True
    copy = shutil.copytree(model, tmp_path / "copy")
    add_evaluation(copy, copy / "evaluation" / "fold3")
    assert read_evaluations(copy)[0].run["tests_this_model"] is True
    (run / "fold3" / "model" / "model.safetensors").write_bytes(b"others!")
    add_evaluation(model, run)
    assert read_evaluations(model)[0].run["tests_this_model"] is False
