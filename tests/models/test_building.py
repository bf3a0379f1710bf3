"""Classifiers made of pretrained encoders: weights, head, window, frozen layers, learning rates."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

from ser_hf.labels import LABELS
from ser_hf.models import ModelError, window_seconds
from ser_hf.models.building import create_model, encoder_layers, freeze_lower, masks_itself, parameter_groups
from ser_hf.models.head import fit_head, pooled_features, scale_logits
from ser_hf.models.neural import output_layer
from ser_hf.models.training import Collator
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base

KINDS = ("whisper", "wav2vec2", "hubert", "wavlm", "ast")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {kind: save_tiny_base(kind, folder / kind) for kind in KINDS}


def items(seconds=1.0, emotions=LABELS, actors=(1, 2)):
    return [
        {"samples": make_clip(emotion, actor, seconds=seconds), "label": LABELS.index(emotion), "mix_seed": None}
        for actor in actors
        for emotion in emotions
    ]


def logits_of(model, collator, examples):
    batch = collator(examples)
    batch.pop("labels")
    with torch.inference_mode():
        return model.eval()(**batch).logits


def regression_of(features, labels, weights=None):
    """Logistic regression on standardised features with C=1, and a function that returns its probabilities."""
    scaler = StandardScaler().fit(features)
    fitted = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-10).fit(scaler.transform(features), labels, weights)
    return lambda rows: fitted.predict_proba(scaler.transform(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_head_is_the_logistic_regression(bases, kind):
    model, extractor = create_model(bases[kind], num_layers=2, window=1 if kind == "whisper" else None)
    assert len(encoder_layers(model)) == 2
    assert model.config.id2label == dict(enumerate(LABELS))
    collator, examples = Collator(extractor, 8), items()
    features, labels = pooled_features(model, collator, examples, batch_size=8)
    assert labels.tolist() == [*range(8)] * 2
    fit_head(model, features, labels, regularisation=len(labels))
    # AST normalises its pooled vector before the last layer, so features are taken after that norm.
    probabilities = torch.softmax(logits_of(model, collator, examples), -1).numpy()
    assert np.abs(probabilities - regression_of(features, labels)(features)).max() < 5e-5


@pytest.mark.parametrize("present", [("happy", "sad"), ("neutral", "angry", "surprised")])
def test_head_without_some_labels(bases, present):
    model, extractor = create_model(bases["whisper"], window=1)
    collator, examples = Collator(extractor, 8), items()
    features, labels = pooled_features(model, collator, items(emotions=present), batch_size=8)
    fit_head(model, features, labels, regularisation=len(labels))
    probabilities = torch.softmax(logits_of(model, collator, examples), -1).numpy()
    expected = regression_of(features, labels)(pooled_features(model, collator, examples)[0])
    assert np.abs(probabilities[:, sorted(map(LABELS.index, present))] - expected).max() < 1e-2


def test_pooled_features_keep_the_order(bases):
    """Items of several lengths are batched by length."""

    class Items(list):
        def lengths(self):
            return np.array([len(item["samples"]) for item in self])

    model, extractor = create_model(bases["hubert"])
    examples = Items([*items(1.0, LABELS[:2]), *items(0.5, LABELS[2:4]), *items(1.0, LABELS[4:6])])
    together = pooled_features(model, Collator(extractor, 8), examples, batch_size=3)
    alone = [pooled_features(model, Collator(extractor, 8), [item]) for item in examples]
    assert np.allclose(together[0], np.concatenate([features for features, _ in alone]), atol=1e-5)
    assert together[1].tolist() == [item["label"] for item in examples]


def test_fit_head_weighs_clips(bases):
    """A clip of weight 3 counts as three clips, and only ratios of weights matter."""
    rng = np.random.default_rng(0)
    labels, features = rng.integers(3, size=60), rng.normal(size=(60, 16))
    times = rng.integers(1, 4, size=60)
    heads = []
    for weights in (times, 7.0 * times, None):
        model, _ = create_model(bases["whisper"])
        fit_head(model, features, labels, weights)
        heads.append((model.classifier.weight @ model.projector.weight).detach())
    assert torch.allclose(heads[0], heads[1], atol=1e-4)
    assert not torch.allclose(heads[0], heads[2], atol=1e-2)
    scaled = StandardScaler().fit_transform(features)
    regression = LogisticRegression(C=20 / times.sum(), max_iter=1000, tol=1e-7)
    regression.fit(np.repeat(scaled, times, axis=0), np.repeat(labels, times))
    assert np.allclose(heads[0][:3].numpy() * features.std(axis=0), regression.coef_, atol=1e-3)


def test_fit_head_needs_two_labels(bases):
    model, _ = create_model(bases["whisper"])
    with pytest.raises(ModelError, match="1 of 8 labels"):
        fit_head(model, np.random.default_rng(0).normal(size=(20, 16)), np.zeros(20, dtype=int))


def test_scale_logits_divides_every_logit(bases):
    model, extractor = create_model(bases["whisper"], window=1)
    before = logits_of(model, Collator(extractor, 8), items())
    scale_logits(model, 2.0)
    assert torch.allclose(logits_of(model, Collator(extractor, 8), items()), before / 2, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_training_input_is_masked(bases, kind):
    """Whisper's audio classifier ignores ``apply_spec_augment``, so its batches must be masked instead."""
    model, extractor = create_model(bases[kind], window=1 if kind == "whisper" else None, spec_augment=0.4)
    examples = [item | {"mix_seed": seed} for seed, item in enumerate(items(emotions=LABELS[:2]))]
    if not masks_itself(model):
        assert not getattr(model.config, "apply_spec_augment", False)
        masked, plain = Collator(extractor, 8, spec_augment=0.4), Collator(extractor, 8)
        name = extractor.model_input_names[0]
        assert (masked(examples)[name] != plain(examples)[name]).float().mean() > 0.05
        return
    seen = []
    encoder = next(module for name, module in model.named_modules() if name.endswith(".encoder"))
    encoder.register_forward_pre_hook(lambda module, inputs, options: seen.append(inputs[0]), with_kwargs=True)
    inputs = Collator(extractor, 8)(examples)
    inputs.pop("labels")
    model.train()(**inputs)
    vector = next(value for name, value in model.named_parameters() if name.endswith("masked_spec_embed"))
    assert 0.05 < torch.isclose(seen[0], vector).float().mean() < 0.9


