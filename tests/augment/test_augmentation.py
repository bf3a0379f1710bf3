"""Augmented training clips: what is promised of every change, and that the same seed gives the same clip."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ser_hf.augment
from ser_hf.audio import speech_span
from ser_hf.augment import (
    CODECS,
    Augmentation,
    add_babble,
    add_noise,
    add_room,
    apply_codec,
    apply_gain,
    change_speed,
    crop_speech,
    limit_band,
    set_level,
    shift_pitch,
    shift_time,
    stretch_time,
    tilt_spectrum,
    vary_silence,
)
from tests.augment.measures import CLIP, SPEECH, VOICES

EVERYTHING = Augmentation(
    noise_probability=0.5,
    pitch_semitones=3,
    stretch=0.2,
    shift=0.5,
    room_probability=0.5,
    tilt_db=3,
    level_range_db=30,
    band_probability=0.5,
    codec_probability=0.5,
    crop_probability=0.5,
    crop_seconds=(0.1, 0.15),
)


# name: (function of samples and generator, length of what it gives for n samples; None where that is random)
CHANGES = {
    "gain": (lambda x, rng: apply_gain(x, 6), lambda n: n),
    "level": (lambda x, rng: set_level(x, -20), lambda n: n),
    "silence": (vary_silence, None),
    "crop": (lambda x, rng: crop_speech(x, 0.05, rng), None),
    "shift": (lambda x, rng: shift_time(x, rng.uniform(-1, 1)), lambda n: n),
    "noise": (lambda x, rng: add_noise(x, 5, rng, slope=rng.uniform(0, 2)), lambda n: n),
    "babble": (lambda x, rng: add_babble(x, 5, rng, VOICES), lambda n: n),
    "speed": (lambda x, rng: change_speed(x, 1.1), lambda n: n / 1.1),
    "pitch up": (lambda x, rng: shift_pitch(x, 3), lambda n: n),
    "pitch down": (lambda x, rng: shift_pitch(x, -12), lambda n: n),
    "longer": (lambda x, rng: stretch_time(x, 1.3), lambda n: 1.3 * n),
    "shorter": (lambda x, rng: stretch_time(x, 0.5), lambda n: 0.5 * n),
    "room": (lambda x, rng: add_room(x, 0.4, 0, rng), lambda n: n),
    "tilt": (lambda x, rng: tilt_spectrum(x, -3), lambda n: n),
    "band": (lambda x, rng: limit_band(x), lambda n: n),
    **{name: (lambda x, rng, name=name: apply_codec(x, name), lambda n: n) for name in CODECS},
    "everything": (EVERYTHING, None),
}


@pytest.mark.parametrize("name", CHANGES)
@given(size=st.integers(0, 3000), seed=st.integers(0, 2**32 - 1), loudness=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 3.0]))
def test_any_clip_gives_a_clip_of_the_right_length_and_the_same_seed_the_same_clip(name, size, seed, loudness):
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
    (49200, 0.007403068, -0.830395, 0.76291665),
    (43056, 0.008720091, 2.127318, 0.285937439),
    (47611, 0.01297834, 2.489778, 0.187901073),
    (43187, 0.006031268, -1.91392, 0.304518919),
    (46829, 0.004950054, 0.370309, 0.607355832),
    (44212, 0.006553255, 2.357945, 0.053930702),
]


@pytest.mark.parametrize(("seed", "expected"), list(enumerate(TODAY)))
def test_the_default_gives_the_samples_that_it_always_gave(seed, expected):
    rng = np.random.default_rng(seed)
    changed = Augmentation()(SPEECH, rng)
    signs = np.where(np.arange(changed.size) * 2654435761 % 2**32 < 2**31, 1.0, -1.0)
    size, mean, signed, following = expected
    assert changed.size == size
    assert np.abs(changed).mean() == pytest.approx(mean, rel=1e-5)
    assert changed @ signs == pytest.approx(signed, abs=1e-4)
    assert rng.random() == pytest.approx(following, abs=1e-8)


@given(seed=st.integers(0, 2**32 - 1))
def test_every_version_is_sound_that_a_model_can_take_and_comes_back_with_its_seed(seed):
    augment = Augmentation(noise_probability=0.5)
    changed = augment(CLIP, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    assert changed.ndim == 1
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() <= 1
    start, end = speech_span(CLIP)
    assert (end - start) / 1.1 - 2 <= changed.size <= CLIP.size / 0.9 + 2
    assert np.array_equal(changed, augment(CLIP, np.random.default_rng(seed)))


OFF = Augmentation(speed=0, gain_db=0, noise_probability=0, silence_probability=0)


def test_nothing_asked_for_changes_nothing():
    assert OFF(CLIP, np.random.default_rng(0)) is CLIP


@pytest.mark.parametrize(
    ("fields", "function"),
    [
        ({"silence_probability": 1.0}, "vary_silence"),
        ({"speed": 0.1}, "change_speed"),
        ({"pitch_semitones": 2.0}, "shift_pitch"),
        ({"stretch": 0.1}, "stretch_time"),
        ({"shift": 0.1}, "shift_time"),
        ({"room_probability": 1.0}, "add_room"),
        ({"noise_probability": 1.0}, "add_noise"),
        ({"tilt_db": 3.0}, "tilt_spectrum"),
        ({"gain_db": 6.0}, "apply_gain"),
        ({"level_range_db": 20.0}, "set_level"),
        ({"band_probability": 1.0}, "limit_band"),
        ({"codec_probability": 1.0}, "apply_codec"),
        ({"crop_probability": 1.0, "crop_seconds": (0.1, 0.9)}, "crop_speech"),
    ],
)
def test_each_field_does_its_own_change_within_its_range(fields, function, monkeypatch):
    calls = []
    original = getattr(ser_hf.augment, function)
    bind = inspect.signature(original).bind

    def spy(*args, **kwargs):
        calls.append(bind(*args, **kwargs).arguments)
        return original(*args, **kwargs)

    monkeypatch.setattr(ser_hf.augment, function, spy)
    augment = dataclasses.replace(OFF, **fields)
    for seed in range(20):
        assert not np.array_equal(augment(CLIP, np.random.default_rng(seed)), CLIP)
    assert len(calls) == 20
    bounds = {
        "factor": (0.9, 1.1),
        "semitones": (-2, 2),
        "seconds": augment.crop_seconds if augment.crop_probability else (-0.1, 0.1),
        "gain_db": (-6, 6),
        "db_per_octave": (-3, 3),
        "level_db": (-38, -18),
        "snr_db": augment.snr_db,
        "slope": (0, 2),
        "rt60": augment.room_rt60,
        "drr_db": augment.room_drr_db,
        "low_hz": augment.band_low_hz,
        "high_hz": augment.band_high_hz,
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
        ({"stretch": 0.6}, "stretch must"),
        ({"pitch_semitones": 13}, "pitch_semitones must be a number between 0 and 12, not 13"),
        ({"noise_probability": -0.1}, "noise_probability must"),
        ({"room_probability": "often"}, "room_probability must be a number between 0 and 1, not 'often'"),
        ({"gain_db": float("nan")}, "gain_db must"),
        ({"level_range_db": 60}, "level_range_db must be a number between 0 and 56, not 60"),
        ({"tilt_db": 13}, "tilt_db must be a number between 0 and 12, not 13"),
        ({"snr_db": (20, 10)}, r"snr_db must be two rising numbers within -60 and 120, not \(20, 10\)"),
        ({"room_rt60": 0.5}, "room_rt60 must be two rising numbers"),
        ({"band_low_hz": (50, 4000)}, "band_low_hz must end below band_high_hz"),
        ({"codecs": ("mp3", "mp4")}, "codecs must be a list of some of mu-law, amr, opus, mp3"),
        ({"codecs": ()}, "codecs must"),
        ({"crop_probability": 2}, "crop_probability must"),
        ({"crop_seconds": (0.05, 1)}, "crop_seconds must"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**fields)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shift_pitch(CLIP, 12.5), "up to 12 semitones either way, not 12.5"),
        (lambda: stretch_time(CLIP, 2.5), "stretched by 0.5 to 2, not 2.5"),
        (lambda: limit_band(CLIP, 300, 8000), "between 0 and 8000 Hz, not from 300 to 8000 Hz"),
        (lambda: limit_band(CLIP, 3400, 300), "not from 3400 to 300 Hz"),
        (lambda: add_room(CLIP, 0, 0, np.random.default_rng(0)), "reverberation time is 0.05 to 5 s"),
        (lambda: apply_codec(CLIP, "vinyl"), "no codec 'vinyl'; there are: mu-law, amr, opus, mp3"),
        (lambda: apply_codec(CLIP, "opus", 1000), "opus is used with 8000 to 16000 bits a second here, not 1000"),
    ],
)
def test_settings_out_of_range_are_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
