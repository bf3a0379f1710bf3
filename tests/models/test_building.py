"""Classifiers made of pretrained encoders: what is kept, what is new, what learns, and at which rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.building import create_model, encoder_layers, freeze_lower, masks_itself, parameter_groups
from ser_hf.models.extractors import window_seconds
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


def batches(extractor, seconds=1.0):
    items = [
        {"samples": make_clip(emotion, actor, seconds=seconds + 0.1 * actor), "label": label, "mix_seed": None}
        for actor in (1, 2)
        for label, emotion in enumerate(LABELS)
    ]
    collator = Collator(extractor, len(LABELS))
    return [collator(items[:8]), collator(items[8:])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_becomes_a_classifier_whose_head_is_the_regression(bases, kind):
    model, extractor = create_model(bases[kind], num_layers=2, window=1 if kind == "whisper" else None)
    assert len(encoder_layers(model)) == 2
    assert model.config.id2label == dict(enumerate(LABELS))
    made = batches(extractor)
    features, labels = pooled_features(model, made)
    fit_head(model, features, labels, regularisation=len(labels))
    with torch.inference_mode():
        inputs = [{name: value for name, value in batch.items() if name != "labels"} for batch in made]
        logits = np.concatenate([model.eval()(**batch).logits.numpy() for batch in inputs])
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-10).fit(scaler.transform(features), labels)
    expected = regression.predict_proba(scaler.transform(features))
    # AST normalises its pooled vector before the last layer, so features are taken behind that norm: the same holds.
    # Next to nothing hangs on when the solver stops: what sums in another order must end there, too.
    assert np.abs(torch.softmax(torch.tensor(logits), -1).numpy() - expected).max() < 5e-5


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_hides_parts_of_what_is_heard_in_training(bases, kind):
    """Whisper's audio classifier takes no notice of ``apply_spec_augment``, so the batches must be masked for it."""
    model, extractor = create_model(bases[kind], window=1 if kind == "whisper" else None, spec_augment=0.4)
    items = [{"samples": make_clip("happy", seconds=1.0), "label": 2, "mix_seed": seed} for seed in range(4)]
    if not masks_itself(model):
        assert not getattr(model.config, "apply_spec_augment", False)
        masked, plain = Collator(extractor, 8, spec_augment=0.4), Collator(extractor, 8)
        name = extractor.model_input_names[0]
        hidden = (masked(items)[name] != plain(items)[name]).float()
        assert hidden.mean() > 0.05
        return
    seen = []
    encoder = next(module for name, module in model.named_modules() if name.endswith(".encoder"))
    encoder.register_forward_pre_hook(lambda module, inputs, options: seen.append(inputs[0]), with_kwargs=True)
    inputs = Collator(extractor, 8)(items)
    inputs.pop("labels")
    model.train()(**inputs)
    vector = next(value for name, value in model.named_parameters() if name.endswith("masked_spec_embed"))
    hidden = torch.isclose(seen[0], vector).float()
    assert 0.05 < hidden.mean() < 0.9


def test_whisper_hides_whole_frames_and_whole_bands(bases):
    _, extractor = create_model(bases["whisper"], window=1)
    clips = [make_clip("sad", actor, seconds=1.0) for actor in range(1, 25)]
    items = [{"samples": clip, "label": 3, "mix_seed": seed} for seed, clip in enumerate(clips)]
    plain, masked = (Collator(extractor, 8, spec_augment=share)(items)["input_features"] for share in (0, 0.2))
    hidden = (plain != masked).numpy()
    frames, bands = hidden.all(axis=1), hidden.all(axis=2)
    assert frames.any()
    assert bands.any()
    assert np.array_equal(hidden, frames[:, None] | bands[:, :, None])
    assert frames.mean(axis=1).max() <= 0.2
    assert bands.mean(axis=1).max() <= 0.2


def test_pretrained_weights_below_the_head_are_kept(bases):
    from transformers import WhisperModel

    original = WhisperModel.from_pretrained(bases["whisper"]).encoder.state_dict()
    model, _ = create_model(bases["whisper"], num_layers=2)
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, original[name]), name


def test_speech_recognition_checkpoints_of_the_hub_serve_as_base(bases, tmp_path):
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

    whole = WhisperForConditionalGeneration(WhisperModel.from_pretrained(bases["whisper"]).config)
    whole.save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    model, _ = create_model(tmp_path)
    assert torch.equal(model.encoder.conv1.weight, whole.model.encoder.conv1.weight)