def test_create_model_keeps_pretrained_weights(bases, tmp_path):
    """Of a bare encoder and of a speech recogniser."""
    original = WhisperModel.from_pretrained(bases["whisper"])
    WhisperForConditionalGeneration(original.config).save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    recogniser = WhisperForConditionalGeneration.from_pretrained(tmp_path).model
    for folder, pretrained in ((bases["whisper"], original), (tmp_path, recogniser)):
        expected = pretrained.encoder.state_dict()
        for name, tensor in create_model(folder, num_layers=2)[0].encoder.state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_create_model_replaces_the_head(bases, tmp_path):
    model, extractor = create_model(bases["hubert"], labels=("yes", "no"))
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    assert output_layer(create_model(tmp_path)[0]).out_features == len(LABELS)


def test_window_cuts_positions_and_extractor(bases):
    model, extractor = create_model(bases["whisper"], window=5)
    assert (extractor.chunk_length, extractor.n_samples, extractor.nb_max_frames) == (5, 80_000, 500)
    assert model.encoder.embed_positions.weight.shape[0] == model.config.max_source_positions == 250
    assert window_seconds(model, extractor) == 5.0


@pytest.mark.parametrize(
    ("options", "named"),
    [*(({"window": value}, "window") for value in (0, 31, 2.5)), ({"num_layers": 4}, "3"), ({"num_layers": 0}, "3")],
)
def test_create_model_refuses_sizes(bases, options, named):
    with pytest.raises(ModelError, match=named):
        create_model(bases["whisper"], **options)


def test_create_model_refuses_other_folders(bases, tmp_path):
    with pytest.raises(ModelError, match="nothing"):
        create_model(tmp_path / "nothing")
    for file in bases["whisper"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    removed = {name: tensor for name, tensor in weights.items() if "encoder.layers.1.fc1" not in name}
    assert len(removed) == len(weights) - 2
    save_file(removed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"encoder\.layers\.1\.fc1"):
        create_model(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_freeze_lower_freezes_front_end_and_lower_layers(bases, kind):
    model, _ = create_model(bases[kind])
    freeze_lower(model, 2)
    layers = encoder_layers(model)
    assert not any(p.requires_grad for layer in layers[:2] for p in layer.parameters())
    assert all(p.requires_grad for part in (layers[2], model.classifier) for p in part.parameters())
    front = [n for n, p in model.named_parameters() if p.requires_grad and ("conv" in n or "embed" in n)]
    assert not [name for name in front if ".layers." not in name and "masked_spec" not in name]
    with pytest.raises(ModelError, match="4 cannot be frozen"):
        freeze_lower(model, 4)


def test_rates_fall_layer_by_layer(bases):
    model, _ = create_model(bases["whisper"])
    groups = parameter_groups(model, learning_rate=1.0, layer_decay=0.5, head_factor=10, weight_decay=0.1)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sorted(rates) == sorted(map(id, trainable))
    assert sum(len(group["params"]) for group in groups) == len(trainable)
    layers = encoder_layers(model)
    assert [rates[id(layer.fc1.weight)] for layer in layers] == [0.25, 0.5, 1.0]
    assert rates[id(model.classifier.weight)] == rates[id(model.projector.weight)] == 10
    assert rates[id(model.encoder.conv1.weight)] == 0.125
    assert rates[id(model.encoder.layer_norm.weight)] == 1.0
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert (decays[id(layers[0].fc1.weight)], decays[id(layers[0].fc1.bias)]) == (0.1, 0)


def test_one_rate_needs_no_stack_of_layers():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    (weights, biases) = parameter_groups(model, 1e-3, layer_decay=1.0, head_factor=1.0, weight_decay=0.1)
    assert (weights["lr"], weights["weight_decay"], len(weights["params"])) == (1e-3, 0.1, 2)
    assert (biases["lr"], biases["weight_decay"], len(biases["params"])) == (1e-3, 0.0, 2)


def test_create_model_forgets_the_training_of_its_base(tmp_path):
    folder = save_tiny_base("whisper", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    facts = {"problem_type": "regression"}
    (folder / "config.json").write_text(json.dumps(config | facts))
    assert create_model(folder)[0].config.problem_type is None
    facts = {"calibration_temperature": 7.0, "answer_threshold": 0.9, "trained_on": ["x"], "speaker_reference": {}}
    (folder / "config.json").write_text(json.dumps(config | facts))
    model, _ = create_model(folder)
    assert not any(hasattr(model.config, name) for name in facts)
