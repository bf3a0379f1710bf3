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
from ser_hf.models.neural import NeuralModel, _single_threads, load_neural, save_neural
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_whisper


@pytest.fixture
def folder(tmp_path):
    return save_tiny_whisper(tmp_path / "tiny")


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_labels_window_and_probabilities(folder):
    model = load_neural(folder)
    assert model.labels == list(LABELS)
    assert model.window_seconds == 5.0
    probabilities = model.predict_proba([make_clip("sad"), make_clip("angry", seconds=1.5)])
    assert probabilities.shape == (2, 8)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert not np.allclose(probabilities[0], probabilities[1])


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "ast"])
def test_the_stock_pipeline_gives_the_same_probabilities(kind, tmp_path):
    model, extractor = create_model(save_tiny_base(kind, tmp_path / "base"), window=5 if kind == "whisper" else None)
    with torch.no_grad():
        torch.nn.init.normal_(model.classifier.weight if kind != "ast" else model.classifier.dense.weight)
    folder = save_neural(model, extractor, tmp_path / "model")
    stock = pipeline("audio-classification", model=str(folder))
    clips = [make_clip("happy", seconds=1.2), make_clip("sad", seconds=0.9)]
    for clip, row in zip(clips, load_neural(folder).predict_proba(clips), strict=True):
        answers = {answer["label"]: answer["score"] for answer in stock(clip, top_k=None)}
        assert [answers[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "ast"])
def test_distances_come_with_the_same_probabilities_from_the_layer_that_was_learned_from(kind, tmp_path):
    model, extractor = create_model(save_tiny_base(kind, tmp_path / "base"), window=5 if kind == "whisper" else None)
    folder = save_neural(model, extractor, tmp_path / "model")
    clips = [make_clip(label, actor, seconds=1.2) for label in ("happy", "sad") for actor in range(1, 5)]
    plain = load_neural(folder)
    assert plain.familiarity is None
    states = plain.mean_states(clips, 1)
    assert states.shape == (8, model.config.hidden_size)
    heard = []
    with torch.no_grad():
        for clip in clips:
            inputs = extractor(clip, sampling_rate=16_000, return_tensors="pt")
            heard.append(plain.model(**inputs, output_hidden_states=True).hidden_states[1][0].mean(0).numpy())
    assert np.allclose(states, heard, atol=1e-4)
    save_familiarity(fit_familiarity(states, np.arange(8) % 4, layer=1), folder)
    knowing = load_neural(folder)
    rows, distances = knowing.predict_with_distance(clips)
    assert np.allclose(rows, plain.predict_proba(clips), atol=1e-6)
    assert np.allclose(rows, knowing.predict_proba(clips), atol=1e-6)
    assert np.allclose(distances, knowing.familiarity.distances(states), rtol=1e-3, atol=1e-4)
    # The stock pipeline takes no notice of the file.
    assert pipeline("audio-classification", model=str(folder))(clips[0])[0]["score"] == pytest.approx(
        rows[0].max(), abs=1e-5
    )


@pytest.fixture
def two_threads():
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    _single_threads.cache_clear()
    yield
    torch.set_num_threads(count)


def test_clips_are_shared_among_threads_that_compute_alone_and_keep_their_order(folder, two_threads, monkeypatch):
    model, calls, hear = load_neural(folder), [], NeuralModel._forward_batch

    def watched(self, clips, layer):
        calls.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads(), len(clips)))
        return hear(self, clips, layer)

    monkeypatch.setattr(NeuralModel, "_forward_batch", watched)
    clips = [make_clip("sad", actor, seconds=1.0) for actor in range(1, 6)]
    one_by_one = np.concatenate([model.predict_proba([clip]) for clip in clips])
    assert calls == [(True, 2, 1)] * 5  # a clip alone has all threads
    calls.clear()
    assert np.allclose(model.predict_proba(clips), one_by_one, atol=1e-6)
    assert sorted(calls) == [(False, 1, 2), (False, 1, 3)]
    seen = []
    asked = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    asked.start()
    asked.join()
    assert [torch.get_num_threads(), *seen] == [2, 2]  # whoever else computes still has all


def test_what_goes_wrong_in_a_thread_is_raised(folder, two_threads):
    with pytest.raises(Exception, match="could not convert string to float"):
        load_neural(folder).predict_proba([make_clip("sad"), np.array(["no sound"] * 9)])


def test_weights_are_saved_in_half_the_bytes_and_load_as_float32(tmp_path):
    model, extractor = create_model(save_tiny_base("whisper", tmp_path / "base"), window=5)
    folder = save_neural(model, extractor, tmp_path / "model")
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    loaded, info = AutoModelForAudioClassification.from_pretrained(folder, output_loading_info=True)
    assert loaded.dtype == torch.float32
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert AutoFeatureExtractor.from_pretrained(folder).chunk_length == 5
    assert not [file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]


def test_a_missing_head_is_an_error_and_never_a_random_one(folder):
    edit_weights(folder, lambda weights: weights.pop("classifier.weight"))
    with pytest.raises(ModelError, match=r"missing keys \(classifier.weight\)"):
        load_neural(folder)


def test_an_encoder_without_any_head_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="missing keys"):
        load_neural(save_tiny_base("whisper", tmp_path))


def test_unexpected_weights_are_an_error(folder):
    edit_weights(folder, lambda weights: weights.update({"classifier.dense.weight": torch.zeros(8, 16)}))
    with pytest.raises(ModelError, match="unexpected keys"):
        load_neural(folder)


def test_a_head_of_another_width_than_the_labels_is_an_error(folder):
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): name for i, name in enumerate(LABELS[:6])}
    config["label2id"] = {name: i for i, name in enumerate(LABELS[:6])}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_neural(folder)


def test_outputs_without_names_are_an_error(folder):
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(8)}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not say what its outputs mean"):
        load_neural(folder)


def test_a_truncated_weights_file_and_an_empty_folder_are_told_in_words(folder, tmp_path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_neural(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_neural(tmp_path / "empty")


def test_pickled_weights_are_refused(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_neural(folder)
