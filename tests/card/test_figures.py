"""The card's figures: those of the predictions, and never told as more than they are."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from ser_hf.evaluation.runs import write_run_json
from ser_hf.hub.card import CardError, add_evaluation, write_card
from tests.card.folders import ARGUMENTS, MACHINE, neural_run
from tests.card.reading import assert_clean
from tests.predictions import make_predictions, make_run, make_table
from tests.tiny_models import save_tiny_whisper


def rows_of(text: str, first_cells: str) -> dict[str, list[str]]:
    """The rows of the first table whose head begins with these cells, by their first cell."""
    lines = text[text.index(f"| {first_cells}") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_figures_are_those_of_the_predictions(kind, request):
    folder = request.getfixturevalue(kind)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    metrics = json.loads((folder / "metrics.json").read_text())
    figures = rows_of(text, "figure")
    low, high = metrics["intervals"]["accuracy"]
    assert figures["accuracy, all clips, %"] == [
        f"{100 * metrics['accuracy']:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
    ]
    assert figures["calibration error (ECE, 15 bins), %"][0] == f"{100 * metrics['ece']:.1f}"
    assert figures["negative log-likelihood, nats"][0] == f"{metrics['nll']:.3f}"
    assert f"**{100 * metrics['fold_mean_accuracy']:.1f} %**" in text
    for label, cells in rows_of(text, "label | precision").items():
        row = metrics["per_class"][label]
        assert cells == [*(f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1")), str(row["support"])]
    assert set(rows_of(text, "actor |")) == set(metrics["per_speaker"])
    for name, cells in rows_of(text, "actor |").items():
        assert cells[1:3] == [
            str(metrics["per_speaker"][name]["n"]),
            f"{100 * metrics['per_speaker'][name]['accuracy']:.1f}",
        ]
    kinds = rows_of(text, "clips of")
    assert kinds["women"][1] == f"{100 * metrics['per_gender']['female']['accuracy']:.1f}"
    assert kinds["strong intensity"][1] == f"{100 * metrics['per_intensity']['strong']['accuracy']:.1f}"
    assert [cells[2] for cells in rows_of(text, "fold |").values()] == [
        f"{100 * fold['accuracy']:.1f}" for fold in metrics["per_fold"].values()
    ]


def test_the_speaker_dependent_figures_stand_apart(neural):
    text = write_card(neural, "ser-tiny").read_text(encoding="utf-8")
    headline, random = (
        text.index("## Results on unseen speakers"),
        text.index("## Results on seen speakers:"),
    )
    assert headline < text.index("evaluation/whisper-actor/confusion.png") < random
    assert random < text.index("**These are no figures on unseen speakers.**")
    assert random < text.index("evaluation/whisper-random/confusion.png")
    assert text.index("whisper-random") < text.index("\n---\n", 4) or text.index("whisper-random") > random


def test_only_a_speaker_dependent_run_is_never_told_as_more(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "whisper-random", "random"))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "## Results on unseen speakers" not in text
    assert "## Results on seen speakers (speaker-dependent)" in text


def test_the_model_of_one_fold_is_told_as_that(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    run = neural_run(tmp_path / "whisper-fold0", "actor", folds=1)
    shutil.copytree(folder, run / "fold0" / "model")  # as train.finetune leaves it
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny", hub_id="alice/fold").read_text(encoding="utf-8")
    assert re.search("^This is the model of fold 0, .*: 01, 02,", text, re.MULTILINE)
    assert "only fold 0 of it" in text
    assert "mean of" not in text
    assert "cross-validation models" not in text
    assert "on all clips" not in text
    assert "It is 0.500.\n" in text
    assert "<summary>Per fold</summary>" in text
    assert text == write_card(folder, "ser-tiny", hub_id="alice/fold", is_final=False).read_text(encoding="utf-8")


def test_a_run_of_one_fold_that_measured_another_model(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    run = neural_run(tmp_path / "whisper-fold0", "actor", folds=1)
    save_tiny_whisper(run / "fold0" / "model", seed=1)
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "the model of fold 0." in text
    assert "This is the model of fold 0" not in text


def test_no_model_is_that_of_several_folds(neural):
    with pytest.raises(CardError, match="cannot be the model that evaluation/whisper-actor tested"):
        write_card(neural, "ser-tiny", is_final=False)


def test_other_corpora(tmp_path):
    """A model that was only tested on other corpora: nothing is said of RAVDESS, or of how it was made."""
    folder = save_tiny_whisper(tmp_path / "model")
    run = tmp_path / "whisper-cross-emodb"
    frame = make_predictions(make_table(corpus="emodb"), folds=1)
    make_run(
        run, frame, "cross", model="model", seed=None, command="python -m train.evaluate --model /home/me/m", **MACHINE
    )
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(folder, text)
    assert "RAVDESS" not in text.upper().replace("EMODB", "")
    assert "This model itself was tested." in text
    assert "80 clips" not in text
    assert "(EMODB)" in text
    assert "These files do not say how it was trained." in text
    assert "license" not in text.split("---\n")[1]
    write_run_json(folder / "evaluation" / run.name, heard_in_training=["emodb"])
    assert "although it was trained on emodb" in write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "## Results on unseen" not in (folder / "README.md").read_text(encoding="utf-8")


def test_a_single_test_actor_has_no_interval(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    frame = make_predictions(make_table(actors=[1]), folds=1)
    run = make_run(tmp_path / "whisper-loao", frame, "loao", command="train.finetune", arguments=ARGUMENTS, **MACHINE)
    add_evaluation(folder, run)
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(folder, text)
    assert "interval |" not in text
    assert "of 1 actor " in text
    assert "Accuracy differs between speakers" not in text


def test_a_run_that_trained_on_other_corpora_is_not_taken_for_a_test_of_this_model(tmp_path):
    model = save_tiny_whisper(tmp_path / "model")
    frame = make_predictions(make_table(corpus="emodb"), folds=1)
    arguments = {"train_corpora": ["ravdess"], "test_corpora": ["emodb"], "base_model_id": "openai/whisper-base"}
    run = make_run(tmp_path / "whisper-cross-seed42", frame, "cross", command="train.finetune", arguments=arguments)
    add_evaluation(model, run)
    text = write_card(model, "ser-tiny").read_text()
    assert "by a model that was trained on ravdess" in text
    assert "fine-tuned on RAVDESS" in text
    assert "This model itself" not in text


def test_card_names_corpora_of_the_published_model_alone(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "whisper-actor", "actor"))
    alone = write_card(folder, "ser-tiny").read_text()
    assert "which the tested models were not trained on" not in alone
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"trained_on": ["ravdess", "emodb"]}))
    card = write_card(folder, "ser-tiny").read_text()
    assert "fine-tuned on RAVDESS, EMODB;" in card
    assert "on EMODB, which the tested models were not trained on" in card
    assert "license: cc-by-nc-sa-4.0" in card
    assert "language:\n- de\n- en\n" in card
    assert "burkhardt2005database" in card
    assert "burkhardt2005database" not in alone
    (folder / "config.json").write_text(json.dumps(config | {"learned_from": 7}))
    assert write_card(folder, "ser-tiny").read_text() == alone
