"""The evidence in a model folder: a copy of the runs without what is private, and figures that are held to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import read_predictions, write_predictions, write_run_json
from ser_hf.hub.evidence import CardError, add_evaluation, check_metrics, difference, publishable, read_evaluations
from tests.predictions import make_predictions, make_run, make_table

REPOSITORY = Path(__file__).resolve().parent.parent
KEPT = sorted(path for path in (REPOSITORY / "reports" / "runs").glob("*") if path.is_dir())


@pytest.fixture(autouse=True)
def pictures(monkeypatch) -> list[str]:
    """The titles of the pictures that would have been drawn; tests/card/ draws them."""
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


def test_a_run_is_copied_with_its_figures(model, tmp_path, pictures):
    run = a_run(tmp_path / "svm-actor")
    copy = add_evaluation(model, run)
    assert copy == model / "evaluation" / "svm-actor"
    assert pictures == ["svm-actor"]
    assert (copy / "predictions.parquet").read_bytes() == (run / "predictions.parquet").read_bytes()
    expected = {"corpora": ["ravdess"], "protocol": "actor", **evaluate_predictions(read_predictions(run))}
    assert figures(model) == expected
    assert list(figures(model))[:2] == ["corpora", "protocol"]
    check_metrics(model)


@pytest.mark.parametrize("first", ["random", "loao", "emobox"])
def test_the_best_protocol_gives_the_headline_in_whatever_order_they_come(first, model, tmp_path, pictures):
    add_evaluation(model, a_run(tmp_path / "a-run", first, seed=1))
    assert figures(model)["protocol"] == first
    assert pictures == ["a-run (speaker-dependent)" if first == "random" else "a-run"]
    add_evaluation(model, a_run(tmp_path / "z-run", "actor", seed=2))
    assert figures(model)["protocol"] == "actor"
    add_evaluation(model, a_run(tmp_path / "b-run", first, seed=3))
    assert figures(model)["protocol"] == "actor"
    assert [evaluation.name for evaluation in read_evaluations(model)] == ["z-run", "a-run", "b-run"]
    check_metrics(model)


def test_the_first_run_of_a_protocol_stays_the_headline(model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "seed42", seed=42))
    before = figures(model)
    add_evaluation(model, a_run(tmp_path / "seed0", seed=0))
    assert figures(model) == before
    assert read_evaluations(model)[0].name == "seed42"
    check_metrics(model)


def test_a_run_that_is_added_again_replaces_its_copy(model, tmp_path):
    run = a_run(tmp_path / "svm-actor")
    add_evaluation(model, run)
    before = figures(model)
    write_predictions(run, make_predictions(make_table(), seed=5))
    add_evaluation(model, run)
    assert figures(model) != before
    check_metrics(model)
    add_evaluation(model, model / "evaluation" / "svm-actor")  # its own copy: only the pictures are drawn anew
    check_metrics(model)


def test_metrics_hold_the_uar_of_left_out_corpora(model, tmp_path):
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


def test_a_corpus_that_was_heard_in_training_is_no_headline(model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "cross", "cross", heard_in_training=["ravdess"]))
    assert not read_evaluations(model)[0].speaker_independent
    add_evaluation(model, a_run(tmp_path / "z-loao", "loao"))
    assert read_evaluations(model)[0].name == "z-loao"


def change_accuracy(told):
    told["accuracy"] += 1e-5


def change_interval(told):
    told["intervals"]["nll"][1] += 1e-5


def change_confusion(told):
    told["confusion_matrix"][0][3] += 1


def drop_speaker(told):
    del told["per_speaker"]["03"]


def add_figure(told):
    told["wer"] = 0.1


def change_corpus(told):
    told["corpora"] = ["emodb"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (change_accuracy, r"accuracy is 0\.\d+ there and 0\.\d+ by the predictions"),
        (change_interval, r"intervals\.nll\.1 is"),
        (change_confusion, r"confusion_matrix\.0\.3 is"),
        (drop_speaker, r"per_speaker\.03\.\w+ is missing"),
        (add_figure, r"wer is one too many"),
        (change_corpus, r"corpora\.0 is 'emodb' there"),
    ],
)
def test_a_figure_that_differs_is_named(change, name, model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "svm-actor"))
    told = figures(model)
    change(told)
    (model / "metrics.json").write_text(json.dumps(told))
    with pytest.raises(
        CardError, match=f"metrics.json is not what evaluation/svm-actor/predictions.parquet gives: {name}"
    ):
        check_metrics(model)


def test_rounding_between_machines_is_no_difference(model, tmp_path):
    add_evaluation(model, a_run(tmp_path / "svm-actor"))
    told = figures(model)
    told["accuracy"] += 1e-8
    (model / "metrics.json").write_text(json.dumps(told))
    check_metrics(model)


def test_predictions_that_were_changed_are_found(model, tmp_path):
    copy = add_evaluation(model, a_run(tmp_path / "svm-actor"))
    frame = read_predictions(copy)
    frame["emotion"] = np.roll(frame["emotion"], 1)
    write_predictions(copy, frame)
    with pytest.raises(CardError, match="is not what"):
        check_metrics(model)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_anything_is_the_same_as_itself_and_not_as_more(value):
    assert difference(value, value) is None
    assert difference({"a": value}, {"a": value, "b": value}).endswith("is missing")
    assert difference([value], [value, value])
    assert difference({"a": float("nan")}, {"a": 0.5})


def test_nothing_private_is_published():
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


@pytest.mark.parametrize("run", KEPT, ids=lambda path: path.name)
def test_the_kept_runs_are_published_without_paths(run):
    told = json.loads((run / "run.json").read_text(encoding="utf-8"))
    kept = json.dumps(publishable(told))
    for word in ("/shared", "../", "runs/", "data_dir", "output_dir", "TOKEN", "/work", "/home"):
        assert word not in kept
    assert publishable(told)["versions"] == told["versions"]
    assert publishable(told)["seconds"] == told["seconds"]


def test_a_base_model_of_the_hub_keeps_its_name():
    arguments = {"base_model": "copy/of/it", "base_model_id": "openai/whisper-base"}
    assert publishable({"arguments": arguments})["arguments"]["base_model"] == "openai/whisper-base"
    assert publishable({"arguments": {"base_model": "a/b@main"}})["arguments"]["base_model"] == "a/b@main"


def test_what_is_no_evidence_is_refused_and_leaves_nothing(model, tmp_path):
    with pytest.raises(CardError, match="cannot read"):
        add_evaluation(model, tmp_path / "nowhere")
    unfinished = a_run(tmp_path / "unfinished")
    (unfinished / "predictions.parquet").unlink()
    with pytest.raises(CardError, match="did its run end"):
        add_evaluation(model, unfinished)
    nameless = a_run(tmp_path / "nameless")
    (nameless / "run.json").write_text("{}")
    with pytest.raises(CardError, match="names no protocol"):
        add_evaluation(model, nameless)
    with pytest.raises(CardError, match="is a run of 'knn', which the model in"):
        add_evaluation(model, a_run(tmp_path / "other", model="knn"))
    assert not (model / "evaluation").exists()
    with pytest.raises(CardError, match="holds no evaluation/"):
        check_metrics(model)


def test_a_transformer_takes_no_run_of_a_baseline(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(CardError, match="which the model in"):
        add_evaluation(tmp_path, a_run(tmp_path / "svm-actor", command="train.baseline"))


def test_evidence_that_lost_its_predictions_is_named(model, tmp_path):
    copy = add_evaluation(model, a_run(tmp_path / "svm-actor"))
    (copy / "predictions.parquet").unlink()
    with pytest.raises(CardError, match=r"svm-actor holds no predictions\.parquet"):
        check_metrics(model)


def test_whose_figures_they_are_stays_known_in_a_copy(model, tmp_path):
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
