"""Every line of the card, for every kind of model, without a loose end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ser_hf.card import CardError, write_card
from ser_hf.labels import LABELS
from ser_hf.runs import read_run_json
from tests.card.folders import add_example, save_svm_config
from tests.card.reading import assert_clean, published

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATTERNS = Path(__file__).parent / "patterns"
BUNDLED = sorted(path.parent for path in (REPOSITORY / "models").glob("*/config.json"))

# What a placeholder in a pattern file stands for; everything else there is meant literally.
PLACEHOLDERS = {
    "<x.x>": r"\d{1,3}\.\d",
    "<x.xxx>": r"\d+\.\d{3}",
    "<0.x>": r"[01]\.\d{1,4}",
    "<expression>": f"(?:{'|'.join(LABELS)})",
    "<Expression>": f"(?:{'|'.join(label.capitalize() for label in LABELS)})",
    "<actor>": r"(?:0[1-9]|10)",
}


def assert_matches(text: str, pattern_file: Path) -> None:
    """Each line of a text matches the pattern in the same place, and neither has one more."""
    lines, patterns = text.splitlines(), pattern_file.read_text(encoding="utf-8").splitlines()
    for number, (line, pattern) in enumerate(zip(lines, patterns, strict=False), start=1):
        expression = re.escape(pattern)
        for placeholder, meaning in PLACEHOLDERS.items():
            expression = expression.replace(re.escape(placeholder), meaning)
        assert re.fullmatch(expression, line), f"line {number}: {line!r} is not {pattern!r}"
    assert len(lines) == len(patterns), f"{len(lines)} lines, where {pattern_file.name} has {len(patterns)}"


def test_every_line_of_a_published_transformers_card(neural):
    assert_matches(str(published(neural)), PATTERNS / "whisper-published.md")


def test_every_line_of_a_local_classical_card(classical):
    text = write_card(classical, "ser-svm").read_text(encoding="utf-8")
    assert_matches(text, PATTERNS / "svm-local.md")


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
