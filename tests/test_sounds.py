"""Sounds without speech: of the length and level that is promised, by seed, and of their kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.sounds import PEAKS, SOUNDS, make_sound
from ser_hf.audio import SAMPLE_RATE


@given(kind=st.sampled_from([None, *SOUNDS]), size=st.integers(1, 40_000), seed=st.integers(0, 2**32 - 1))
def test_make_sound_has_its_length_and_level(kind, size, seed):
    made = make_sound(size, np.random.default_rng(seed), kind)
    assert (made.shape, made.dtype) == ((size,), np.float32)
    peak = np.abs(made).max()
    assert peak == 0 or PEAKS[0] * 0.999 <= peak <= PEAKS[1] * 1.001


@pytest.mark.parametrize("kind", SOUNDS)
def test_make_sound_is_reproducible_by_seed(kind):
    one, again, other = (make_sound(16_000, np.random.default_rng(seed), kind) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.abs(one).max() > 0


def flatness(samples):
    """Geometric over arithmetic mean of the spectrum: 1 for white noise, near 0 for tones (Wiener entropy)."""
    power = np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2 + 1e-20
    return np.exp(np.log(power).mean()) / power.mean()


def test_tones_have_lines_and_noise_has_none():
    typical = {
        kind: np.median([flatness(make_sound(SAMPLE_RATE, np.random.default_rng(seed), kind)) for seed in range(20)])
        for kind in ("noise", "tones", "signals", "music")
    }
    assert typical["noise"] > 10 * max(typical[kind] for kind in ("tones", "signals"))
    assert typical["noise"] > typical["music"]
