"""Speed, pitch and stretch: each moves what it should and leaves the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment import add_noise, change_speed, shift_pitch, stretch_time
from tests.augment.measures import SPEECH, dominant_frequency, level
from tests.synthetic import tone


def harmonics(pitch, seconds=1.0):
    """A buzz like that of a voice: ten harmonics, of which the first is the strongest."""
    return sum(tone(seconds, frequency=k * pitch, level=0.2 / k) for k in range(1, 11))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_length_and_pitch_together(factor):
    note = tone(1.0)
    changed = change_speed(note, factor)
    assert changed.size == pytest.approx(note.size / factor, abs=2)
    assert dominant_frequency(changed) == pytest.approx(440 * factor, abs=2)
    assert change_speed(note, 1.0) is note


@pytest.mark.parametrize("pitch", [100, 220])
@pytest.mark.parametrize("semitones", [-5, -2, -0.5, 0.5, 2, 5])
def test_pitch_moves_by_the_semitones_asked_for(pitch, semitones):
    changed = shift_pitch(harmonics(pitch), semitones)
    assert changed.size == SAMPLE_RATE
    assert 12 * np.log2(dominant_frequency(changed) / pitch) == pytest.approx(semitones, abs=0.25)
    assert level(changed) == pytest.approx(level(harmonics(pitch)), abs=1)


@pytest.mark.parametrize("pitch", [100, 220])
@pytest.mark.parametrize("factor", [0.7, 0.95, 1.05, 1.4])
def test_stretch_leaves_the_pitch(pitch, factor):
    changed = stretch_time(harmonics(pitch), factor)
    assert changed.size == round(SAMPLE_RATE * factor)
    assert 12 * np.log2(dominant_frequency(changed) / pitch) == pytest.approx(0, abs=0.25)
    assert level(changed) == pytest.approx(level(harmonics(pitch)), abs=1)


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.2, 1.5])
def test_what_is_stretched_stays_in_its_place(factor):
    beeps, starts = np.zeros(3 * SAMPLE_RATE, np.float32), np.array([0.2, 1.0, 2.0, 2.8])
    for start in starts:
        beeps[round(start * SAMPLE_RATE) :][:800] = tone(0.05, frequency=300)

    def begins(samples):
        loud = np.convolve(np.abs(samples), np.ones(80) / 80, "same") > 0.02
        onsets = np.flatnonzero(np.diff(loud.astype(int)) == 1) / SAMPLE_RATE
        return onsets[np.insert(np.diff(onsets) > 0.3, 0, True)]  # a beep may be played twice where it is stretched

    assert begins(stretch_time(beeps, factor)) / factor == pytest.approx(starts, abs=0.02)
    assert begins(shift_pitch(beeps, 12 * np.log2(factor))) == pytest.approx(starts, abs=0.02)


@given(size=st.integers(4000, SPEECH.size), factor=st.floats(0.5, 2))
def test_nothing_is_lost_at_the_end(size, factor):
    samples = add_noise(SPEECH, 40, np.random.default_rng(0))[:size]  # so that no sample of it is zero
    for changed in (stretch_time(samples, factor), shift_pitch(samples, 12 * np.log2(factor))):
        assert changed[-20:].any()
