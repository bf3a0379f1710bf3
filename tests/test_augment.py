"""Augmented training clips: what is promised of each change, and that the same seed gives the same clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE, speech_span
from ser_hf.augment import Augmentation, add_noise, apply_gain, change_speed, vary_silence
from tests.synthetic import make_clip

CLIP = make_clip("happy", seconds=2.0)


def dominant_frequency(samples):
    return np.argmax(np.abs(np.fft.rfft(samples * np.hanning(samples.size)))) * SAMPLE_RATE / samples.size


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_length_and_pitch_together(factor):
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    changed = change_speed(tone, factor)
    assert changed.size == pytest.approx(tone.size / factor, abs=2)
    assert dominant_frequency(changed) == pytest.approx(440 * factor, abs=2)
    assert change_speed(tone, 1.0) is tone


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_noise_has_the_ratio_that_was_asked_for(snr_db, slope):
    noisy = add_noise(CLIP, snr_db, np.random.default_rng(0), slope)
    noise = noisy.astype(float) - CLIP
    measured = 10 * np.log10(np.mean(CLIP.astype(float) ** 2) / np.mean(noise**2))
    assert measured == pytest.approx(snr_db, abs=0.05)


def test_coloured_noise_falls_with_frequency():
    rng = np.random.default_rng(0)
    loud = np.full(2**15, 0.1, np.float32)
    spectrum = np.abs(np.fft.rfft(add_noise(loud, 0, rng, slope=2.0) - loud)) ** 2
    low, high = spectrum[100:200].mean(), spectrum[1600:3200].mean()
    assert low / high == pytest.approx(256, rel=0.4)  # four octaves at 6 dB


def test_silence_gets_no_noise():
    assert not add_noise(np.zeros(1000, np.float32), 10, np.random.default_rng(0)).any()


def test_gain_is_in_decibels_and_clips_as_a_recorder_does():
    assert apply_gain(np.float32([0.1, -0.2]), 6.0206) == pytest.approx([0.2, -0.4], rel=1e-4)
    assert apply_gain(np.float32([0.9]), 20) == 1.0


@given(seed=st.integers(0, 2**32 - 1))
def test_silence_around_the_voice_is_cut_and_the_voice_never(seed):
    start, end = speech_span(CLIP)
    kept = vary_silence(CLIP, np.random.default_rng(seed))
    assert end - start <= kept.size <= CLIP.size
    voice = CLIP[start:end]
    offset = next(i for i in range(start + 1) if np.array_equal(kept[i : i + voice.size], voice))
    assert offset <= start


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


def test_nothing_asked_for_changes_nothing():
    augment = Augmentation(speed=0, gain_db=0, noise_probability=0, silence_probability=0)
    assert augment(CLIP, np.random.default_rng(0)) is CLIP
