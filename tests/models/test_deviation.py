"""Deviation layers: nothing changes before they are fitted, then the head hears what it could not hear before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForAudioClassification, WhisperFeatureExtractor, WhisperModel

from ser_hf.models import ModelError
from ser_hf.models.building import create_model
from ser_hf.models.deviation import (
    deviation_layers,
    label_directions,
    leave_out_idle,
    prepare_deviations,
    recorded_deviations,
)
from ser_hf.models.frozen import above_frozen
from ser_hf.models.head import fit_head, pooled_features
from ser_hf.models.neural import save_neural
from tests.tiny_bases import save_tiny_base, tiny_whisper_config

WIDTH = 128
LABELS = np.arange(8).repeat(6)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"), 2 * WIDTH)


def save_base(folder, feed_forward):
    """Random weights, but large enough for layers to matter, and wide enough for eight dimensions to be few."""
    torch.manual_seed(0)
    config = tiny_whisper_config(d_model=WIDTH, encoder_layers=2, encoder_ffn_dim=feed_forward, init_std=0.15)
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def made(base, above=(1, 2), num_layers=2):
    torch.manual_seed(0)
    return create_model(base, num_layers=num_layers, window=1, deviations_above=above)


def batches(model):
    """Spectrograms of eight labels, which differ in their tilt."""
    generator = torch.Generator().manual_seed(0)
    bins, frames = model.config.num_mel_bins, 2 * model.config.max_source_positions
    sound = torch.randn(len(LABELS), bins, frames, generator=generator) * 0.1
    sound += torch.linspace(-1, 1, bins)[:, None] * ((torch.as_tensor(LABELS) - 3.5) / 4)[:, None, None]
    soft = torch.eye(8)[LABELS]
    return [{"input_features": sound[i : i + 16], "labels": soft[i : i + 16]} for i in range(0, len(LABELS), 16)]


def logits_of(model, made_of):
    with torch.inference_mode():
        return np.concatenate([model(input_features=batch["input_features"]).logits.numpy() for batch in made_of])


def states_under_the_norm(model, batch):
    """What comes to the norm behind the top layer, and what comes out of each layer."""
    seen = []
    hook = model.encoder.layer_norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        output = model.eval()(input_features=batch["input_features"], output_hidden_states=True)
    hook.remove()
    return seen[0], output.hidden_states


def fitted(base, above=(1, 2)):
    model, extractor = made(base, above)
    sound = batches(model)
    prepare_deviations(model, lambda: pooled_features(model, sound))
    features, labels = pooled_features(model, sound)
    fit_head(model, features, labels)
    return model, extractor, sound, features


@pytest.mark.parametrize("above", [(2,), (1,), (1, 2)])
def test_before_they_are_fitted_the_states_are_those_of_the_encoder(base, above):
    plain, _ = made(base, above=())
    model, _ = made(base, above=above)
    batch = batches(model)[0]
    assert torch.equal(states_under_the_norm(plain, batch)[0], states_under_the_norm(model, batch)[0])
    assert model.config.encoder_layers == model.config.num_hidden_layers == len(model.encoder.layers) == 2 + len(above)
    assert model.config.deviation_layers == {(2,): [2], (1,): [1], (1, 2): [1, 3]}[above]


def test_what_they_hear_is_the_mean_of_gelus_in_the_units_of_the_training_clips(base):
    model, _ = made(base)
    sound = batches(model)
    prepare_deviations(model, lambda: pooled_features(model, sound))
    with recorded_deviations(model) as recorded:
        states_under_the_norm(model, sound[0])
    assert recorded[0].shape == (16, 3 * WIDTH + 1)
    every = [states_under_the_norm(model, batch)[1][1] for batch in sound]
    normed = torch.nn.functional.layer_norm(torch.cat(every), (WIDTH,))
    z = (normed - normed.mean((0, 1))) / normed.std((0, 1), unbiased=False)
    top, _ = states_under_the_norm(model, sound[0])
    scales = 1 / top.std(-1, unbiased=False, keepdim=True)
    gelu = torch.nn.functional.gelu
    deviations = ((gelu(z) + gelu(-z))[:16] * scales).mean(1)
    assert np.allclose(recorded[0][:, :WIDTH], deviations, atol=1e-4)
    assert np.allclose(recorded[0][:, 2 * WIDTH : 3 * WIDTH], (z[:16] * scales).mean(1), atol=1e-4)
    assert np.allclose(recorded[0][:, -1], scales.mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("above", [(1, 2), (1,), (2,)])
def test_the_model_answers_as_the_regression_on_all_that_is_heard(base, above):
    model, _, sound, features = fitted(base, above)
    assert features.shape[1] == WIDTH * (1 + len(above) + (1 in above)) + 1
    columns = features[:, :-1].copy()
    directions = label_directions(model)
    columns[:, :WIDTH] -= columns[:, :WIDTH] @ directions.T @ directions
    scaled = StandardScaler().fit_transform(columns)
    regression = LogisticRegression(C=10 / len(LABELS), max_iter=1000).fit(scaled, LABELS)
    expected = regression.decision_function(scaled)
    logits = logits_of(model, sound)
    logits -= logits.mean(axis=1, keepdims=True)
    assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] > 0.999


def test_states_of_one_mean_that_vary_in_other_directions_are_told_apart(base):
    labels = torch.arange(8).repeat(20)  # the first half is learned, the second half asked
    generator = torch.Generator().manual_seed(0)
    there_and_back = torch.tensor([1.0, -1.0]).repeat(25)[None, :, None]
    # At right angles and of one length, so that no norm of a state tells one from the other.
    middle, *directions = torch.linalg.qr(torch.randn(WIDTH, 9, generator=generator))[0].T * WIDTH**0.5
    states = middle + there_and_back * torch.stack(directions)[labels][:, None]
    states = states + torch.randn(len(labels), 50, WIDTH, generator=generator)
    sound = [{"input_features": part, "labels": torch.eye(8)[labels[:80]]} for part in states.split(80)]
    right = {}
    for above in ((), (1,)):
        model, _ = made(base, above=above, num_layers=1)
        with above_frozen(model, 1):
            if above:
                prepare_deviations(model, lambda model=model: pooled_features(model, sound[:1]))
            fit_head(model, *pooled_features(model, sound[:1]))
            right[above] = (logits_of(model, sound[1:]).argmax(1) == labels[80:].numpy()).mean()
    assert right[()] < 0.4
    assert right[1,] > 0.9


def test_a_layer_between_leaves_the_directions_of_the_labels_alone(base):
    model, _, sound, _ = fitted(base)
    _, hidden = states_under_the_norm(model, sound[0])
    own = torch.as_tensor(label_directions(model), dtype=torch.float32)
    assert torch.allclose(own @ own.T, torch.eye(8), atol=1e-5)
    assert torch.allclose(own.sum(1), torch.zeros(8), atol=1e-4)  # else the norm would take out what is written
    # Behind the front end, layer 1, its deviation layer, layer 2.
    _, below, written, above = hidden[:4]
    others = torch.eye(WIDTH) - own.T @ own
    assert torch.allclose(above @ own.T, written @ own.T, atol=1e-4)
    assert (written @ own.T - below @ own.T).abs().max() > 0.01
    assert torch.allclose(written @ others, below @ others, atol=1e-4)
    assert (above @ others - written @ others).abs().max() > 0.01


def test_what_is_written_along_the_directions_of_the_labels_is_not_heard_above(base):
    model, _, sound, _ = fitted(base)
    _, hidden = states_under_the_norm(model, sound[0])
    own = torch.as_tensor(label_directions(model), dtype=torch.float32)
    written, layer = hidden[2], model.encoder.layers[2]
    # As much in another direction of the same plane, so that the norm divides by the same.
    there = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    other = written + (written @ own.T @ there - written @ own.T) @ own
    with torch.inference_mode():
        added, added_to_other = layer(written, None) - written, layer(other, None) - other
    assert (other - written).abs().max() > 0.01
    assert torch.allclose(added, added_to_other, atol=1e-4)


def test_a_layer_that_must_leave_directions_alone_that_hold_nothing_does_what_it_did(base):
    plain, _ = made(base, above=())
    model, _ = made(base)
    sound = batches(model)
    # Eight directions in which nothing is, behind either layer and within the upper one.
    own = torch.linalg.qr(torch.cat([torch.ones(WIDTH, 1), torch.eye(WIDTH)[:, :8]], dim=1))[0][:, 1:]
    for lower, upper in (plain.encoder.layers[:2], model.encoder.layers[0:3:2]):
        for module in (lower, upper, upper.self_attn.out_proj):
            module.register_forward_hook(lambda module, inputs, output: output - output @ own @ own.T)
        for norm in (upper.self_attn_layer_norm, upper.final_layer_norm):
            norm.weight.data.copy_(torch.linspace(0.5, 2, WIDTH))
            norm.bias.data.copy_(torch.linspace(-1, 1, WIDTH))
    prepare_deviations(model, lambda: pooled_features(model, sound))
    assert np.allclose(label_directions(model) @ own.numpy() @ own.numpy().T, label_directions(model), atol=1e-4)
    expected, _ = states_under_the_norm(plain, sound[0])
    states, _ = states_under_the_norm(model, sound[0])
    assert torch.allclose(states, expected, atol=1e-3)


def test_it_loads_as_a_stock_model_and_answers_alike(base, tmp_path):
    model, extractor, sound, _ = fitted(base)
    stock = AutoModelForAudioClassification.from_pretrained(save_neural(model, extractor, tmp_path))
    assert np.allclose(logits_of(stock.float().eval(), sound), logits_of(model, sound), atol=0.02)
    assert [id(layer) for layer in deviation_layers(stock)] == [id(stock.encoder.layers[i]) for i in (1, 3)]


def test_what_computes_nothing_is_left_out_and_the_answers_are_the_same(tmp_path):
    model, _, sound, _ = fitted(save_base(tmp_path, 4 * WIDTH))
    expected = logits_of(model, sound)
    leave_out_idle(model)
    assert np.allclose(logits_of(model, sound), expected, atol=1e-4)
    for layer in deviation_layers(model):
        assert [tuple(one.weight.shape) for one in (layer.fc1, layer.fc2)] == [(2 * WIDTH, WIDTH), (WIDTH, 2 * WIDTH)]
        assert not list(layer.self_attn.parameters())


def test_what_computes_something_is_left_in(base):
    model, _, sound, _ = fitted(base)
    below, above = deviation_layers(model)
    with torch.no_grad():
        below.self_attn.out_proj.weight[0, 0] = 1.0
        above.self_attn.out_proj.bias[0] = 1.0
    expected = logits_of(model, sound)
    leave_out_idle(model)
    assert np.array_equal(logits_of(model, sound), expected)
    assert all(list(layer.self_attn.parameters()) for layer in (below, above))


def test_before_they_are_fitted_all_units_stay(base):
    model, _ = made(base)
    expected = logits_of(model, batches(model))
    leave_out_idle(model)
    assert np.array_equal(logits_of(model, batches(model)), expected)
    assert {len(layer.fc1.weight) for layer in deviation_layers(model)} == {2 * WIDTH}


@pytest.mark.parametrize(
    ("above", "message"),
    [((3,), "above layers 1 to 2, ascending; not above 3"), ((2, 1), "ascending"), ((0, 2), "not above 0, 2")],
)
def test_layers_that_are_not_there_are_refused(base, above, message):
    with pytest.raises(ModelError, match=message):
        made(base, above=above)


def test_other_architectures_and_a_weighted_sum_are_refused(base, tmp_path):
    with pytest.raises(ModelError, match="made for Whisper"):
        create_model(save_tiny_base("hubert", tmp_path), deviations_above=(3,))
    with pytest.raises(ModelError, match="weighted sum"):
        create_model(base, num_layers=2, window=1, weighted_layer_sum=True, deviations_above=(2,))
