"""Two utterances joined: what is kept of them, how long, and where."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.augment.join import join_utterances

RATE, WINDOW = 16_000, 64_000


def tone(seconds: float, hertz: float, silence: float = 0.5) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return np.pad(0.3 * np.sin(2 * np.pi * hertz * t), int(silence * RATE)).astype(np.float32)


def share_of(samples: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    near = np.abs(np.fft.rfftfreq(samples.size, 1 / RATE) - hertz) < 30
    return power[near].sum() / power.sum()


@given(seed=st.integers(0, 2**32 - 1), first=st.floats(0.1, 5), second=st.floats(0.1, 5))
def test_joined_clips_fit_the_window_and_hold_speech(seed, first, second):
    one, two = tone(first, 300), tone(second, 1200)
    joined = join_utterances(one, two, WINDOW, np.random.default_rng(seed))
    assert joined.dtype == np.float32
    assert 0 < joined.size <= WINDOW
    assert np.abs(joined).max() > 0.2
    again = join_utterances(one, two, WINDOW, np.random.default_rng(seed))
    assert np.array_equal(joined, again)


def test_joined_clips_vary_and_hold_both_utterances():
    one, two = tone(1.5, 300), tone(1.5, 1200)
    joined = [join_utterances(one, two, WINDOW, np.random.default_rng(seed)) for seed in range(60)]
    voiced = np.array([np.ptp(np.flatnonzero(np.abs(h) > 0.1)) / RATE for h in joined])
    assert voiced.min() < 1.5
    assert voiced.max() > 3
    both = [share_of(h, 300) > 0.05 and share_of(h, 1200) > 0.05 for h in joined]
    assert 0.4 < np.mean(both) < 1
    at_once = np.mean([np.abs(h[:200]).max() > 0.1 for h in joined])
    assert 0.3 < at_once < 0.7


def test_join_leaves_out_surrounding_silence():
    joined = join_utterances(tone(1, 300, 3), tone(1, 300, 3), WINDOW, np.random.default_rng(1))
    loud = np.flatnonzero(np.abs(joined) > 0.05)
    assert np.diff(loud).max() < 0.6 * RATE
