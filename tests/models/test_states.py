"""Cached states of frozen layers: the same outputs as the whole model, complete files, gradients only above them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ser_hf.models import ModelError
from ser_hf.models.building import create_model, freeze_lower, parameter_groups
from ser_hf.models.states import cached_states, check_states_can_be_cached, upper_layers
from ser_hf.models.training import ClipDataset, Collator
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base

CLIPS = [make_clip("happy", 1, seconds=1.0), make_clip("sad", 2, seconds=0.4), make_clip("angry", 3, seconds=1.4)]
SOUND = ClipDataset(CLIPS, [2, 3, 4], 16_000)


class Shortened(ClipDataset):
    """Clips in windows of 1, 0.5 and 1 s, of which the last cannot be read if ``broken``."""

    broken = False

    def __getitem__(self, index):
        if self.broken and index == 2:
            raise KeyboardInterrupt
        return super().__getitem__(index) | {"seconds": (1.0, 0.5, 1.0)[index]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base("whisper", tmp_path_factory.mktemp("base"))


@pytest.fixture
def whisper(base):
    torch.manual_seed(0)
    model, extractor = create_model(base, window=1)
    return model.eval(), extractor


@pytest.mark.parametrize("num_frozen", [1, 2])
def test_upper_layers_equal_whole_model(whisper, tmp_path, num_frozen):
    model, extractor = whisper
    states = cached_states(model, extractor, num_frozen, SOUND, tmp_path / "states.npy", batch_size=2)
    assert {(one.shape, one.dtype) for one in states} == {((50, 16), np.dtype(np.float16))}
    features = Collator(extractor, 8)([SOUND[i] for i in range(3)])["input_features"]
    with torch.inference_mode():
        expected, logits = model.encoder(features).last_hidden_state, model(features).logits
        with upper_layers(model, num_frozen):
            cached = torch.from_numpy(np.stack(states)).float()
            assert torch.allclose(model.encoder(cached).last_hidden_state, expected, atol=2e-3)  # float16
            assert torch.allclose(model(cached).logits, logits, atol=1e-3)
        assert (expected[0] - expected[1]).abs().max() > 0.03
        assert torch.equal(model(features).logits, logits)


def test_short_windows_equal_a_short_model(whisper, base, tmp_path):
    model, extractor = whisper
    clips = Shortened(CLIPS, [2, 3, 4], 16_000)
    states = cached_states(model, extractor, 2, clips, tmp_path / "states.npy", batch_size=2)
    assert [len(one) for one in states] == [50, 25, 50]
    features = Collator(extractor, 8)([SOUND[1]])["input_features"][..., :50]
    short, _ = create_model(base, window=1)
    table = short.encoder.embed_positions.weight[:25]
    short.encoder.embed_positions = torch.nn.Embedding.from_pretrained(table)
    short.config.max_source_positions = short.encoder.max_source_positions = 25
    with torch.inference_mode():
        expected = short.eval().encoder(features, output_hidden_states=True).hidden_states[2][0]
    assert states[1].astype(np.float32) == pytest.approx(expected.numpy(), abs=2e-3)


def test_cached_states_appear_when_complete(whisper, tmp_path):
    clips, file = Shortened(CLIPS, [2, 3, 4], 16_000), tmp_path / "new" / "states.npy"
    clips.broken = True
    with pytest.raises(KeyboardInterrupt):
        cached_states(*whisper, 1, clips, file, batch_size=1)
    assert not file.exists()
    clips.broken = False
    states = cached_states(*whisper, 1, clips, file, batch_size=1)
    assert all(np.any(one, axis=1).all() for one in states)
    clips.broken = True  # now they are read from the file
    again = cached_states(*whisper, 1, clips, file)
    assert all(np.array_equal(one, other) for one, other in zip(states, again, strict=True))
    assert {one.name for one in file.parent.iterdir()} == {"states.npy", "states-lengths.npy"}


def test_upper_layers_train_alone(whisper, tmp_path):
    model, extractor = whisper
    states = cached_states(model, extractor, 2, SOUND, tmp_path / "states.npy")
    freeze_lower(model, 2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with upper_layers(model, 2):
        groups = parameter_groups(model, 1e-2, 0.5, 10, 0.0)
        assert sorted({group["lr"] for group in groups}) == [1e-2, 1e-1]  # the top layer and the head
        optimizer = torch.optim.SGD(groups)
        logits = model(torch.from_numpy(np.stack(states)).float()).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([2, 3, 4])).backward()
        optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert set(before) == {name for name, _ in model.named_parameters()}
    trained = ("encoder.layers.2", "encoder.layer_norm", "projector", "classifier")
    assert {one for one in trained if any(name.startswith(one) for name in changed)} == set(trained)
    assert all(name.startswith(trained) for name in changed)


@pytest.mark.parametrize(("kind", "num_frozen"), [("wav2vec2", 1), ("whisper", 3), ("whisper", 0)])
def test_states_are_refused(kind, num_frozen, base, tmp_path):
    model, _ = create_model(base if kind == "whisper" else save_tiny_base(kind, tmp_path))
    with pytest.raises(ModelError, match="--frozen_layers"):
        check_states_can_be_cached(model, num_frozen)
