"""Models from random weights: padding that changes nothing, strict loading, and the stock pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.fft import dct
from transformers import pipeline

from ser_hf.audio import SAMPLE_RATE
from ser_hf.classifier import EmotionClassifier
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.building import encoder_layers, freeze_lower, parameter_groups
from ser_hf.models.head import scale_logits
from ser_hf.models.networks import FRAME_LENGTH, HOP_LENGTH, SpectrumExtractor
from ser_hf.models.neural import load_neural, output_layer, save_neural
from ser_hf.models.scratch import ARCHITECTURES, create_from_scratch
from ser_hf.models.training import Collator
from tests.synthetic import make_clip

SIZES = {"lstm": 8, "cnn": 16, "cnn-lstm": 16, "vit": 64}
CUSTOM = ("lstm", "cnn", "cnn-lstm")
CLIPS = [make_clip("happy", seconds=1.9), make_clip("sad", 2, seconds=1.0), make_clip("angry", 3, seconds=1.3)]


def make(architecture, **changes):
    torch.manual_seed(0)
    model, extractor = create_from_scratch(architecture, hidden_size=SIZES[architecture], window=2, **changes)
    with torch.no_grad():  # so that outputs differ from clip to clip, and statistics from those of the start
        torch.nn.init.normal_(output_layer(model).weight, std=2.0)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-0.2, 0.2)
    return model.eval(), extractor


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("scratch")
    return {name: save_neural(*make(name), root / name) for name in ARCHITECTURES}


def inputs_of(extractor, clips):
    padding = "max_length" if hasattr(extractor, "max_length") else True
    return extractor(clips, sampling_rate=SAMPLE_RATE, padding=padding, return_tensors="pt")


@pytest.mark.parametrize("architecture", CUSTOM)
def test_networks_ignore_padding_and_use_every_frame(architecture):
    model, extractor = make(architecture)
    for samples in (1, 480, 500):  # the shortest clips
        assert torch.isfinite(model(**inputs_of(extractor, [np.zeros(samples, np.float32)])).logits).all()
    batch = inputs_of(extractor, CLIPS)
    with torch.inference_mode():
        alone = torch.cat([model(**inputs_of(extractor, [clip])).logits for clip in CLIPS])
        assert torch.allclose(model(**batch).logits, alone, atol=1e-4)
        batch["input_features"][batch["attention_mask"] == 0] = 7.0
        assert torch.allclose(model(**batch).logits, alone, atol=1e-4)
        full = torch.ones_like(batch["attention_mask"])
        assert not torch.allclose(model(batch["input_features"], full).logits, alone, atol=1e-2)
    features = batch["input_features"].clone().requires_grad_()
    model(features, batch["attention_mask"]).logits.square().sum().backward()
    assert torch.equal(features.grad.abs().sum(dim=-1) > 0, batch["attention_mask"] == 1)
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_log_mel_has_mel_bands():
    _, log_mel = make("cnn")
    batch = inputs_of(log_mel, [np.zeros(SAMPLE_RATE, np.float32), np.zeros(8000, np.float32)])
    frames = 1 + (SAMPLE_RATE - FRAME_LENGTH) // HOP_LENGTH
    assert batch["input_features"].shape == (2, frames, 64)
    assert batch["attention_mask"].sum(dim=1).tolist() == [frames, 1 + (8000 - 480) // 320]
    # A tone is in the band of its frequency: the mel scale is 2595 log10(1 + f / 700).
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    mel = 2595 * np.log10(1 + np.array([50.0, 1000.0, 8000.0]) / 700)
    expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 65 - 1
    assert log_mel.features(tone).mean(axis=0).argmax() == pytest.approx(expected, abs=1)
    with pytest.raises(ValueError, match="44100"):
        log_mel(CLIPS[0], sampling_rate=44_100)


def test_mfcc_is_the_cosine_transform():
    expected = dct(SpectrumExtractor().features(CLIPS[0]), type=2, norm="ortho", axis=1)[:, :40]
    assert np.allclose(SpectrumExtractor(feature_size=40, num_bands=64).features(CLIPS[0]), expected, atol=1e-4)


@pytest.mark.parametrize("extractor", [SpectrumExtractor(), SpectrumExtractor(feature_size=40, num_bands=64)])
def test_extractors_subtract_the_mean_of_each_clip(extractor):
    noise = np.random.default_rng(0).normal(0, 0.3, SAMPLE_RATE).astype(np.float32)
    assert extractor.features(noise).mean() > 0.1
    loud, quiet = (extractor(noise * level)["input_features"][0] for level in (1.0, 0.25))
    assert np.allclose(loud, quiet, atol=0.01)
    assert np.allclose(loud.mean(axis=0), 0, atol=1e-4)
    padded = extractor([noise, np.tile(noise, 2)])["input_features"][0]
    assert np.allclose(padded[: len(loud)], loud)
    assert not padded[len(loud) :].any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_networks_predict_as_the_stock_pipeline(architecture, folders, tmp_path):
    model, _ = make(architecture)
    loaded = load_neural(folders[architecture])
    assert type(loaded.model) is type(model)
    assert loaded.window_seconds == 2
    for name, tensor in model.state_dict().items():
        assert torch.allclose(loaded.model.state_dict()[name].float(), tensor.float(), atol=2e-2, rtol=1e-3), name
    again = load_neural(save_neural(loaded.model, loaded.feature_extractor, tmp_path))
    assert np.array_equal(again.predict_proba(CLIPS), loaded.predict_proba(CLIPS))
    stock = pipeline("audio-classification", model=str(folders[architecture]))
    rows = EmotionClassifier.from_pretrained(folders[architecture]).probabilities(CLIPS)
    for clip, row in zip(CLIPS, rows, strict=True):
        scores = {one["label"]: one["score"] for one in stock(clip, top_k=None)}
        assert [scores[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-4)
    assert not np.allclose(rows[0], rows[1], atol=1e-2)


@pytest.mark.parametrize("architecture", CUSTOM)
def test_saved_networks_carry_code_and_no_pickle(architecture, folders, tmp_path):
    folder = shutil.copytree(folders[architecture], tmp_path / "model")
    files = {"config.json", "model.safetensors", "preprocessor_config.json", "networks.py"}
    assert {file.name for file in folder.iterdir()} == files
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if not name.startswith("classifier"))]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing keys"):
        load_neural(folder)


ALONE = """
import importlib.util, json, sys
import numpy as np
assert importlib.util.find_spec("ser_hf") is None, "not alone"
from transformers import pipeline
folder, clip, trusts = sys.argv[1:]
classify = pipeline("audio-classification", model=folder, trust_remote_code=trusts == "yes")
print(json.dumps({row["label"]: row["score"] for row in classify(np.load(clip), top_k=None)}))
assert not {"ser_hf", "librosa", "torchaudio"} & set(sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "trusts"), [*((name, "yes") for name in ARCHITECTURES), ("cnn", "no")], ids="-".join
)
def test_stock_pipeline_runs_code_only_if_trusted(architecture, trusts, folders, tmp_path):
    """In a process that cannot import ser_hf."""
    np.save(tmp_path / "clip.npy", CLIPS[0])
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HOME": str(tmp_path)}
    words = ["-I", "-c", ALONE, str(folders[architecture]), str(tmp_path / "clip.npy"), trusts]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    if trusts == "no":
        assert done.returncode != 0
        assert "trust_remote_code" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    expected = load_neural(folders[architecture]).predict_proba(CLIPS[:1])[0]
    assert [json.loads(done.stdout)[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-4)


def test_classifier_never_runs_code_of_a_folder(folders, tmp_path):
    folder = shutil.copytree(folders["lstm"], tmp_path / "lstm")
    for path in folder.glob("*.py"):
        path.write_text("raise SystemExit('code of the folder was run')")
    assert EmotionClassifier.from_pretrained(folder).labels == list(LABELS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "somebody-elses"}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        EmotionClassifier.from_pretrained(folder)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_networks_train_like_pretrained_models(architecture):
    model, extractor = make(architecture, num_layers=2)
    groups = parameter_groups(model, 1e-3, layer_decay=1.0, head_factor=1.0, weight_decay=0.1)
    assert {group["lr"] for group in groups} == {1e-3}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert len(encoder_layers(model)) == 2
    batch = inputs_of(extractor, CLIPS)
    with torch.inference_mode():
        output = model(**batch, labels=torch.tensor([2, 3, 4]))
        before = output.logits
        assert torch.equal(output.loss, torch.nn.functional.cross_entropy(before, torch.tensor([2, 3, 4])))
        scale_logits(model, 2.0)
        assert torch.allclose(model(**batch).logits, before / 2, atol=1e-5)
    items = [{"samples": clip, "label": label, "mix_seed": 5} for clip, label in zip(CLIPS, (2, 3, 4), strict=True)]
    mixed = Collator(extractor, 8, mixup_alpha=5.0, mixup_probability=1.0, spec_augment=0.4)(items)
    assert not torch.equal(mixed[extractor.model_input_names[0]], batch[extractor.model_input_names[0]])
    assert mixed.pop("labels").sum(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert torch.isfinite(model.train()(**mixed).logits).all()
    freeze_lower(model, 1)
    trained = [{parameter.requires_grad for parameter in layer.parameters()} for layer in encoder_layers(model)]
    assert trained == [{False}, {True}]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "rnn"}, "no architecture 'rnn'"),
        ({"architecture": "cnn", "num_layers": 0}, "--num_layers 0"),
        ({"architecture": "cnn", "window": 0}, "window"),
        ({"architecture": "vit", "window": 0.1}, "window"),
        ({"architecture": "vit", "hidden_size": 100}, "multiple of 64"),
        ({"architecture": "cnn", "hidden_size": 2}, "multiple of 16"),
    ],
)
def test_create_from_scratch_refuses_impossible_sizes(options, words):
    with pytest.raises(ModelError, match=words):
        create_from_scratch(**options)
