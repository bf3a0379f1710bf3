"""How the card says that a model was made: by its arguments and its layers."""

from __future__ import annotations

import json
import shutil

import pytest

from ser_hf.hub.card import add_evaluation, write_card
from tests.card.folders import ARGUMENTS, neural_run
from tests.card.reading import assert_clean
from tests.tiny_models import save_tiny_whisper


def test_where_no_epoch_is_learned_the_card_leaves_out_how_one_would_be(tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "run", "actor", arguments=ARGUMENTS | {"num_train_epochs": 0}))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "`num_train_epochs`" in text
    assert "`learning_rate`" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calibrate": False}, "Its probabilities were not calibrated."),
        (
            {"load_best_model_at_end": True, "metric_for_best_model": "balanced_accuracy"},
            "the best balanced accuracy on",
        ),
        ({"hold_out_validation": False, "reference_run": "/home/me/runs/earlier"}, "an earlier run (`earlier`)"),
        ({"folds_from": "alice/folds@v1"}, "the folds 'actor' of alice/folds@v1; no speaker is in training and test"),
        ({"max_steps": 40}, "| `max_steps`: optimiser steps | 40 |"),
        ({"base_model_id": None}, "The first layer of the encoder of Whisper, fine-tuned"),
        ({"num_train_epochs": 0}, "linear classifier was fitted on the frozen encoder"),
    ],
)
def test_the_card_follows_the_arguments(changes, words, tmp_path):
    folder = save_tiny_whisper(tmp_path / "model")
    add_evaluation(folder, neural_run(tmp_path / "run", "actor", arguments=ARGUMENTS | changes))
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(folder, text)
    assert words in text


def test_windows_are_told_for_each_kind_of_extractor(neural, tmp_path):
    folder = shutil.copytree(neural, tmp_path / "model")
    assert "**Its window is 5 s.**" in write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_length": 1024}))
    assert "**Its window is 10.24 s.**" in write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    (folder / "preprocessor_config.json").write_text("{}")
    text = write_card(folder, "ser-tiny").read_text(encoding="utf-8")
    assert "The stock pipeline gives it a recording as a whole" in text
