"""What the Trainer is fed: clips that follow seed and epoch, labels, mixup, weighted draws, averages of weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, TrainingArguments, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from ser_hf.augment import Augmentation
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.training import (
    AVERAGED,
    FULL_WINDOW,
    MIN_POSITIONS,
    AverageWeights,
    ClipDataset,
    Collator,
    EmotionTrainer,
    StatesCollator,
    StatesDataset,
    WeightedSampler,
    compute_metrics,
    last_whole_checkpoint,
    mask_spectrograms,
)
from tests.synthetic import make_clip

CLIPS = [make_clip("happy", seconds=2.0), make_clip("sad", seconds=1.0)]
WHISPER = WhisperFeatureExtractor(chunk_length=1)
NOTHING = Augmentation(speed=0, gain_db=0, noise_probability=0, silence_probability=0)
CALM = np.eye(8, dtype=bool)[1]  # a mask of this label


def dataset(augment=None, window=16_000, seed=0, **options):
    return ClipDataset(CLIPS, [2, 3], window, augment, seed, **options)


def test_clips_are_cut_at_their_start():
    made = dataset()
    assert len(made) == 2
    assert np.array_equal(made[0]["samples"], CLIPS[0][:16_000])
    assert (made[1]["label"], made[0]["mix_seed"], made[0]["seconds"]) == (3, None, None)


def test_clips_follow_seed_and_epoch():
    one, two = dataset(Augmentation()), dataset(Augmentation())
    first = one[0]["samples"]
    assert first.size <= 16_000
    assert np.array_equal(first, two[0]["samples"])
    one.epoch = two.epoch = 1
    assert not np.array_equal(first, one[0]["samples"])
    assert np.array_equal(one[0]["samples"], two[0]["samples"])
    assert not np.array_equal(first, dataset(Augmentation(), seed=1)[0]["samples"])


def test_training_clips_are_cut_at_random():
    made = dataset(NOTHING)
    first = made[0]
    made.epoch = 1
    assert not np.array_equal(first["samples"], made[0]["samples"])
    assert np.array_equal(made[1]["samples"], CLIPS[1])


def test_short_windows_hold_the_clip():
    clips = [make_clip("sad", seconds=seconds) for seconds in (0.7, 1.0, 1.01, 3.0)]
    made = ClipDataset(clips, [3] * 4, 32_000, NOTHING, short_windows=True)
    drawn = [[made[i]["seconds"] for i in range(4)] for made.epoch in range(200)]
    for index, seconds in enumerate((1.0, 1.0, 1.5, 2.0)):
        assert {epoch[index] for epoch in drawn} == {seconds, None}
    assert np.mean([one is None for epoch in drawn for one in epoch]) == pytest.approx(FULL_WINDOW, abs=0.05)


def test_clips_are_joined_within_speaker_and_label():
    t = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * hertz * t).astype(np.float32) for hertz in (500, 1000, 2000, 3000)]
    speakers, labels = ["a", "a", "a", "b"], [2, 2, 3, 2]
    made = ClipDataset(tones, labels, 40_000, NOTHING, seed=0, join_probability=1.0, speakers=speakers)
    found = [set(), set(), set(), set()]
    for made.epoch in range(20):
        for index in range(4):
            item = made[index]
            assert item["label"] == labels[index]
            spectrum = np.abs(np.fft.rfft(item["samples"], 64_000))
            levels = {hertz: spectrum[hertz * 4 - 8 : hertz * 4 + 9].max() for hertz in (500, 1000, 2000, 3000)}
            found[index] |= {hertz for hertz, level in levels.items() if level > 0.2 * max(levels.values())}
    assert found == [{500, 1000}, {500, 1000}, {2000}, {3000}]


def test_collator_smooths_training_labels():
    collator = Collator(WHISPER, 8, label_smoothing=0.2, mixup_alpha=0.4, mixup_probability=0.0)
    batch = collator([dataset()[i] for i in range(2)])  # not augmented, so not for training
    assert {name: value.shape for name, value in batch.items()} == {"input_features": (2, 80, 100), "labels": (2, 8)}
    assert torch.equal(batch["labels"], torch.eye(8)[[2, 3]])
    made = dataset(NOTHING, masked=np.stack([CALM, np.zeros(8, bool)]))
    batch = collator([made[i] for i in range(2)])
    assert batch["labels"][:, 1].tolist() == pytest.approx([0, 0.2 / 8])
    assert float(batch["labels"][1, 3]) == pytest.approx(0.8 + 0.2 / 8)
    assert batch["labels"].sum(dim=1).tolist() == pytest.approx([1, 1])
    assert batch["masked"].sum(dim=1).tolist() == [1, 0]


@pytest.mark.parametrize(("second", "kept"), [(CALM, True), (~CALM, False), (np.zeros(8, bool), False)])
def test_mixup_mixes_sound_labels_and_masks(second, kept):
    masks = (CALM, second & ~np.eye(8, dtype=bool)[3])
    items = [{"samples": CLIPS[i][:16_000], "label": 2 + i, "masked": masks[i]} for i in range(2)]
    plain = Collator(WHISPER, 8)([item | {"mix_seed": 0} for item in items])["input_features"]
    mix = Collator(WHISPER, 8, mixup_alpha=0.4, mixup_probability=1.0)
    batches = (mix([item | {"mix_seed": seed} for item in items]) for seed in range(100))
    mixed = next(batch for batch in batches if 0.1 < batch["labels"][0, 2] < 0.9)
    weight = float(mixed["labels"][0, 2])
    assert torch.allclose(mixed["input_features"][0], weight * plain[0] + (1 - weight) * plain[1], atol=1e-5)
    assert float(mixed["labels"][0, 3]) == pytest.approx(1 - weight)
    assert ("masked" in mixed) == kept  # what both clips say nothing about
    assert not kept or np.array_equal(mixed["masked"], [CALM, CALM])


def test_loss_leaves_masked_logits_out():
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs = {"labels": torch.eye(8)[[0, 1]], "masked": torch.from_numpy(np.stack([CALM, np.zeros(8, bool)]))}

    class Fixed(torch.nn.Module):
        def forward(self, **inputs):
            assert not inputs
            return SimpleNamespace(logits=logits)

    loss = EmotionTrainer.compute_loss(SimpleNamespace(), Fixed(), inputs)
    loss.backward()
    kept = logits[0, [0, *range(2, 8)]]
    expected = kept.logsumexp(0) - logits[0, 0] + logits[1].logsumexp(0) - logits[1, 1]
    assert loss.item() == pytest.approx(expected.item() / 2)
    assert logits.grad[0, 1] == 0
    assert logits.grad[1, 1] != 0


def test_mask_spectrograms_masks_its_share_and_no_padding():
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


def test_spec_augment_is_for_training_alone():
    _, extractor = create_from_scratch("cnn", window=1)
    collators = Collator(extractor, 8, spec_augment=0.5), Collator(extractor, 8)
    for augment, same in ((NOTHING, False), (None, True)):
        one, two = (collator([dataset(augment)[i] for i in range(2)])["input_features"] for collator in collators)
        assert torch.equal(one, two) == same


def test_waveforms_are_padded_to_the_longest():
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    batch = Collator(extractor, 8)([dataset(window=32_000)[i] for i in range(2)])
    assert batch["input_values"].shape == (2, 32_000)
    assert batch["attention_mask"].sum(dim=1).tolist() == [32_000, 16_000]


# Two versions of three clips; each state is 10 * version + row.
STATES = [[np.full((5 - row, 2), 10 * version + row, np.float16) for row in range(3)] for version in range(2)]


def test_states_dataset_holds_every_version():
    made = StatesDataset(STATES, np.array([2, 0]), np.array([4, 5, 6]), seed=1)
    items = [made[i] for i in range(len(made))]
    assert [item["samples"][0, 0] for item in items] == [2, 0, 12, 10]
    assert [item["label"] for item in items] == [6, 4, 6, 4]
    assert made.lengths().tolist() == [3, 5, 3, 5]
    seeds = [item["mix_seed"] for item in items]
    assert seeds == [made[i]["mix_seed"] for i in range(4)]
    made.epoch = 1
    assert len({*seeds, *(made[i]["mix_seed"] for i in range(4))}) == 8
    assert StatesDataset(STATES, np.array([0]), np.array([4, 5, 6]))[0]["mix_seed"] is None


def test_states_dataset_keeps_a_share_of_the_positions():
    long = [[np.arange(100, dtype=np.float16)[:, None] + np.zeros(2, np.float16)]]
    made = StatesDataset(long, np.array([0]), np.array([4]), seed=0, keep=0.4)
    seen = [made[0]["samples"][:, 0].tolist() for made.epoch in range(30)]
    assert all(len(set(positions)) == 40 for positions in seen)
    assert np.bincount(np.concatenate(seen).astype(int)).min() >= 1  # in thirty epochs, each is seen
    made.keep = 0.01
    assert len(made[0]["samples"]) == MIN_POSITIONS
    made.seed = None
    assert made[0]["samples"][:, 0].tolist() == list(range(100))


def test_states_dataset_shifts_between_group_means():
    groups, means = np.array([0, 1, 1]), np.array([[0, 0], [8, 4]], np.float32)
    made = StatesDataset(STATES, np.arange(3), np.array([4, 5, 6]), seed=0, groups=groups, means=means)
    for row, direction in ((0, 1), (2, -1)):
        shifts = np.stack([made[row]["samples"] - STATES[0][row] for made.epoch in range(50)])
        assert np.ptp(shifts, axis=1).max() < 0.01  # one shift for all positions
        amounts = direction * shifts[:, 0, 0]
        assert amounts.min() == 0
        assert 4 < amounts.max() <= 8.01
        assert np.allclose(shifts[..., 0], 2 * shifts[..., 1], atol=0.01)


def test_states_collator_cuts_to_the_shortest():
    made = StatesDataset(STATES, np.arange(3), np.array([4, 5, 6]), np.stack([CALM] * 3), seed=0)
    batch = StatesCollator(WHISPER, 8)([made[i] for i in (0, 1, 2)])
    assert (batch["input_features"].shape, batch["input_features"].dtype) == ((3, 3, 2), torch.float32)
    assert batch["input_features"][:, 0, 0].tolist() == [0, 1, 2]
    assert batch["masked"].tolist() == [CALM.tolist()] * 3


def test_weighted_sampler_draws_by_weight():
    weights = np.array([0.0, 1.0, 2.0, 5.0])
    sampler, other_seed = WeightedSampler(weights, 16, 79_990, seed=0), WeightedSampler(weights, 16, 79_990, seed=1)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 80_000  # whole batches
    assert np.bincount(drawn) / len(drawn) == pytest.approx(weights / 8, abs=0.01)
    assert drawn == list(sampler) != list(other_seed)
    sampler.epoch = 1
    assert drawn != list(sampler)


def test_weighted_sampler_batches_by_length():
    lengths = np.arange(100) % 4
    batches = np.reshape(list(WeightedSampler(np.ones(100), 8, 800, 0, lengths)), (100, 8))
    mixed = [len(set(lengths[batch])) > 1 for batch in batches]
    assert sum(mixed) <= 3  # where one length ends and the next begins
    assert len({lengths[batch][0] for batch in batches[:20]}) == 4  # batches themselves are shuffled


class Line(torch.nn.Module):
    """Two logits of a number, as a model for the Trainer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.classifier = torch.nn.Linear(1, 2)

    def forward(self, x):
        return SimpleNamespace(logits=self.classifier(x))


