"""Hostile and odd recordings get a prediction, or an error that names the file; `make qa` runs more of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ser_hf.classifier import EmotionClassifier
from ser_hf.labels import LABELS
from tests.hostile_audio import CASES, MAX_SECONDS, Case


@pytest.fixture(scope="module")
def classifier(tiny_svm: Path) -> EmotionClassifier:
    return EmotionClassifier.from_pretrained(tiny_svm)


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.name))
def test_hostile_recording_is_predicted_or_refused(
    classifier: EmotionClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
):
    monkeypatch.chdir(tmp_path)
    path = case.make(tmp_path)
    (outcome,) = classifier.predict_many([path], max_seconds=MAX_SECONDS)
    if case.error is not None:
        assert type(outcome) is case.error, outcome
        assert str(outcome).startswith(f"{path}: ")
    else:
        assert not isinstance(outcome, Exception), outcome
        assert outcome.label in LABELS
        assert not case.warning or any(re.search(case.warning, warning) for warning in outcome.warnings)
