"""Fine-tuned checkpoints: the scores of the stock pipeline, batches on threads, float16 weights, bfloat16 layers."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from ser_hf.classifier import DEFAULT_MODEL, PRECISIONS, EmotionClassifier
from ser_hf.labels import LABELS
from ser_hf.models import ModelError, neural
from ser_hf.models.building import create_model
from ser_hf.models.familiarity import fit_familiarity, save_familiarity
from ser_hf.models.neural import NeuralModel, _single_threads, load_neural, output_layer, save_neural
from ser_hf.models.scratch import create_from_scratch
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base

CLIPS = [make_clip(label, actor, seconds=1.2) for label in ("happy", "sad") for actor in range(1, 5)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder of each kind of encoder, with an out-of-domain score."""
    root, found = tmp_path_factory.mktemp("neural"), {}
    for kind in ("whisper", "wav2vec2", "ast"):
        model, extractor = create_model(
            save_tiny_base(kind, root / "base" / kind), window=5 if kind == "whisper" else None
        )
        torch.nn.init.normal_(output_layer(model).weight)
        found[kind] = save_neural(model, extractor, root / kind)
        states = load_neural(found[kind]).mean_states(CLIPS, 1)
        save_familiarity(fit_familiarity(states, np.arange(8) % 4, layer=1), found[kind])
    return found


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "ast"])
def test_neural_model_agrees_with_the_stock_pipeline(kind, folders):
    model = load_neural(folders[kind])
    scores, distances = model.predict_with_distance(CLIPS)
    assert model.labels == list(LABELS)
    assert (scores.shape, scores.dtype) == ((8, 8), np.float32)
    assert not np.allclose(scores[0], scores[-1])
    assert np.allclose(model.predict_proba(CLIPS), scores, atol=1e-6)
    expected = []
    with torch.no_grad():
        for clip in CLIPS:
            inputs = model.feature_extractor(clip, sampling_rate=16_000, return_tensors="pt")
            expected.append(model.model(**inputs, output_hidden_states=True).hidden_states[1][0].mean(0).numpy())
    assert np.allclose(model.mean_states(CLIPS, 1), expected, atol=1e-4)
    assert np.allclose(distances, model.familiarity.distances(np.array(expected)), rtol=1e-3, atol=1e-4)
    stock = pipeline("audio-classification", model=str(folders[kind]))
    for clip, row in zip(CLIPS[::5], scores[::5], strict=True):
        found = {one["label"]: one["score"] for one in stock(clip, top_k=None)}
        assert [found[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-5)


@pytest.fixture
def two_threads():
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    _single_threads.cache_clear()
    yield
    torch.set_num_threads(count)


def test_predict_splits_a_batch_among_threads(folders, two_threads, monkeypatch):
    model, calls, forward = load_neural(folders["whisper"]), [], NeuralModel._forward_batch

    def watched(self, clips, layer):
        calls.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads(), len(clips)))
        return forward(self, clips, layer)

    monkeypatch.setattr(NeuralModel, "_forward_batch", watched)
    one_by_one = np.concatenate([model.predict_proba([clip]) for clip in CLIPS[:5]])
    assert calls == [(True, 2, 1)] * 5  # a single clip has all threads
    calls.clear()
    assert np.allclose(model.predict_proba(CLIPS[:5]), one_by_one, atol=1e-6)
    assert sorted(calls) == [(False, 1, 2), (False, 1, 3)]
    seen = []
    new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert [torch.get_num_threads(), *seen] == [2, 2]  # other threads keep all
    with pytest.raises(Exception, match="could not convert string to float"):
        model.predict_proba([CLIPS[0], np.array(["no sound"] * 9)])


def test_save_neural_halves_the_weights(folders):
    folder = folders["whisper"]
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    loaded, info = AutoModelForAudioClassification.from_pretrained(folder, output_loading_info=True)
    assert loaded.dtype == torch.float32
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert AutoFeatureExtractor.from_pretrained(folder).chunk_length == 5
    assert not [file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]


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
def test_bfloat16_is_for_feed_forward_layers(kind, folders):
    exact, fast = load_neural(folders[kind]), load_neural(folders[kind], precision="bfloat16")
    assert dtypes(exact.model) == ({torch.float32},) * 3
    assert dtypes(fast.model) == ({torch.bfloat16}, {torch.float32}, {torch.float32})
    scores = fast.predict_proba(CLIPS)
    assert scores.dtype == np.float32
    assert 0 < np.abs(scores - exact.predict_proba(CLIPS)).max() < 0.02
    assert fast.mean_states(CLIPS, 2) == pytest.approx(exact.mean_states(CLIPS, 2), abs=0.02)


@pytest.mark.parametrize(("pays", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_it_pays(pays, expected, folders, monkeypatch):
    monkeypatch.setattr(neural, "bfloat16_pays", lambda device: pays)
    for precision, dtype in (("auto", expected), ("float32", torch.float32)):
        model = EmotionClassifier.from_pretrained(folders["whisper"], precision=precision).model
        assert dtypes(model.model)[0] == {dtype}


def test_auto_is_float32_without_transformer_layers(tmp_path, monkeypatch):
    folder = save_neural(*create_from_scratch("cnn", hidden_size=16), tmp_path / "cnn")
    monkeypatch.setattr(neural, "bfloat16_pays", lambda device: True)
    expected = load_neural(folder).predict_proba(CLIPS)
    assert np.array_equal(load_neural(folder, precision="auto").predict_proba(CLIPS), expected)
    with pytest.raises(ModelError, match="bfloat16"):
        load_neural(folder, precision="bfloat16")


@pytest.mark.parametrize(("option", "known"), [("precision", PRECISIONS), ("runtime", ("torch", "onnx"))])
def test_unknown_precision_and_runtime_are_refused(option, known):
    with pytest.raises(ModelError, match=", ".join(known)):
        EmotionClassifier.from_pretrained(DEFAULT_MODEL, **{option: "other"})