def test_a_shorter_window_cuts_positions_and_extractor_alike(bases):
    model, extractor = create_model(bases["whisper"], window=5)
    assert (extractor.chunk_length, extractor.n_samples, extractor.nb_max_frames) == (5, 80_000, 500)
    assert model.encoder.embed_positions.weight.shape[0] == model.config.max_source_positions == 250
    assert window_seconds(model, extractor) == 5.0


@pytest.mark.parametrize("window", [0, 31, 2.5])
def test_a_window_that_the_checkpoint_cannot_have_is_refused(bases, window):
    with pytest.raises(ModelError, match="whole seconds from 1 to 30"):
        create_model(bases["whisper"], window=window)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_layers": 4}, "has 3 layers"),
        ({"num_layers": 0}, "has 3 layers"),
    ],
)
def test_layers_that_are_not_there_are_refused(bases, options, words):
    with pytest.raises(ModelError, match=words):
        create_model(bases["whisper"], **options)


def test_a_base_model_that_is_not_there_is_told_in_words(tmp_path):
    with pytest.raises(ModelError, match="no model folder"):
        create_model(tmp_path / "nothing")


def test_a_base_that_lacks_encoder_weights_is_refused_rather_than_started_at_random(bases, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in bases["whisper"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    removed = {name: tensor for name, tensor in weights.items() if "encoder.layers.1.fc1" not in name}
    assert len(removed) == len(weights) - 2
    save_file(removed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights below the head"):
        create_model(tmp_path)


def test_a_base_with_a_head_for_other_labels_gets_a_new_head(bases, tmp_path):
    model, extractor = create_model(bases["hubert"], labels=("yes", "no"))
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    again, _ = create_model(tmp_path)
    assert output_layer(again).out_features == len(LABELS)


def test_freezing_leaves_the_front_end_and_the_lower_layers_alone(bases):
    for kind in KINDS:
        model, _ = create_model(bases[kind])
        freeze_lower(model, 2)
        layers = encoder_layers(model)
        assert not any(p.requires_grad for layer in layers[:2] for p in layer.parameters()), kind
        assert all(p.requires_grad for p in layers[2].parameters()), kind
        assert all(p.requires_grad for p in model.classifier.parameters()), kind
        front = [n for n, p in model.named_parameters() if p.requires_grad and ("conv" in n or "embed" in n)]
        assert not [name for name in front if ".layers." not in name and "masked_spec" not in name], kind
    with pytest.raises(ModelError, match="4 cannot be frozen"):
        freeze_lower(model, 4)


def test_rates_fall_layer_by_layer_and_cover_every_parameter_once(bases):
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
    assert decays[id(layers[0].fc1.weight)] == 0.1
    assert decays[id(layers[0].fc1.bias)] == 0


def test_a_temperature_divides_every_logit(bases):
    model, extractor = create_model(bases["whisper"], window=1)
    inputs = {"input_features": batches(extractor)[0]["input_features"]}
    with torch.inference_mode():
        before = model.eval()(**inputs).logits
        scale_logits(model, 2.0)
        assert torch.allclose(model(**inputs).logits, before / 2, atol=1e-6)


@pytest.mark.parametrize("present", [(2, 3), (0, 4, 7)])
def test_a_head_that_is_fitted_without_some_labels_answers_only_the_others(bases, present):
    model, extractor = create_model(bases["whisper"], window=1)
    made = batches(extractor)
    features, labels = pooled_features(model, made)
    kept = np.isin(labels, present)
    fit_head(model, features[kept], labels[kept], regularisation=np.count_nonzero(kept))
    with torch.inference_mode():
        logits = torch.cat([model.eval()(input_features=batch["input_features"]).logits for batch in made])
    scaler = StandardScaler().fit(features[kept])
    regression = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(features[kept]), labels[kept])
    expected = regression.predict_proba(scaler.transform(features))
    assert np.abs(torch.softmax(logits, -1).numpy()[:, list(present)] - expected).max() < 1e-2


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


def test_a_head_is_not_fitted_on_clips_of_one_label(bases):
    model, _ = create_model(bases["whisper"])
    features = np.random.default_rng(0).normal(size=(20, 16))
    with pytest.raises(ModelError, match="hold 1 of 8 labels; two are needed"):
        fit_head(model, features, np.zeros(20, dtype=int))


def test_one_rate_for_all_needs_no_stack_of_layers():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    (weights, biases) = parameter_groups(model, 1e-3, layer_decay=1.0, head_factor=1.0, weight_decay=0.1)
    assert (weights["lr"], weights["weight_decay"], len(weights["params"])) == (1e-3, 0.1, 2)
    assert (biases["lr"], biases["weight_decay"], len(biases["params"])) == (1e-3, 0.0, 2)