class Numbers(torch.utils.data.Dataset):
    """Numbers that follow the epoch, which is 0 to 2, and their labels."""

    epoch = 0

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"x": torch.tensor([index + 0.3 * self.epoch]), "labels": torch.eye(2)[index % 2]}


class StopError(RuntimeError):
    pass


def fit(folder, averaging, sampler=None, resume=None):
    """Train for 3 epochs of 4 steps with a checkpoint every 3; returns the weights after every step and the trainer."""
    steps = []

    class Remembered(EmotionTrainer):
        def training_step(self, *args, **kwargs):
            steps.append(self.model.classifier.weight.detach().clone())
            return super().training_step(*args, **kwargs)

    words = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "save_steps": 3, "save_strategy": "steps"}
    words |= {"lr_scheduler_type": "constant", "remove_unused_columns": False, "use_cpu": True, "report_to": "none"}
    args = TrainingArguments(str(folder), **words, disable_tqdm=True, logging_strategy="no")
    model = Line()
    optimizers = (torch.optim.SGD(model.parameters(), lr=0.1), None)
    trainer = Remembered(
        model, args, train_dataset=Numbers(), callbacks=[averaging], sampler=sampler, optimizers=optimizers
    )
    trainer.train(resume_from_checkpoint=resume)
    return steps, trainer


