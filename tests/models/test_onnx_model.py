"""The network as ONNX: the same answers, no torch, and nothing that does not belong to the weights beside it."""

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
    """A model folder that knows what is familiar, with its ONNX."""
    folder = save_tiny_whisper(tmp_path_factory.mktemp("onnx") / "tiny")
    states = load_neural(folder).mean_states(CLIPS, 1)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(40, states.shape[1]))
    save_familiarity(fit_familiarity(states[0] + noise, np.arange(40) % 4, 1), folder)
    assert export_onnx(folder) == folder / ONNX_FILE
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "tiny")


def test_onnx_answers_as_torch_does_in_batches_of_any_size(exported):
    torch_model, onnx_model = (EmotionClassifier.from_pretrained(exported, runtime=name) for name in ("torch", "onnx"))
    assert onnx_model.labels == torch_model.labels
    assert onnx_model.window_seconds == torch_model.window_seconds == 5.0
    for clips in (CLIPS, CLIPS[:1]):
        expected, distances = torch_model.model.predict_with_distance(clips)
        answers, others = onnx_model.model.predict_with_distance(clips)
        assert answers.dtype == np.float32
        assert np.abs(answers - expected).max() < 1e-5
        assert others == pytest.approx(distances, rel=1e-3)
    assert np.ptp(expected) > 0.01
    one, two = (model.predict(CLIPS[0]) for model in (torch_model, onnx_model))
    assert two.scores == pytest.approx(one.scores, abs=1e-5)
    assert (two.label, two.warnings) == (one.label, one.warnings)


def test_a_network_that_does_not_know_what_is_familiar_becomes_onnx_too(tmp_path):
    model, extractor = create_model(save_tiny_base("ast", tmp_path / "base"))
    folder = save_neural(model, extractor, tmp_path / "model")
    export_onnx(folder)
    assert np.abs(load_onnx(folder).predict_proba(CLIPS) - load_neural(folder).predict_proba(CLIPS)).max() < 1e-5
    assert load_onnx(folder).familiarity is None


def test_who_has_no_torch_gets_the_answers_all_the_same(exported, tmp_path):
    """As in an environment without torch: nobody finds it, and whoever imports it fails."""
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
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(
        expected, abs=1e-4
    )  # another extractor's arithmetic


def test_the_command_runs_it(exported, tmp_path, capsys, monkeypatch):
    loaded = []
    load = onnx_model.load_onnx
    monkeypatch.setattr(onnx_model, "load_onnx", lambda folder: loaded.append(folder) or load(folder))
    soundfile.write(tmp_path / "clip.wav", CLIPS[0], SAMPLE_RATE)
    answers = []
    for runtime in ("torch", "onnx"):
        words = [str(tmp_path / "clip.wav"), "--model", str(exported), "--format", "jsonl", "--runtime", runtime]
        words += ["--precision", "float32"]
        assert predict.main(words) == 0
        answers.append(json.loads(capsys.readouterr().out)["scores"])
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)
    assert loaded == [exported]


class TestRefuses:
    def test_a_folder_without(self, tmp_path):
        with pytest.raises(ModelError, match=r"holds no model\.onnx; make it with --export_onnx"):
            EmotionClassifier.from_pretrained(save_tiny_whisper(tmp_path / "tiny"), runtime="onnx")

    def test_one_that_was_made_of_other_weights(self, folder, tmp_path):
        other = save_tiny_whisper(tmp_path / "other", seed=1)
        shutil.copyfile(other / "model.safetensors", folder / "model.safetensors")
        with pytest.raises(ModelError, match="made of other weights"):
            load_onnx(folder)

    def test_one_whose_outputs_are_not_the_labels(self, folder):
        config = (folder / "config.json").read_text()
        (folder / "config.json").write_text(config.replace('"7": "surprised"', '"7": "surprised",\n    "8": "bored"'))
        with pytest.raises(ModelError, match="8 outputs for 9 labels"):
            load_onnx(folder)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    def test_one_that_is_cut_off(self, folder, share):
        whole = (folder / ONNX_FILE).read_bytes()
        (folder / ONNX_FILE).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ModelError, match=r"cannot be loaded|made of other weights"):
            load_onnx(folder)

    def test_one_whose_weights_lie_elsewhere(self, folder):
        """So that a model folder of a stranger cannot make us read other files."""
        graph = onnx.load(folder / ONNX_FILE)
        (folder / "weights.bin").write_bytes(b"")
        onnx.external_data_helper.convert_model_to_external_data(graph, location="weights.bin", size_threshold=0)
        onnx.save(graph, folder / ONNX_FILE)
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_onnx(folder)

    def test_networks_that_hear_clips_of_any_length(self, tmp_path):
        model, extractor = create_model(save_tiny_base("wav2vec2", tmp_path / "base"))
        with pytest.raises(ModelError, match="hear clips of one length"):
            export_onnx(save_neural(model, extractor, tmp_path / "model"))

    def test_a_runtime_that_does_not_exist(self, exported):
        with pytest.raises(ModelError, match="no runtime 'tensorflow'; there are: torch, onnx"):
            EmotionClassifier.from_pretrained(exported, runtime="tensorflow")
