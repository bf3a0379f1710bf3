"""The model card: its figures are those of the predictions, its words follow from the files, the Hub can read it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from ser_hf.evaluation.runs import read_run_json
from ser_hf.hub.card import write_card
from ser_hf.hub.evidence import CardError, add_evaluation
from ser_hf.labels import LABELS
from tests.local_hub import check_card
from tests.predictions import make_predictions, make_run, make_table

REPOSITORY = Path(__file__).resolve().parent.parent
BUNDLED = sorted(path.parent for path in (REPOSITORY / "models").glob("*/config.json"))
HEADINGS = ["Results", "How to use it", "Limits", "Out-of-scope use", "Training", "Licence", "Citation"]
PLOTS = ("confusion.png", "speakers.png", "reliability.png")
ARGUMENTS = {
    "corpora": "ravdess",
    "base_model": "/home/somebody/copy/of/it",
    "base_model_id": "openai/whisper-base",
    "data_dir": "/home/somebody/data",
    "hub_token": "<HUB_TOKEN>",
    "num_layers": 1,
    "num_train_epochs": 2,
    "learning_rate": 6e-05,
    "fit_head_first": True,
    "load_best_model_at_end": False,
    "folds": None,
}
MACHINE = {
    "versions": {"torch": "2.13.0", "transformers": "5.23.0", "datasets": None},
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "python": "3.11.7",
    "platform": "Linux x86_64",
    "processor": "Some Processor w/ Graphics",
    "cpu_flags": ["avx2"],
}
CLASSICAL_CONFIG = {
    "model_type": "ser_hf-classical",
    "family": "svm",
    "id2label": {str(index): label for index, label in enumerate(LABELS)},
    "feature_groups": ["pitch", "energy"],
    "temperature": 1.25,
    "answer_threshold": 0.575,
    "parameters": {"C": 8, "gamma": 0.0005},
    "cross_validation_accuracy": 0.5,
}


@pytest.fixture
def model(tiny_whisper, tmp_path) -> Path:
    """A transformer that nobody has measured yet."""
    return shutil.copytree(tiny_whisper, tmp_path / "model")


@pytest.fixture(scope="module")
def neural(tiny_whisper, tmp_path_factory) -> Path:
    """A transformer with a speaker-independent and a speaker-dependent evaluation, and an example."""
    root = tmp_path_factory.mktemp("neural")
    folder = shutil.copytree(tiny_whisper, root / "model")
    edit_config(folder, answer_threshold=0.55)
    (folder / "familiarity.safetensors").touch()
    add_evaluation(folder, finetuning_run(root / "whisper-random", "random", seed=1))
    add_evaluation(folder, finetuning_run(root / "whisper-actor"))
    (folder / "example.flac").write_bytes(b"fLaC")
    scores = dict.fromkeys(LABELS, 0.02) | {"sad": 0.86}
    (folder / "example.json").write_text(json.dumps({"label": "sad", "scores": scores}))
    return folder


@pytest.fixture(scope="module")
def classical(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("classical")
    folder = root / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CLASSICAL_CONFIG))
    records = [{"index": i, "parameters": {"C": 2}, "temperature": 1.5, "seconds": 30.0} for i in (0, 1)]
    facts = {"command": "train.baseline", "arguments": {"corpora": "ravdess", "features": "pitch,energy"}}
    frame = make_predictions(make_table(), skill=1.0)
    add_evaluation(folder, make_run(root / "svm-actor", frame, folds=records, **facts, **MACHINE))
    return folder


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def finetuning_run(folder: Path, protocol: str = "actor", seed: int = 0, folds: int = 2, **changes: object) -> Path:
    """A fine-tuning run on ten actors, of the first folds of the protocol only, with changed arguments."""
    records = [{"index": i, "temperature": 0.5 + i, "seconds": 60.0, "resumed": False} for i in range(folds)]
    facts = {"command": "train.finetune", "model": "whisper", "folds": records, **MACHINE}
    frame = make_predictions(make_table(), seed=seed, folds=folds)
    return make_run(folder, frame, protocol, arguments=ARGUMENTS | changes, **facts)


def card_of(folder: Path, **ids: str) -> str:
    return write_card(folder, "ser-tiny", **ids).read_text(encoding="utf-8")


def published(folder: Path) -> ModelCard:
    ids = {"hub_id": "alice/ser-tiny", "baseline_id": "alice/ser-svm", "dataset_id": "alice/ravdess-folds"}
    return ModelCard.load(write_card(folder, "ser-tiny", **ids))


def assert_clean(folder: Path, text: str) -> None:
    """No unfilled place, nothing of a machine or an account, and every link leads to a file of the folder."""
    assert not re.search(r"\{\{|\}\}|\{%|%\}|PATH_OR_HUB_ID|HUB_TOKEN|\bnan\b|\bNone\b|\bhf_\w|\n\n\n\|", text)
    assert not re.search(r"/home/|/root|/tmp|/work|/Users/|[A-Z]:\\|\.\./", text)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("https://", "http://", "#"))]
    assert [link for link in links if not (folder / link).is_file()] == []
    pictures = re.findall(r"!\[[^\]]{40,}\]\(([^)]+)\)", text)
    assert [Path(path).name for path in pictures] == list(PLOTS)
    headings = [heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(headings)


def rows_of(text: str, first_cells: str) -> dict[str, list[str]]:
    """The rows of the first table whose head begins with these cells, by their first cell."""
    lines = text[text.index(f"| {first_cells}") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_card_shows_the_figures_of_the_predictions(kind, request):
    folder = request.getfixturevalue(kind)
    text, metrics = card_of(folder), json.loads((folder / "metrics.json").read_text())

    def percent(*shares: float) -> list[str]:
        return [f"{100 * share:.1f}" for share in shares]

    figures = rows_of(text, "figure")
    interval = " to ".join(percent(*metrics["intervals"]["accuracy"]))
    assert figures["accuracy, all clips, %"] == [*percent(metrics["accuracy"]), interval]
    assert figures["calibration error (ECE, 15 bins), %"][0] == f"{100 * metrics['ece']:.1f}"
    assert figures["negative log-likelihood, nats"][0] == f"{metrics['nll']:.3f}"
    assert f"**{100 * metrics['fold_mean_accuracy']:.1f} %**" in text
    assert rows_of(text, "label | precision") == {
        label: [*percent(row["precision"], row["recall"], row["f1"]), str(row["support"])]
        for label, row in metrics["per_class"].items()
    }
    assert rows_of(text, "actor |") == {
        name: [row["gender"], str(row["n"]), *percent(row["accuracy"], row["balanced_accuracy"])]
        for name, row in metrics["per_speaker"].items()
    }
    kinds = rows_of(text, "clips of")
    assert kinds["women"][1:2] == percent(metrics["per_gender"]["female"]["accuracy"])
    assert kinds["strong intensity"][1:2] == percent(metrics["per_intensity"]["strong"]["accuracy"])
    folds = rows_of(text, "fold |")
    assert [folds[index][2:3] for index in "01"] == [percent(metrics["per_fold"][i]["accuracy"]) for i in "01"]


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_published_card_has_no_loose_ends(kind, request):
    folder = request.getfixturevalue(kind)
    text = str(published(folder))
    assert_clean(folder, text)
    found = re.findall(r"^## (.*)", text, re.MULTILINE)
    kept = [heading.partition(" on ")[0].partition(":")[0] for heading in found]
    assert list(dict.fromkeys(kept)) == HEADINGS
    assert "path/to/" not in text
    assert 'from_pretrained("alice/ser-tiny@main")' in text
    assert "--model alice/ser-tiny\n" in text
    assert ('pipeline("audio-classification", model="alice/ser-tiny")' in text) == (kind == "neural")
    assert "(https://huggingface.co/alice/ser-svm)" in text
    assert "(https://huggingface.co/datasets/alice/ravdess-folds)" in text
    assert text == str(published(folder))


def test_local_card_names_a_local_folder(neural):
    text = card_of(neural)
    assert_clean(neural, text)
    assert 'model="path/to/ser-tiny")' in text
    assert "alice" not in text


@pytest.mark.parametrize("bundled", BUNDLED, ids=lambda path: path.name)
def test_card_of_a_bundled_model_is_up_to_date(bundled, tmp_path):
    folder = shutil.copytree(bundled, tmp_path / bundled.name)
    kept = (folder / "README.md").read_text(encoding="utf-8")
    assert write_card(folder, bundled.name).read_text(encoding="utf-8") == kept
    assert_clean(folder, kept)
    for run in sorted((folder / "evaluation").iterdir()):
        reported = REPOSITORY / "reports" / "runs" / run.name
        assert (run / "predictions.parquet").read_bytes() == (reported / "predictions.parquet").read_bytes()
        assert read_run_json(run)["protocol"] == read_run_json(reported)["protocol"]


def test_card_keeps_speaker_dependent_figures_apart(neural):
    text = card_of(neural)
    headline = text.index("## Results on unseen speakers")
    dependent = text.index("## Results on seen speakers:")
    assert headline < text.index("evaluation/whisper-actor/confusion.png") < dependent
    assert dependent < text.index("**These are no figures on unseen speakers.**")
    assert dependent < text.index("evaluation/whisper-random/confusion.png")


@pytest.mark.parametrize("is_this", [True, False])
def test_card_says_whether_one_fold_tested_this_model(model, tmp_path, is_this):
    run = finetuning_run(tmp_path / "whisper-fold0", folds=1)
    weights = shutil.copytree(model, run / "fold0" / "model") / "model.safetensors"  # as train.finetune leaves it
    if not is_this:
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    add_evaluation(model, run)
    text = card_of(model)
    assert bool(re.search("^This is the model of fold 0, .*: 01, 02,", text, re.MULTILINE)) == is_this
    assert ("on all clips" not in text) == is_this
    assert "only fold 0 of it" in text
    assert "mean of" not in text
    assert "It is 0.500.\n" in text
    assert "<summary>Per fold</summary>" in text


TESTED = {"protocol": "cross", "model": "model", "seed": None, "command": "python -m train.evaluate --model /home/me/m"}
TRAINED = {"command": "train.finetune", "arguments": ARGUMENTS}
OTHERS = {"train_corpora": ["ravdess"], "test_corpora": ["emodb"], "base_model_id": "openai/whisper-base"}


@pytest.mark.parametrize(
    ("table", "run", "words", "absent"),
    [
        ({}, {"protocol": "random", **TRAINED}, ["on seen speakers (speaker-dependent)"], ["## Results on unseen"]),
        ({"actors": [1]}, {"protocol": "loao", **TRAINED}, ["of 1 actor "], ["interval |", "between speakers"]),
        ({"corpus": "emodb"}, TESTED, ["This model itself was tested.", "(EMODB)", "do not say how"], ["RAVDESS"]),
        (
            {"corpus": "emodb"},
            TESTED | {"heard_in_training": ["emodb"]},
            ["although it was trained on emodb"],
            ["## Results on unseen"],
        ),
        (
            {"corpus": "emodb"},
            {"protocol": "cross", **TRAINED, "arguments": OTHERS},
            ["by a model that was trained on ravdess", "fine-tuned on RAVDESS"],
            ["This model itself"],
        ),
    ],
)
def test_card_claims_no_more_than_was_tested(model, tmp_path, table, run, words, absent):
    add_evaluation(model, make_run(tmp_path / "run", make_predictions(make_table(**table), folds=1), **MACHINE, **run))
    text = card_of(model)
    assert_clean(model, text)
    assert all(one in text for one in words)
    assert not [one for one in absent if one in text]


def test_card_names_the_corpora_of_the_published_model(model, tmp_path):
    add_evaluation(model, finetuning_run(tmp_path / "whisper-actor"))
    alone = card_of(model)
    assert "which the tested models were not trained on" not in alone
    assert "burkhardt2005database" not in alone
    edit_config(model, trained_on=["ravdess", "emodb"])
    text = card_of(model)
    assert "fine-tuned on RAVDESS, EMODB;" in text
    assert "on EMODB, which the tested models were not trained on" in text
    assert "license: cc-by-nc-sa-4.0" in text
    assert "language:\n- de\n- en\n" in text
    assert "burkhardt2005database" in text


@pytest.mark.parametrize(
    ("changes", "words", "absent"),
    [
        ({"calibrate": False}, "Its probabilities were not calibrated.", None),
        ({"load_best_model_at_end": True, "metric_for_best_model": "macro_f1"}, "the best macro f1 on", None),
        ({"hold_out_validation": False, "reference_run": "/home/me/runs/earlier"}, "an earlier run (`earlier`)", None),
        ({"folds_from": "alice/folds@v1"}, "the folds 'actor' of alice/folds@v1; no speaker is", None),
        ({"max_steps": 40}, "| `max_steps`: optimiser steps | 40 |", "`num_train_epochs`"),
        ({"base_model_id": None}, "The first layer of the encoder of Whisper, fine-tuned", None),
        ({"num_train_epochs": 0}, "linear classifier was fitted on the frozen encoder", "`learning_rate`"),
    ],
)
def test_card_follows_the_arguments(changes, words, absent, model, tmp_path):
    add_evaluation(model, finetuning_run(tmp_path / "run", **changes))
    text = card_of(model)
    assert_clean(model, text)
    assert words in text
    assert absent is None or absent not in text


def test_card_knows_each_extractors_window(neural, tmp_path):
    folder = shutil.copytree(neural, tmp_path / "model")
    assert "**Its window is 5 s.**" in card_of(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_length": 1024}))
    assert "**Its window is 10.24 s.**" in card_of(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    assert "The stock pipeline gives it a recording as a whole" in card_of(folder)


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_metadata_is_what_the_hub_specifies(kind, request):
    content = published(request.getfixturevalue(kind)).content
    assert check_card(content, "model") == []
    data = yaml.safe_load(content.split("---\n")[1])
    assert data["license"] == "cc-by-nc-sa-4.0"
    assert data["pipeline_tag"] == "audio-classification"
    assert data["datasets"] == ["alice/ravdess-folds"]
    if kind == "neural":
        assert (data["base_model"], data["base_model_relation"]) == ("openai/whisper-base", "finetune")
        assert data["widget"][0]["src"].endswith("alice/ser-tiny/resolve/main/example.flac")
        assert data["widget"][0]["output"][0] == {"label": "sad", "score": 0.86}
    else:
        assert not {"base_model", "base_model_relation", "widget"} & set(data)
        assert data["library_name"] == "sklearn"


def test_metadata_has_every_result(neural, tmp_path):
    results = published(neural).data.eval_results
    assert [(result.dataset_config, result.metric_type) for result in results] == [
        (protocol, kind) for protocol in ("actor", "random") for kind in ("accuracy", "recall", "f1", "ece")
    ]
    metrics = json.loads((neural / "metrics.json").read_text())
    keys = ("fold_mean_accuracy", "balanced_accuracy", "macro_f1", "ece")
    assert [result.metric_value for result in results[:4]] == [round(metrics[key], 4) for key in keys]
    for index, result in enumerate(results):
        assert ("speaker-dependent" in result.dataset_name) == (index >= 4)
        assert ("speaker-dependent" in result.metric_name) == (index >= 4)
    folder = shutil.copytree(neural, tmp_path / "model")
    add_evaluation(folder, finetuning_run(tmp_path / "whisper-actor-seed7", seed=7))
    results = ModelCard.load(write_card(folder, "ser-tiny")).data.eval_results
    assert len({(result.dataset_config, result.metric_type) for result in results}) == len(results) == 12


def test_write_card_refuses_what_it_cannot_show(classical, model, tmp_path):
    with pytest.raises(CardError, match=r"holds no evaluation/"):
        write_card(model, "ser-tiny")
    assert not (model / "README.md").exists()
    folder = shutil.copytree(classical, tmp_path / "classical")
    (folder / "example.flac").touch()
    (folder / "example.json").write_text("[]")
    with pytest.raises(CardError, match=r"example\.json holds no JSON object"):
        write_card(folder, "ser-svm")
