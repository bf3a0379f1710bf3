"""Noise and babble: at the ratio that was asked for, and of what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment import add_babble, add_noise
from tests.augment.measures import CLIP, VOICES, level
from tests.synthetic import tone


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_noise_has_the_ratio_that_was_asked_for(snr_db, slope):
    noisy = add_noise(CLIP, snr_db, np.random.default_rng(0), slope)
    assert level(CLIP) - level(noisy.astype(float) - CLIP) == pytest.approx(snr_db, abs=0.05)


def test_coloured_noise_falls_with_frequency():
    rng = np.random.default_rng(0)
    loud = np.full(2**15, 0.1, np.float32)
    spectrum = np.abs(np.fft.rfft(add_noise(loud, 0, rng, slope=2.0) - loud)) ** 2
    flat, low, high = (spectrum[a:b].mean() for a, b in ((1, 100), (200, 400), (3200, 6400)))
    assert low / high == pytest.approx(256, rel=0.4)  # four octaves at 6 dB
    assert flat / low == pytest.approx(8, rel=0.4)  # no more at 0 than at 50 Hz, which is bin 102


def test_coloured_noise_has_the_ratio_on_lengths_that_its_transform_does_not_like():
    clip = np.random.default_rng(0).normal(size=10_007).astype(np.float32) / 10  # a prime
    noisy = add_noise(clip, 10, np.random.default_rng(0), slope=1.0)
    assert level(clip) - level(noisy.astype(float) - clip) == pytest.approx(10, abs=0.05)


def test_silence_gets_no_noise():
    assert not add_noise(np.zeros(1000, np.float32), 10, np.random.default_rng(0)).any()


@given(snr_db=st.floats(-10, 40), n_voices=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_babble_has_the_ratio_that_was_asked_for(snr_db, n_voices, seed):
    noisy = add_babble(CLIP, snr_db, np.random.default_rng(seed), VOICES, n_voices)
    assert level(CLIP) - level(noisy.astype(float) - CLIP) == pytest.approx(snr_db, abs=0.1)


def test_babble_is_made_of_the_voices_given():
    low, high = tone(1.0, frequency=500), tone(0.5, frequency=2000, level=0.01)
    babble = add_babble(tone(2.0, frequency=5000), 0, np.random.default_rng(0), [low, high], 8)
    power = np.abs(np.fft.rfft(babble)) ** 2  # half a hertz a bin
    heard = {hertz: power[2 * hertz - 20 : 2 * hertz + 20].sum() for hertz in (500, 2000, 5000)}
    assert sum(heard.values()) > 0.95 * power.sum()
    assert min(heard.values()) > 0.02 * power.sum()  # the quiet voice speaks as loudly as the other
    silent = add_babble(CLIP, 0, np.random.default_rng(0), [np.zeros(100, np.float32)])
    assert np.array_equal(silent, CLIP)
    with pytest.raises(ValueError, match="at least one clip"):
        add_babble(CLIP, 0, np.random.default_rng(0), [])
    with pytest.raises(ValueError, match=r"clip 0 .* is empty"):
        add_babble(CLIP, 0, np.random.default_rng(0), [np.zeros(0, np.float32)])


def test_babble_never_pauses():
    voice = np.concatenate([np.zeros(SAMPLE_RATE), tone(0.25), np.zeros(SAMPLE_RATE)]).astype(np.float32)
    note = tone(3.0, frequency=5000)
    babble = add_babble(note, 0, np.random.default_rng(0), [voice], 1) - note
    frames = babble[: babble.size // 1600 * 1600].reshape(-1, 1600)
    assert min(level(frame) for frame in frames) == pytest.approx(level(babble), abs=2)
