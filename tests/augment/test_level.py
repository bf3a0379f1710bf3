"""Gain, shift and silence: decibels as asked for, and no voice lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import speech_span
from ser_hf.augment import apply_gain, match_level, shift_time, vary_silence
from tests.augment.measures import CLIP, level


def test_shift_goes_round_and_loses_nothing():
    moved = shift_time(CLIP, 0.25)
    assert np.array_equal(moved[4000:], CLIP[:-4000])
    assert np.array_equal(moved[:4000], CLIP[-4000:])
    assert np.array_equal(shift_time(moved, -0.25), CLIP)


def test_gain_is_in_decibels_and_clips_as_a_recorder_does():
    assert apply_gain(np.float32([0.1, -0.2]), 6.0206) == pytest.approx([0.2, -0.4], rel=1e-4)
    assert apply_gain(np.float32([0.9]), 20) == 1.0


def test_level_is_matched_as_far_as_full_scale_allows():
    assert level(match_level(0.1 * CLIP, CLIP)) == pytest.approx(level(CLIP), abs=0.01)
    loud = match_level(CLIP, np.ones(10, np.float32))
    assert np.abs(loud).max() == pytest.approx(1)
    assert loud / np.abs(loud).max() == pytest.approx(CLIP / np.abs(CLIP).max(), abs=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
def test_silence_around_the_voice_is_cut_and_the_voice_never(seed):
    start, end = speech_span(CLIP)
    kept = vary_silence(CLIP, np.random.default_rng(seed))
    assert end - start <= kept.size <= CLIP.size
    voice = CLIP[start:end]
    offset = next(i for i in range(start + 1) if np.array_equal(kept[i : i + voice.size], voice))
    assert offset <= start
