"""Augmented training clips: what is promised of every change, and that the same seed gives the same clip."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ser_hf.augment
from ser_hf.augment import (
    CODECS,
    Augmentation,
    add_noise,
    add_room,
    apply_codec,
    apply_gain,
    change_speed,
    crop_speech,
    limit_band,
    set_level,
    shift_pitch,
    tilt_spectrum,
    vary_silence,
)
from tests.augment.measures import CLIP, SPEECH
from tests.synthetic import make_clip

EVERYTHING = Augmentation(
    noise_probability=0.5,
    pitch_semitones=3,
    room_probability=0.5,
    tilt_db=3,
    level_range_db=30,
    band_probability=0.5,
    codec_probability=0.5,
    crop_probability=0.5,
)


# name: (function of samples and generator, length of what it gives for n samples; None where that is random)
CHANGES = {
    "gain": (lambda x, rng: apply_gain(x, 6), lambda n: n),
    "level": (lambda x, rng: set_level(x, -20), lambda n: n),
    "silence": (vary_silence, None),
    "crop": (lambda x, rng: crop_speech(x, 0.05, rng), None),
    "noise": (lambda x, rng: add_noise(x, 5, rng, slope=rng.uniform(0, 2)), lambda n: n),
    "speed": (lambda x, rng: change_speed(x, 1.1), lambda n: n / 1.1),
    "pitch up": (lambda x, rng: shift_pitch(x, 3), lambda n: n),
    "pitch down": (lambda x, rng: shift_pitch(x, -12), lambda n: n),
    "room": (lambda x, rng: add_room(x, 0.4, 0, rng), lambda n: n),
    "tilt": (lambda x, rng: tilt_spectrum(x, -3), lambda n: n),
    "band": (lambda x, rng: limit_band(x), lambda n: n),
    **{name: (lambda x, rng, name=name: apply_codec(x, name), lambda n: n) for name in CODECS},
    "everything": (EVERYTHING, None),
}


@pytest.mark.parametrize("name", CHANGES)
@settings(max_examples=20)
@given(size=st.integers(0, 3000), seed=st.integers(0, 2**32 - 1), loudness=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 3.0]))
def test_changes_keep_the_contract_of_clips(name, size, seed, loudness):
    change, length = CHANGES[name]
    source = np.random.default_rng(seed)
    samples = (np.clip(loudness * source.standard_normal(size), -1, 1)).astype(np.float32)
    before = samples.copy()
    changed = change(samples, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    assert changed.ndim == 1
    assert np.isfinite(changed).all()
    if length:
        assert changed.size == pytest.approx(length(size), abs=1)
    if not loudness:
        assert np.abs(changed).max(initial=0) < 1e-3
    assert np.array_equal(samples, before)  # the clip of the corpus is used again in the next epoch
    change(CLIP, np.random.default_rng(1))  # what was changed in between leaves no trace
    assert np.array_equal(changed, change(samples, np.random.default_rng(seed)))


# So that nobody changes training clips in passing: length, mean level, a sum with random signs, the next random number.
TODAY = [
    (49200, 0.007367078, -0.8371819, 0.76291665),
    (43056, 0.008671289, 2.134349, 0.285937439),
    (47611, 0.01291198, 2.489721, 0.187901073),
    (43187, 0.006008148, -1.906943, 0.304518919),
    (46829, 0.004924196, 0.3675872, 0.607355832),
    (44212, 0.006516799, 2.355808, 0.053930702),
]


@pytest.mark.parametrize(("seed", "expected"), list(enumerate(TODAY)))
def test_default_augmentation_is_reproducible(seed, expected):
    rng = np.random.default_rng(seed)
    changed = Augmentation()(SPEECH, rng)
    signs = np.where(np.arange(changed.size) * 2654435761 % 2**32 < 2**31, 1.0, -1.0)
    size, mean, signed, following = expected
    assert changed.size == size
    assert np.abs(changed).mean() == pytest.approx(mean, rel=1e-5)
    assert changed @ signs == pytest.approx(signed, abs=1e-4)
    assert rng.random() == pytest.approx(following, abs=1e-8)


FIELDS = dataclasses.fields(Augmentation)
LONG = make_clip("happy", seconds=4.0)  # more speech than any crop keeps
OFF = Augmentation(speed=0, gain_db=0, noise_probability=0, silence_probability=0)


def test_augmentation_of_zeros_changes_nothing():
    assert OFF(CLIP, np.random.default_rng(0)) is CLIP


@pytest.mark.parametrize(
    ("fields", "function"),
    [
        ({"silence_probability": 1.0}, "vary_silence"),
        ({"speed": 0.1}, "change_speed"),
        ({"pitch_semitones": 2.0}, "shift_pitch"),
        ({"room_probability": 1.0}, "add_room"),
        ({"noise_probability": 1.0}, "add_noise"),
        ({"tilt_db": 3.0}, "tilt_spectrum"),
        ({"gain_db": 6.0}, "apply_gain"),
        ({"level_range_db": 20.0}, "set_level"),
        ({"band_probability": 1.0}, "limit_band"),
        ({"codec_probability": 1.0}, "apply_codec"),
        ({"crop_probability": 1.0}, "crop_speech"),
    ],
)
def test_each_field_does_its_change_within_its_range(fields, function, monkeypatch):
    calls = []
    original = getattr(ser_hf.augment, function)
    bind = inspect.signature(original).bind

    def spy(*args, **kwargs):
        calls.append(bind(*args, **kwargs).arguments)
        return original(*args, **kwargs)

    monkeypatch.setattr(ser_hf.augment, function, spy)
    augment = dataclasses.replace(OFF, **fields)
    for seed in range(20):
        assert not np.array_equal(augment(LONG, np.random.default_rng(seed)), LONG)
    assert len(calls) == 20
    bounds = {
        "factor": (0.9, 1.1),
        "semitones": (-2, 2),
        "seconds": ser_hf.augment.CROP_SECONDS,
        "gain_db": (-6, 6),
        "db_per_octave": (-3, 3),
        "level_db": (-38, -18),
        "snr_db": ser_hf.augment.SNR_DB,
        "slope": (0, 2),
        "rt60": ser_hf.augment.ROOM_RT60,
        "drr_db": ser_hf.augment.ROOM_DRR_DB,
        "low_hz": ser_hf.augment.BAND_LOW_HZ,
        "high_hz": ser_hf.augment.BAND_HIGH_HZ,
    }
    for name in set(calls[0]) & set(bounds):
        drawn = [call[name] for call in calls]
        low, high = bounds[name]
        assert low <= min(drawn) < max(drawn) <= high
        assert max(drawn) - min(drawn) > (high - low) / 2
    if function == "apply_codec":
        assert {call["codec"] for call in calls} == set(CODECS)
        assert len({(call["codec"], call["bit_rate"]) for call in calls}) > len(CODECS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speed": 1.0}, "speed must be a number between 0 and 0.9, not 1.0"),
        ({"pitch_semitones": 13}, "pitch_semitones must be a number between 0 and 12, not 13"),
        ({"noise_probability": -0.1}, "noise_probability must"),
        ({"room_probability": "often"}, "room_probability must be a number between 0 and 1, not 'often'"),
        ({"gain_db": float("nan")}, "gain_db must"),
        ({"level_range_db": 60}, "level_range_db must be a number between 0 and 56, not 60"),
        ({"tilt_db": 13}, "tilt_db must be a number between 0 and 12, not 13"),
        ({"crop_probability": 2}, "crop_probability must"),
    ],
)
def test_fields_out_of_range_are_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**fields)
