"""Layers above frozen ones learn from what those gave: the same answers, versions in turns, nothing half written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ser_hf.models import ModelError
from ser_hf.models.building import create_model, encoder_layers, freeze_lower, parameter_groups
from ser_hf.models.frozen import (
    AS_THEY_ARE,
    FrozenStates,
    StatesCollator,
    StatesDataset,
    above_frozen,
    check_states_can_be_kept,
    keep_states,
)
from ser_hf.models.training import ClipDataset, Collator, unchanged
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base

CLIPS = [make_clip("happy", 1, seconds=1.0), make_clip("sad", 2, seconds=0.8), make_clip("angry", 3, seconds=1.4)]
LABELS = [2, 3, 4]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base("whisper", tmp_path_factory.mktemp("base"))


@pytest.fixture
def whisper(base):
    torch.manual_seed(0)
    return create_model(base, window=1)


def keep(whisper, folder, num_frozen=2, versions=2, **options):
    """States of the clips as they are, and of versions that begin at other places."""
    model, extractor = whisper
    plain = ClipDataset(CLIPS, LABELS, 16_000)
    changed = ClipDataset(CLIPS, LABELS, 8_000, unchanged, **options)
    collator = Collator(extractor, 8)
    keep_states(model, num_frozen, plain, collator, folder / f"{AS_THEY_ARE}.npy", batch_size=2)
    for version in range(versions):
        changed.epoch = version
        keep_states(model, num_frozen, changed, collator, folder / f"{version}.npy", batch_size=2)
    return FrozenStates(folder, versions)


@pytest.mark.parametrize("num_frozen", [1, 2, 3])
def test_the_layers_above_answer_as_the_whole_model_does(whisper, tmp_path, num_frozen):
    model, extractor = whisper
    states = StatesDataset(keep(whisper, tmp_path, num_frozen), np.arange(3))
    sound = ClipDataset(CLIPS, LABELS, 16_000)
    batch = Collator(extractor, 8)([sound[i] for i in range(3)])
    kept = StatesCollator(extractor, 8)([states[i] for i in range(3)])
    assert torch.equal(batch.pop("labels"), kept.pop("labels"))
    model.eval()
    with torch.inference_mode():
        expected, logits = model.encoder(**batch).last_hidden_state, model(**batch).logits
        with above_frozen(model, num_frozen):
            assert torch.allclose(model.encoder(**kept).last_hidden_state, expected, atol=2e-3)  # kept in float16
            assert torch.allclose(model(**kept).logits, logits, atol=1e-3)
        assert (expected[0] - expected[1]).abs().max() > 0.03
        assert torch.equal(model(**batch).logits, logits)


@pytest.mark.parametrize("num_frozen", [1, 2, 3])
def test_a_weighted_sum_begins_with_what_was_kept(base, tmp_path, num_frozen):
    model, extractor = create_model(base, window=1, weighted_layer_sum=True)
    states = StatesDataset(keep((model, extractor), tmp_path, num_frozen), np.arange(3))
    freeze_lower(model, num_frozen)
    batch = Collator(extractor, 8)([ClipDataset(CLIPS, LABELS, 16_000)[i] for i in range(3)])
    kept = StatesCollator(extractor, 8)([states[i] for i in range(3)])
    del batch["labels"], kept["labels"]
    model.eval()
    with torch.inference_mode():
        logits = model(**batch).logits
        with above_frozen(model, num_frozen):
            off = (model(**kept).logits - logits).abs().max()  # kept in float16
        model.layer_weights[:num_frozen] += 30  # what is left out would be heard
        assert off < (model(**batch).logits - logits).abs().max() / 10


def test_what_is_learned_above_stays_and_the_rest_is_as_it_was(whisper, tmp_path):
    model, extractor = whisper
    states = StatesDataset(keep(whisper, tmp_path), np.arange(3), seed=0)
    freeze_lower(model, 2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with above_frozen(model, 2):
        assert len(encoder_layers(model)) == 3
        groups = parameter_groups(model, 1e-2, 0.5, 10, 0.0)
        assert sorted({group["lr"] for group in groups}) == [1e-2, 1e-1]  # the top layer and the head
        optimizer = torch.optim.SGD(groups)
        batch = StatesCollator(extractor, 8)([states[i] for i in range(3)])
        labels = batch.pop("labels")
        torch.nn.functional.cross_entropy(model(**batch).logits, labels).backward()
        optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert set(before) == {name for name, _ in model.named_parameters()}
    assert {name.split(".")[0] for name in changed} == {"encoder", "projector", "classifier"}
    assert all(
        name.startswith(("encoder.layers.2", "encoder.layer_norm", "projector", "classifier")) for name in changed
    )


def test_epochs_hear_the_versions_in_turns_and_clips_as_they_are_stay(whisper, tmp_path):
    kept = keep(whisper, tmp_path)
    rows = np.array([2, 0])
    train, held_out = StatesDataset(kept, rows, seed=1), StatesDataset(kept, rows)
    heard = []
    for epoch in range(4):
        train.epoch = held_out.epoch = epoch
        heard.append(train[0])
        assert np.array_equal(held_out[0]["samples"], kept.read(AS_THEY_ARE)[0][2])
        assert held_out[0]["mix_seed"] is None
    assert np.array_equal(heard[0]["samples"], heard[2]["samples"])
    assert np.array_equal(heard[1]["samples"], kept.read("1")[0][2])
    assert not np.array_equal(heard[0]["samples"], heard[1]["samples"])
    assert len({item["mix_seed"] for item in heard}) == 4
    assert heard[0]["label"].argmax() == 4


def test_sounds_without_speech_keep_their_soft_labels(whisper, tmp_path):
    kept = keep(whisper, tmp_path, versions=12, no_speech=0.5)
    labels = np.concatenate([kept.read(str(version))[1] for version in range(12)])
    silent = (labels == 1 / 8).all(axis=1)
    assert 8 <= silent.sum() <= 28
    assert (labels[~silent].max(axis=1) == 1).all()
    collator = StatesCollator(whisper[1], 8, label_smoothing=0.2)
    item = {"samples": kept.read("0")[0][0], "label": labels[silent][0], "mix_seed": 1}
    assert collator([item])["labels"][0].tolist() == pytest.approx([1 / 8] * 8)


def test_what_broke_off_is_begun_anew_and_what_is_whole_is_not_done_again(whisper, tmp_path):
    model, extractor = whisper
    file = tmp_path / "0.npy"

    class Interrupted(Collator):
        def __call__(self, items):
            if items[0]["label"] == 4:  # of the second batch
                raise KeyboardInterrupt
            return super().__call__(items)

    clips = ClipDataset(CLIPS, LABELS, 16_000)
    with pytest.raises(KeyboardInterrupt):
        keep_states(model, 1, clips, Interrupted(extractor, 8), file, batch_size=2)
    assert not file.exists()
    assert len(model.encoder.layers) == 3
    keep_states(model, 1, clips, Collator(extractor, 8), file, batch_size=2)
    written = file.stat().st_mtime_ns
    assert np.load(file).shape == (3, 50, 16)
    assert np.load(file).any(axis=(1, 2)).all()
    keep_states(model, 1, clips, Interrupted(extractor, 8), file, batch_size=2)
    assert file.stat().st_mtime_ns == written


def test_models_that_do_not_allow_it_are_refused(base, tmp_path):
    with pytest.raises(ModelError, match="for Whisper alone, not for 'wav2vec2'"):
        check_states_can_be_kept(create_model(save_tiny_base("wav2vec2", tmp_path))[0], 1)
    with pytest.raises(ModelError, match="1 to 3 layers can be frozen and kept, not 4"):
        check_states_can_be_kept(create_model(base)[0], 4)
