"""Networks in bfloat16: nearly the same answers, on whatever machine, and only where it is asked for or pays."""

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
from ser_hf.models.precision import bfloat16_pays
from ser_hf.models.scratch import create_from_scratch
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base

CLIPS = [make_clip("happy", seconds=1.2), make_clip("sad", 2, seconds=0.9), make_clip("angry", 3, seconds=2.0)]


def dtypes(model):
    """Those of the linear layers inside the transformer layers that are to be rounded, and of all others."""
    rounded, exact = set(), set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            fast = re.search(r"(fc1|fc2|_dense|(intermediate|output)\.dense)$", name)
            is_fast = fast and "layer" in name and "attention.output" not in name
            (rounded if is_fast else exact).add(module.weight.dtype)
    return rounded, exact


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "ast"])
def test_feed_forward_networks_compute_in_bfloat16_and_the_rest_in_float32(kind, tmp_path):
    model, extractor = create_model(save_tiny_base(kind, tmp_path / "base"), window=5 if kind == "whisper" else None)
    with torch.no_grad():
        torch.nn.init.normal_(neural.output_layer(model).weight)
    folder = save_neural(model, extractor, tmp_path / "model")
    exact, fast = load_neural(folder), load_neural(folder, precision="bfloat16")
    assert dtypes(exact.model) == ({torch.float32}, {torch.float32})
    assert dtypes(fast.model) == ({torch.bfloat16}, {torch.float32})
    assert {module.bias.dtype for module in fast.model.modules() if getattr(module, "bias", None) is not None} == {
        torch.float32
    }
    expected, answers = exact.predict_proba(CLIPS), fast.predict_proba(CLIPS)
    assert answers.dtype == np.float32
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-6)
    assert 0 < np.abs(answers - expected).max() < 0.02
    assert fast.mean_states(CLIPS, 2) == pytest.approx(exact.mean_states(CLIPS, 2), abs=0.02)  # for familiarity
    alone = np.concatenate([fast.predict_proba([clip]) for clip in CLIPS])
    assert alone == pytest.approx(answers, abs=1e-3)


def test_auto_takes_it_where_it_pays(tmp_path, monkeypatch):
    folder = save_neural(*create_model(save_tiny_base("whisper", tmp_path / "base"), window=5), tmp_path / "tiny")
    for pays, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(neural, "bfloat16_pays", lambda device, pays=pays: pays)
        for precision, kind in (("auto", expected), ("float32", torch.float32)):
            assert dtypes(load_neural(folder, precision=precision).model)[0] == {kind}
            assert dtypes(EmotionClassifier.from_pretrained(folder, precision=precision).model.model)[0] == {kind}


def test_models_without_transformer_layers_stay_as_they_are(tmp_path, monkeypatch):
    folder = save_neural(*create_from_scratch("cnn", hidden_size=16), tmp_path / "cnn")
    monkeypatch.setattr(neural, "bfloat16_pays", lambda device: True)
    expected = load_neural(folder).predict_proba(CLIPS)
    assert np.array_equal(load_neural(folder, precision="auto").predict_proba(CLIPS), expected)
    with pytest.raises(ModelError, match="no transformer layers"):
        load_neural(folder, precision="bfloat16")


def test_an_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=", ".join(PRECISIONS)):
        EmotionClassifier.from_pretrained(DEFAULT_MODEL, precision="float8")


def test_whether_it_pays_is_known_of_every_device():
    assert bfloat16_pays("cpu") in (True, False)
    assert bfloat16_pays("meta") is False


@pytest.mark.slow
def test_every_fast_path_answers_ravdess_as_float32_does(real_data: Path, tmp_path):
    """Every tenth clip; ``python -m experiments.speed --only exactness`` asks about all of them."""
    rows = compare_fast_paths(DEFAULT_MODEL, real_data, 10, tmp_path)
    assert {path for path, *_ in rows} == {"bfloat16", "onnx"}
    for path, clips, largest, same in rows:
        assert largest <= MAX_DIFFERENCE, path
        # Of so few clips, the one that a share of 99.5 % allows may be more than its share.
        assert same >= min(SAME_LABEL, 1 - 1 / clips), path
