"""What every test of the card reads: a transformer and a classical model, both measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ser_hf.hub.card import add_evaluation
from tests.card.folders import add_example, classical_run, neural_run, save_svm_config
from tests.tiny_models import save_tiny_whisper


@pytest.fixture(scope="module")
def neural(tmp_path_factory) -> Path:
    """A transformer with a speaker-independent and a speaker-dependent evaluation, and an example."""
    root = tmp_path_factory.mktemp("neural")
    folder = save_tiny_whisper(root / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"answer_threshold": 0.55}))
    (folder / "familiarity.safetensors").write_bytes(b"")  # the card looks no further
    add_evaluation(folder, neural_run(root / "whisper-random", "random", seed=1))
    add_evaluation(folder, neural_run(root / "whisper-actor", "actor"))
    add_example(folder)
    return folder


@pytest.fixture(scope="module")
def classical(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("classical")
    folder = save_svm_config(root / "model")
    add_evaluation(folder, classical_run(root / "svm-actor", "actor"))
    return folder
