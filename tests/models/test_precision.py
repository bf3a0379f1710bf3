"""bfloat16 inference: which layers it changes, by how little, and when it is chosen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.speed import MAX_DIFFERENCE, SAME_LABEL, compare_fast_paths
from ser_hf.classifier import DEFAULT_MODEL, PRECISIONS, EmotionClassifier
from ser_hf.models import ModelError, neural
from ser_hf.models.building import create_model
from ser_hf.models.neural import load_neural, save_neural
from ser_hf.models.scratch import create_from_scratch
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base

CLIPS = [make_clip("happy", seconds=1.2), make_clip("sad", 2, seconds=0.9), make_clip("angry", 3, seconds=2.0)]


def dtypes(model):
    """Those of the feed-forward layers' weights, those of the other linear layers' weights, and those of biases."""
    rounded, exact, biases = set(), set(), set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            fast = re.search(r"(fc1|fc2|_dense|(intermediate|output)\.dense)$", name)
            is_fast = fast and "layer" in name and "attention.output" not in name
            (rounded if is_fast else exact).add(module.weight.dtype)
            biases |= set() if module.bias is None else {module.bias.dtype}
    return rounded, exact, biases


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "ast"])
def test_bfloat16_is_for_feed_forward_layers(kind, tmp_path):
    model, extractor = create_model(save_tiny_base(kind, tmp_path / "base"), window=5 if kind == "whisper" else None)
    with torch.no_grad():
        torch.nn.init.normal_(neural.output_layer(model).weight)
    folder = save_neural(model, extractor, tmp_path / "model")
    exact, fast = load_neural(folder), load_neural(folder, precision="bfloat16")
    assert dtypes(exact.model) == ({torch.float32},) * 3
    assert dtypes(fast.model) == ({torch.bfloat16}, {torch.float32}, {torch.float32})
    scores = fast.predict_proba(CLIPS)
    assert scores.dtype == np.float32
    assert 0 < np.abs(scores - exact.predict_proba(CLIPS)).max() < 0.02
    assert fast.mean_states(CLIPS, 2) == pytest.approx(exact.mean_states(CLIPS, 2), abs=0.02)
    alone = np.concatenate([fast.predict_proba([clip]) for clip in CLIPS])
    assert alone == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize(("pays", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_it_pays(pays, expected, tmp_path, monkeypatch):
    folder = save_neural(*create_model(save_tiny_base("whisper", tmp_path / "base"), window=5), tmp_path / "tiny")
    monkeypatch.setattr(neural, "bfloat16_pays", lambda device: pays)
    for precision, dtype in (("auto", expected), ("float32", torch.float32)):
        assert dtypes(EmotionClassifier.from_pretrained(folder, precision=precision).model.model)[0] == {dtype}


def test_auto_is_float32_without_transformer_layers(tmp_path, monkeypatch):
    folder = save_neural(*create_from_scratch("cnn", hidden_size=16), tmp_path / "cnn")
    monkeypatch.setattr(neural, "bfloat16_pays", lambda device: True)
    expected = load_neural(folder).predict_proba(CLIPS)
    assert np.array_equal(load_neural(folder, precision="auto").predict_proba(CLIPS), expected)
    with pytest.raises(ModelError, match="bfloat16"):
        load_neural(folder, precision="bfloat16")


def test_unknown_precision_is_refused():
    with pytest.raises(ModelError, match=", ".join(PRECISIONS)):
        EmotionClassifier.from_pretrained(DEFAULT_MODEL, precision="float8")


@pytest.mark.slow
def test_fast_paths_agree_with_float32_on_ravdess(real_data: Path, tmp_path):
    """Every fortieth clip; ``python -m experiments.speed --only exactness`` compares all of them."""
    rows = compare_fast_paths(DEFAULT_MODEL, real_data, 40, tmp_path)
    assert {path for path, *_ in rows} == {"bfloat16", "onnx"}
    for path, clips, largest, same in rows:
        assert largest <= MAX_DIFFERENCE, path
        assert same >= min(SAME_LABEL, 1 - 1 / clips), path  # of so few clips, one may differ