def test_average_weights_is_the_moving_average(tmp_path):
    class Last(AverageWeights):
        def on_train_end(self, args, state, control, model=None, **kwargs):
            self.last = model.classifier.weight.detach().clone()
            super().on_train_end(args, state, control, model=model, **kwargs)

    averaging = Last(0.8)
    steps, trainer = fit(tmp_path, averaging)
    average = steps[0]
    for weight in [*steps[1:], averaging.last]:
        average = 0.8 * average + 0.2 * weight
    assert torch.allclose(trainer.model.classifier.weight, average, atol=1e-6)
    assert not torch.allclose(averaging.last, average, atol=1e-3)


@pytest.mark.parametrize("weights", [None, np.arange(8.0)])
def test_resumed_training_ends_the_same(weights, tmp_path):
    """In the midst of the third epoch: its clips, draws and average are those of the unbroken run."""
    sampler = weights if weights is None else WeightedSampler(weights, 2, 8, 0)

    class Stopped(AverageWeights):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == 11:
                raise StopError

    _, whole = fit(tmp_path / "whole", AverageWeights(0.8), sampler)
    with pytest.raises(StopError):
        fit(tmp_path / "broken", Stopped(0.8), sampler)
    last = last_whole_checkpoint(tmp_path / "broken", averaged=True)
    assert last.endswith("checkpoint-9")
    if sampler:
        sampler.epoch = 0  # as in a new process
    steps, resumed = fit(tmp_path / "broken", AverageWeights(0.8, last), sampler, resume=last)
    assert len(steps) == 3
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_compute_metrics_takes_soft_labels():
    logits = np.eye(8) * 5
    results = compute_metrics(EvalPrediction(predictions=logits, label_ids=np.eye(8)[[0, 1, 2, 3, 4, 5, 6, 0]]))
    assert results["accuracy"] == pytest.approx(7 / 8)
    assert set(results) >= {"balanced_accuracy", "macro_f1", "ece", "nll"}


def make_checkpoint(folder, step, state="{}"):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    if state is not None:
        (checkpoint / "trainer_state.json").write_text(state)
    return checkpoint


def test_last_whole_checkpoint_is_the_newest(tmp_path):
    assert last_whole_checkpoint(tmp_path / "not there") is None
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 18)
    assert last_whole_checkpoint(tmp_path) == str(newest)
    assert last_whole_checkpoint(tmp_path, averaged=True) is None
    (make_checkpoint(tmp_path, 27) / AVERAGED).write_text("")
    assert last_whole_checkpoint(tmp_path, averaged=True) == str(tmp_path / "checkpoint-27")


@pytest.mark.parametrize("state", [None, "", '{"epoch": 1.'])
def test_last_whole_checkpoint_deletes_half_ones(state, tmp_path):
    before, half = make_checkpoint(tmp_path, 9), make_checkpoint(tmp_path, 18, state)
    assert last_whole_checkpoint(tmp_path) == str(before)
    assert not half.exists()
