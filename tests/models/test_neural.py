"""Loading fine-tuned checkpoints: the scores of the stock pipeline, and no missing weights."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.building import create_model
from ser_hf.models.familiarity import fit_familiarity, save_familiarity
from ser_hf.models.neural import NeuralModel, _single_threads, load_neural, output_layer, save_neural
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_whisper


@pytest.fixture
def folder(tmp_path):
    return save_tiny_whisper(tmp_path / "tiny")


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "ast"])
def test_neural_model_agrees_with_the_stock_pipeline(kind, tmp_path):
    model, extractor = create_model(save_tiny_base(kind, tmp_path / "base"), window=5 if kind == "whisper" else None)
    with torch.no_grad():
        torch.nn.init.normal_(output_layer(model).weight)
    folder = save_neural(model, extractor, tmp_path / "model")
    clips = [make_clip(label, actor, seconds=1.2) for label in ("happy", "sad") for actor in range(1, 5)]
    plain = load_neural(folder)
    assert (plain.labels, plain.familiarity) == (list(LABELS), None)
    scores = plain.predict_proba(clips)
    assert (scores.shape, scores.dtype) == ((8, 8), np.float32)
    assert not np.allclose(scores[0], scores[-1])
    states = plain.mean_states(clips, 1)
    expected = []
    with torch.no_grad():
        for clip in clips:
            inputs = extractor(clip, sampling_rate=16_000, return_tensors="pt")
            expected.append(plain.model(**inputs, output_hidden_states=True).hidden_states[1][0].mean(0).numpy())
    assert np.allclose(states, expected, atol=1e-4)
    save_familiarity(fit_familiarity(states, np.arange(8) % 4, layer=1), folder)
    scored = load_neural(folder)
    again, distances = scored.predict_with_distance(clips)
    assert np.allclose(again, scores, atol=1e-6)
    assert np.allclose(distances, scored.familiarity.distances(states), rtol=1e-3, atol=1e-4)
    stock = pipeline("audio-classification", model=str(folder))
    for clip, row in zip(clips[::5], scores[::5], strict=True):
        found = {one["label"]: one["score"] for one in stock(clip, top_k=None)}
        assert [found[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-5)


@pytest.fixture
def two_threads():
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    _single_threads.cache_clear()
    yield
    torch.set_num_threads(count)


def test_predict_splits_a_batch_among_threads(folder, two_threads, monkeypatch):
    model, calls, forward = load_neural(folder), [], NeuralModel._forward_batch

    def watched(self, clips, layer):
        calls.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads(), len(clips)))
        return forward(self, clips, layer)

    monkeypatch.setattr(NeuralModel, "_forward_batch", watched)
    clips = [make_clip("sad", actor, seconds=1.0) for actor in range(1, 6)]
    one_by_one = np.concatenate([model.predict_proba([clip]) for clip in clips])
    assert calls == [(True, 2, 1)] * 5  # a single clip has all threads
    calls.clear()
    assert np.allclose(model.predict_proba(clips), one_by_one, atol=1e-6)
    assert sorted(calls) == [(False, 1, 2), (False, 1, 3)]
    seen = []
    new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert [torch.get_num_threads(), *seen] == [2, 2]  # other threads keep all
    with pytest.raises(Exception, match="could not convert string to float"):
        model.predict_proba([clips[0], np.array(["no sound"] * 9)])


def test_save_neural_halves_the_weights(tmp_path):
    model, extractor = create_model(save_tiny_base("whisper", tmp_path / "base"), window=5)
    folder = save_neural(model, extractor, tmp_path / "model")
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    loaded, info = AutoModelForAudioClassification.from_pretrained(folder, output_loading_info=True)
    assert loaded.dtype == torch.float32
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert AutoFeatureExtractor.from_pretrained(folder).chunk_length == 5
    assert not [file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_head(folder):
    edit_weights(folder, lambda weights: weights.pop("classifier.weight"))


def encoder_alone(folder):
    save_tiny_base("whisper", folder)


def more_weights(folder):
    edit_weights(folder, lambda weights: weights.update({"classifier.dense.weight": torch.zeros(8, 16)}))


def label_as(folder, labels):
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(config))


def fewer_labels(folder):
    label_as(folder, LABELS[:6])


def unnamed_labels(folder):
    label_as(folder, [f"LABEL_{index}" for index in range(8)])


def truncated(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_head, r"missing keys \(classifier.weight\)"),
        (encoder_alone, "missing keys"),
        (more_weights, "unexpected keys"),
        (fewer_labels, "mismatched keys|outputs|cannot be loaded"),
        (unnamed_labels, "id2label"),
        (truncated, "cannot be loaded"),
        (empty, "cannot be loaded"),
        (pickled, "cannot be loaded"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_load_neural_refuses_what_is_not_fine_tuned(folder, damage, message):
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_neural(folder)
    assert str(folder) in str(caught.value)
