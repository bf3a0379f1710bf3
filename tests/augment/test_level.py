"""Gain, shift and silence: decibels as asked for, and no voice lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import speech_span
from ser_hf.augment import apply_gain, crop_speech, match_level, set_level, shift_time, vary_silence
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


@given(recorded_db=st.floats(-60, 0), wanted_db=st.floats(-60, -30))
def test_the_voice_is_as_loud_as_asked_however_loud_it_was_recorded(recorded_db, wanted_db):
    start, end = speech_span(CLIP)
    changed = set_level(apply_gain(CLIP, recorded_db), wanted_db)
    assert level(changed[start:end]) == pytest.approx(wanted_db, abs=0.01)
    assert np.array_equal(changed, changed.astype(np.float32))


def test_what_is_louder_than_full_scale_is_clipped_and_silence_stays_silence():
    assert np.abs(set_level(CLIP, 0)).max() == 1
    silence = np.zeros(100, np.float32)
    assert np.array_equal(set_level(silence, -20), silence)
    assert set_level(silence[:0], -20).size == 0


@given(seed=st.integers(0, 2**32 - 1))
def test_silence_around_the_voice_is_cut_and_the_voice_never(seed):
    start, end = speech_span(CLIP)
    kept = vary_silence(CLIP, np.random.default_rng(seed))
    assert end - start <= kept.size <= CLIP.size
    voice = CLIP[start:end]
    offset = next(i for i in range(start + 1) if np.array_equal(kept[i : i + voice.size], voice))
    assert offset <= start


@given(seed=st.integers(0, 2**32 - 1), seconds=st.floats(0.1, 2))
def test_crop_speech_stays_within_speech(seed, seconds):
    start, end = speech_span(CLIP)
    cropped, length = crop_speech(CLIP, seconds, np.random.default_rng(seed)), round(seconds * 16_000)
    if length >= end - start:
        assert cropped is CLIP
        return
    assert cropped.size == length
    offset = (cropped.__array_interface__["data"][0] - CLIP.__array_interface__["data"][0]) // CLIP.itemsize
    assert start <= offset <= offset + length <= end
    assert np.array_equal(cropped, crop_speech(CLIP, seconds, np.random.default_rng(seed)))


def test_crop_speech_reaches_both_ends():
    start, end = speech_span(CLIP)
    rng = np.random.default_rng(0)
    seconds = (end - start - 1) / 16_000  # two places are possible
    found = [crop_speech(CLIP, seconds, rng) for _ in range(20)]
    assert {one.tobytes() for one in found} == {CLIP[start : end - 1].tobytes(), CLIP[start + 1 : end].tobytes()}
