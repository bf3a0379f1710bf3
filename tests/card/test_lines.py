"""Every line of the card, for every kind of model, without a loose end."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from ser_hf.evaluation.runs import read_run_json
from ser_hf.hub.card import CardError, write_card
from tests.card.folders import add_example, save_svm_config
from tests.card.reading import assert_clean, published

REPOSITORY = Path(__file__).resolve().parent.parent.parent
BUNDLED = sorted(path.parent for path in (REPOSITORY / "models").glob("*/config.json"))

HEADINGS = ["Results", "How to use it", "Limits", "Out-of-scope use", "Training", "Licence", "Citation"]


def headline_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def assert_structure(text: str, metrics: dict) -> None:
    """The sections in their order, and the figures of the headline run as they were measured."""
    found = re.findall(r"^## (.*)", text, re.MULTILINE)
    kept = [heading.partition(" on ")[0].partition(":")[0] for heading in found]
    assert list(dict.fromkeys(kept)) == HEADINGS
    for label, row in metrics["per_class"].items():
        assert f"| {label} | {100 * row['precision']:.1f} | {100 * row['recall']:.1f} |" in text
    for name, group in metrics["per_speaker"].items():
        assert re.search(rf"\| {name} \| \w+ \| {group['n']} \| {100 * group['accuracy']:.1f} \|", text)


def test_structure_of_a_published_transformers_card(neural):
    assert_structure(str(published(neural)), headline_metrics(neural))


def test_structure_of_a_local_classical_card(classical):
    text = write_card(classical, "ser-svm").read_text(encoding="utf-8")
    assert_structure(text, headline_metrics(classical))


def test_the_card_is_the_same_when_it_is_written_again(neural):
    assert str(published(neural)) == str(published(neural))
    assert write_card(neural, "ser-tiny").read_bytes() == write_card(neural, "ser-tiny").read_bytes()


@pytest.mark.parametrize("kind", ["neural", "classical"])
def test_a_published_card_has_no_loose_ends(kind, request):
    folder = request.getfixturevalue(kind)
    text = str(published(folder))
    assert_clean(folder, text)
    assert "path/to/" not in text
    assert 'from_pretrained("alice/ser-tiny@main")' in text
    assert "--model alice/ser-tiny\n" in text
    assert ('pipeline("audio-classification", model="alice/ser-tiny")' in text) == (kind == "neural")
    assert "(https://huggingface.co/alice/ser-svm)" in text
    assert "(https://huggingface.co/datasets/alice/ravdess-folds)" in text


def test_a_local_card_names_a_local_folder(neural):
    text = write_card(neural, "ser-tiny").read_text(encoding="utf-8")
    assert_clean(neural, text)
    assert 'model="path/to/ser-tiny")' in text
    assert "alice" not in text


def test_no_evidence_no_card(tmp_path):
    folder = save_svm_config(tmp_path / "model")
    with pytest.raises(CardError, match=r"holds no evaluation/"):
        write_card(folder, "ser-svm")
    assert not (folder / "README.md").exists()


def test_an_example_that_says_nothing_is_refused(classical, tmp_path):
    folder = shutil.copytree(classical, tmp_path / "model")
    add_example(folder)
    (folder / "example.json").write_text("[]")
    with pytest.raises(CardError, match=r"example\.json does not hold"):
        write_card(folder, "ser-svm")


@pytest.mark.parametrize("bundled", BUNDLED, ids=lambda path: path.name)
def test_the_card_of_a_bundled_model_is_what_its_files_give(bundled, tmp_path):
    folder = shutil.copytree(bundled, tmp_path / bundled.name)
    kept = (folder / "README.md").read_text(encoding="utf-8")
    assert write_card(folder, bundled.name).read_text(encoding="utf-8") == kept
    assert_clean(folder, kept)
    for run in sorted((folder / "evaluation").iterdir()):
        reported = REPOSITORY / "reports" / "runs" / run.name
        assert (run / "predictions.parquet").read_bytes() == (reported / "predictions.parquet").read_bytes()
        assert read_run_json(run)["protocol"] == read_run_json(reported)["protocol"]
