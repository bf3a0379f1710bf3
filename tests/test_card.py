"""The model card says what the run measured, in the metadata that the Hub reads and in the words that people read."""

from __future__ import annotations

import json
import re

import pytest
from huggingface_hub import ModelCard

from ser_hf.card import write_card
from ser_hf.labels import LABELS
from ser_hf.runs import create_run, finish_run, write_run_json
from tests.predictions import make_predictions, make_table
from tests.tiny_models import save_tiny_whisper


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = create_run(tmp_path_factory.mktemp("runs") / "whisper-actor")
    metrics = finish_run(folder, [make_predictions(make_table())])
    arguments = {"corpora": "ravdess", "base_model": "copy/of/it", "base_model_id": "openai/whisper-base"}
    write_run_json(folder, protocol="actor", model="whisper", seed=0, arguments=arguments, seconds=3600.0)
    return folder, metrics


def test_the_card_of_a_transformer(run, tmp_path):
    folder, metrics = run
    path = write_card(save_tiny_whisper(tmp_path / "model"), folder, "ser-tiny")
    card = ModelCard.load(path)
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert card.data.base_model == "openai/whisper-base"
    assert card.data.pipeline_tag == "audio-classification"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["accuracy"] == round(metrics["fold_mean_accuracy"], 4)
    assert f"| accuracy, all clips | {100 * metrics['accuracy']:.1f} % |" in card.text
    low, high = (100 * bound for bound in metrics["intervals"]["accuracy"])
    assert f"{low:.1f} % to {high:.1f} %" in card.text
    for label in LABELS:
        assert re.search(rf"^\| {label} \| [\d.]* ?%? \|", card.text, re.MULTILINE)
    assert "It hears 5 s at once" in card.text
    assert "copy/of/it" not in card.text
    assert not re.search(r"\{\{|\}\}|\{%|\bnan\b|(?<!=)\bNone\b", card.text)
    kept = json.loads((path.parent / "metrics.json").read_text())
    assert (kept["accuracy"], kept["corpora"]) == (metrics["accuracy"], ["ravdess"])


def test_the_card_of_a_classical_model_promises_no_pipeline(run, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ser_hf-classical", "family": "svm"}))
    card = ModelCard.load(write_card(tmp_path, run[0], "ser-svm"))
    assert "EmotionClassifier" in card.text
    assert "from transformers import pipeline" not in card.text
    assert card.data.base_model is None
