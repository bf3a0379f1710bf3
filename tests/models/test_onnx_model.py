"""The network as ONNX: the predictions of PyTorch without it, and refusals of what does not fit the weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from ser_hf import EmotionClassifier, predict
from ser_hf.audio import SAMPLE_RATE
from ser_hf.models import ModelError, onnx_model
from ser_hf.models.building import create_model
from ser_hf.models.familiarity import fit_familiarity, save_familiarity
from ser_hf.models.neural import load_neural, save_neural
from ser_hf.models.onnx_model import ONNX_FILE, export_onnx, load_onnx
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_whisper

REPOSITORY = Path(__file__).resolve().parents[2]
CLIPS = [make_clip("happy", seconds=1.2), make_clip("sad", 2, seconds=0.9), make_clip("angry", 3, seconds=4.0)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model folder with an out-of-domain score and its ONNX."""
    folder = save_tiny_whisper(tmp_path_factory.mktemp("onnx") / "tiny")
    states = load_neural(folder).mean_states(CLIPS, 1)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(40, states.shape[1]))
    save_familiarity(fit_familiarity(states[0] + noise, np.arange(40) % 4, 1), folder)
    assert export_onnx(folder) == folder / ONNX_FILE
    assert [path.name for path in (folder / "onnx").iterdir()] == ["model.onnx"]
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "tiny")


def test_onnx_predicts_as_torch(exported):
    first, second = (EmotionClassifier.from_pretrained(exported, runtime=name) for name in ("torch", "onnx"))
    assert (second.labels, second.window_seconds) == (first.labels, first.window_seconds)
    for clips in (CLIPS, CLIPS[:1]):
        expected, distances = first.model.predict_with_distance(clips)
        scores, others = second.model.predict_with_distance(clips)
        assert scores.dtype == np.float32
        assert np.abs(scores - expected).max() < 1e-5
        assert others == pytest.approx(distances, rel=1e-3)
        np.testing.assert_allclose(second.model.embeddings(clips), first.model.embeddings(clips), atol=1e-4)
    one, two = (model.predict(CLIPS[0]) for model in (first, second))
    assert two.scores == pytest.approx(one.scores, abs=1e-5)
    assert (two.label, two.warnings) == (one.label, one.warnings)


def test_onnx_needs_no_out_of_domain_score(tmp_path):
    model, extractor = create_model(save_tiny_base("ast", tmp_path / "base"))
    folder = save_neural(model, extractor, tmp_path / "model")
    export_onnx(folder)
    assert np.abs(load_onnx(folder).predict_proba(CLIPS) - load_neural(folder).predict_proba(CLIPS)).max() < 1e-5
    assert load_onnx(folder).familiarity is None


def test_onnx_runs_without_torch(exported, tmp_path):
    soundfile.write(tmp_path / "clip.wav", CLIPS[0], SAMPLE_RATE)
    code = f"""
import importlib.abc, importlib.util, json, sys
class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, NoTorch())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] == "torch" else found(name, package)
from ser_hf import EmotionClassifier
print(json.dumps(EmotionClassifier.from_pretrained({str(exported)!r}).predict({str(tmp_path / "clip.wav")!r}).scores))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = EmotionClassifier.from_pretrained(exported).predict(tmp_path / "clip.wav").scores
    # Without torch, the extractor's arithmetic is numpy's.
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(expected, abs=1e-4)


def test_predict_command_takes_the_runtime(exported, tmp_path, capsys, monkeypatch):
    loaded, load = [], onnx_model.load_onnx
    monkeypatch.setattr(onnx_model, "load_onnx", lambda folder: loaded.append(folder) or load(folder))
    soundfile.write(tmp_path / "clip.wav", CLIPS[0], SAMPLE_RATE)
    words = [str(tmp_path / "clip.wav"), "--model", str(exported), "--format", "jsonl", "--runtime", "onnx"]
    assert predict.main(words) == 0
    assert json.loads(capsys.readouterr().out)["scores"]
    assert loaded == [exported]


def other_weights(folder):
    other = save_tiny_whisper(folder.parent / "other", seed=1)
    shutil.copyfile(other / "model.safetensors", folder / "model.safetensors")


def more_labels(folder):
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"7": "surprised"', '"7": "surprised",\n    "8": "bored"'))


def no_onnx(folder):
    (folder / ONNX_FILE).unlink()


def empty(folder):
    (folder / ONNX_FILE).write_bytes(b"")


def truncated(folder):
    (folder / ONNX_FILE).write_bytes((folder / ONNX_FILE).read_bytes()[:-5000])


def external_weights(folder):
    """An untrusted model folder cannot read other files."""
    graph = onnx.load(folder / ONNX_FILE)
    (folder / "onnx" / "weights.bin").write_bytes(b"")
    onnx.external_data_helper.convert_model_to_external_data(graph, location="weights.bin", size_threshold=0)
    onnx.save(graph, folder / ONNX_FILE)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_weights, "other weights"),
        (more_labels, "8 outputs for 9 labels"),
        (no_onnx, "--export_onnx"),
        (empty, "other weights|cannot be loaded"),
        (truncated, "other weights|cannot be loaded"),
        (external_weights, "cannot be loaded"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_load_onnx_refuses_what_does_not_fit(folder, damage, message):
    damage(folder)
    with pytest.raises(ModelError, match=message):
        load_onnx(folder)


def test_export_onnx_needs_a_fixed_window(tmp_path):
    model, extractor = create_model(save_tiny_base("wav2vec2", tmp_path / "base"))
    with pytest.raises(ModelError, match="one length"):
        export_onnx(save_neural(model, extractor, tmp_path / "model"))
