"""What the Trainer is fed: clips that vary by epoch and come back by seed, soft labels, mixup, layer-wise rates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import EvalPrediction, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from ser_hf.augment import Augmentation
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.training import (
    ClipDataset,
    Collator,
    EmotionTrainer,
    balanced_weights,
    compute_metrics,
    last_whole_checkpoint,
    mask_spectrograms,
    unchanged,
)
from tests.synthetic import make_clip

CLIPS = [make_clip("happy", seconds=2.0), make_clip("sad", seconds=1.0)]
WHISPER = WhisperFeatureExtractor(chunk_length=1)


def dataset(augment=None, window=16_000, seed=0):
    return ClipDataset(CLIPS, [2, 3], window, augment, seed)


def test_clips_as_they_are_are_cut_at_their_start():
    made = dataset()
    assert len(made) == 2
    assert np.array_equal(made[0]["samples"], CLIPS[0][:16_000])
    assert made[1]["label"] == 3
    assert made[0]["mix_seed"] is None


def test_each_epoch_hears_another_version_and_the_same_epoch_the_same():
    one, two = dataset(Augmentation()), dataset(Augmentation())
    first = one[0]["samples"]
    assert np.array_equal(first, two[0]["samples"])
    one.epoch = 1
    assert not np.array_equal(first, one[0]["samples"])
    two.epoch = 1
    assert np.array_equal(one[0]["samples"], two[0]["samples"])
    assert not np.array_equal(first, dataset(Augmentation(), seed=1)[0]["samples"])
    assert first.size <= 16_000


def test_batches_without_augmentation_have_hard_labels():
    batch = Collator(WHISPER, 8, label_smoothing=0.1, mixup_alpha=0.4)([dataset()[i] for i in range(2)])
    assert batch["input_features"].shape == (2, 80, 100)
    assert torch.equal(batch["labels"], torch.eye(8)[[2, 3]])


def test_training_labels_are_smoothed_and_still_sum_to_one():
    items = [dataset(Augmentation())[i] for i in range(2)]
    labels = Collator(WHISPER, 8, label_smoothing=0.2)(items)["labels"]
    assert labels[0, 2] == pytest.approx(0.8 + 0.2 / 8)
    assert labels.sum(dim=1).tolist() == pytest.approx([1, 1])


def test_sounds_without_speech_take_their_share_and_belong_to_all_labels_alike():
    clips = [CLIPS[0]] * 400
    heard = ClipDataset(clips, [2] * 400, 16_000, unchanged, seed=0, no_speech=0.1)
    items = [heard[i] for i in range(400)]
    silent = [item for item in items if item["label"] is None]
    assert 20 < len(silent) < 60
    assert not any(np.array_equal(item["samples"], CLIPS[0][: item["samples"].size]) for item in silent)
    assert all(item["samples"].size == 16_000 for item in silent)
    labels = Collator(WHISPER, 8, label_smoothing=0.2)([silent[0], next(i for i in items if i["label"] == 2)])["labels"]
    assert labels[0].tolist() == pytest.approx([1 / 8] * 8)
    assert labels[1, 2] == pytest.approx(0.8 + 0.2 / 8)
    as_they_are = ClipDataset(clips, [2] * 400, 16_000, no_speech=0.5)
    assert all(as_they_are[i]["label"] == 2 for i in range(9))


def test_a_voice_is_joined_with_others_of_its_speaker_and_label_alone():
    t = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * hertz * t).astype(np.float32) for hertz in (500, 1000, 2000, 3000)]
    speakers, labels = ["a", "a", "a", "b"], [2, 2, 3, 2]
    heard = ClipDataset(tones, labels, 40_000, unchanged, seed=0, join_probability=1.0, speakers=speakers)
    found = [set(), set(), set(), set()]
    for heard.epoch in range(20):
        for index in range(4):
            item = heard[index]
            assert item["label"] == labels[index]
            spectrum = np.abs(np.fft.rfft(item["samples"], 64_000))
            levels = {hertz: spectrum[hertz * 4 - 8 : hertz * 4 + 9].max() for hertz in (500, 1000, 2000, 3000)}
            found[index] |= {hertz for hertz, level in levels.items() if level > 0.2 * max(levels.values())}
    assert found == [{500, 1000}, {500, 1000}, {2000}, {3000}]
    as_they_are = ClipDataset(tones, labels, 40_000, join_probability=1.0, speakers=speakers)
    assert np.array_equal(as_they_are[0]["samples"], tones[0])


def test_mixup_mixes_sound_and_labels_by_the_same_weight():
    items = [{"samples": clip[:16_000], "label": label} for clip, label in zip(CLIPS, (2, 3), strict=True)]
    plain = Collator(WHISPER, 8)([item | {"mix_seed": 0} for item in items])
    mix = Collator(WHISPER, 8, mixup_alpha=0.4, mixup_probability=1.0)
    batches = (mix([item | {"mix_seed": seed} for item in items]) for seed in range(100))
    mixed = next(batch for batch in batches if 0.1 < batch["labels"][0, 2] < 0.9)  # the first that swaps the two
    weight = float(mixed["labels"][0, 2])
    expected = weight * plain["input_features"][0] + (1 - weight) * plain["input_features"][1]
    assert torch.allclose(mixed["input_features"][0], expected, atol=1e-5)
    assert float(mixed["labels"][0, 3]) == pytest.approx(1 - weight)


def test_masks_hide_no_more_than_their_share_and_never_the_padding():
    rng = np.random.default_rng(0)
    spectrograms = torch.randn(50, 40, 20)
    before = spectrograms.clone()
    lengths = [40, 20] * 25
    mask_spectrograms(spectrograms, 0.2, rng, lengths)
    changed = (spectrograms != before).numpy()
    assert changed.any()
    for hidden, length, was, now in zip(changed, lengths, before, spectrograms, strict=True):
        assert not hidden[length:].any()
        assert hidden[:length].all(axis=1).sum() <= 0.2 * length  # whole frames
        assert hidden[:length].all(axis=0).sum() <= 0.2 * 20  # whole bands
        assert torch.allclose(now[:length][torch.as_tensor(hidden[:length])], was[:length].mean(), atol=1e-6)


def test_masks_come_back_by_seed_and_only_in_training():
    _, extractor = create_from_scratch("cnn", window=1)
    masked, plain = Collator(extractor, 8, spec_augment=0.5), Collator(extractor, 8)
    items = [dataset(unchanged)[i] for i in range(2)]
    assert torch.equal(masked(items)["input_features"], masked(items)["input_features"])
    assert not torch.equal(masked(items)["input_features"], plain(items)["input_features"])
    held_out = [dataset()[i] for i in range(2)]
    assert torch.equal(masked(held_out)["input_features"], plain(held_out)["input_features"])


def test_clips_that_train_unchanged_are_still_cut_at_random_places_and_mixed():
    made = dataset(unchanged)
    first = made[0]
    assert first["mix_seed"] is not None
    made.epoch = 1
    assert not np.array_equal(first["samples"], made[0]["samples"])
    assert np.array_equal(made[1]["samples"], CLIPS[1])


def test_waveform_models_are_padded_to_the_longest_clip():
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    batch = Collator(extractor, 8)([dataset(window=32_000)[i] for i in range(2)])
    assert batch["input_values"].shape == (2, 32_000)
    assert batch["attention_mask"].sum(dim=1).tolist() == [32_000, 16_000]


@given(labels=st.lists(st.integers(0, 7), min_size=1, max_size=50))
def test_balanced_labels_weigh_the_same_together_and_a_clip_weighs_one_on_average(labels):
    weights = balanced_weights(np.array(labels), 8)
    assert weights.dtype == np.float32
    together = weights * np.bincount(labels, minlength=8)
    assert together[together > 0] == pytest.approx(len(labels) / len(set(labels)), rel=1e-5)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-5)


def test_a_clip_counts_as_its_label_does_and_a_mixed_one_as_its_shares():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    class Fixed(torch.nn.Module):
        def forward(self, **inputs):
            return SimpleNamespace(logits=logits)

    def loss(weights):
        trainer = SimpleNamespace(label_weights=weights)
        return EmotionTrainer.compute_loss(trainer, Fixed(), {"labels": labels}).item()

    assert loss(None) == pytest.approx(losses.mean().item())
    expected = losses @ torch.tensor([3.0, 1.0, 2.0]) / 3
    assert loss(np.float32([3, 1])) == pytest.approx(expected.item())


def test_metrics_take_logits_and_soft_labels():
    logits = np.eye(8) * 5
    results = compute_metrics(EvalPrediction(predictions=logits, label_ids=np.eye(8)[[0, 1, 2, 3, 4, 5, 6, 0]]))
    assert results["accuracy"] == pytest.approx(7 / 8)
    assert set(results) >= {"balanced_accuracy", "macro_f1", "ece", "nll"}


WHOLE = ("trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


def make_checkpoint(folder, step, names=WHOLE, state="{}"):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    for name in names:
        (checkpoint / name).write_text(state if name == "trainer_state.json" else "")
    return checkpoint


def test_the_newest_checkpoint_is_gone_on_from(tmp_path):
    assert last_whole_checkpoint(tmp_path / "not there") is None
    assert last_whole_checkpoint(tmp_path) is None
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 18)
    assert last_whole_checkpoint(tmp_path) == str(newest)


@pytest.mark.parametrize("state", [None, "", '{"epoch": 1.'])
def test_a_checkpoint_whose_state_was_not_written_is_passed_over_and_deleted(tmp_path, state):
    before = make_checkpoint(tmp_path, 9)
    names = WHOLE if state is not None else WHOLE[1:]
    half = make_checkpoint(tmp_path, 18, names, state or "")
    assert last_whole_checkpoint(tmp_path) == str(before)
    assert not half.exists()


@pytest.mark.parametrize("gone", WHOLE)
def test_a_checkpoint_that_is_half_deleted_is_none(tmp_path, gone):
    make_checkpoint(tmp_path, 9, [name for name in WHOLE if name != gone])
    assert last_whole_checkpoint(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
