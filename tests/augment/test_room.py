"""Rooms and bands: reverberation as asked for; loudness and place are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment import add_room, limit_band, room_response, tilt_spectrum
from tests.augment.measures import SPEECH, delay, level
from tests.synthetic import tone


@given(rt60=st.floats(0.1, 2), drr_db=st.floats(-10, 20), seed=st.integers(0, 2**32 - 1))
def test_a_room_has_the_reverberation_that_was_asked_for(rt60, drr_db, seed):
    response = room_response(rt60, drr_db, np.random.default_rng(seed)).astype(float)
    direct, tail = response[0], response[1:]
    assert direct == 1
    assert -10 * np.log10(np.sum(tail**2)) == pytest.approx(drr_db, abs=0.05)
    # Schroeder's method: what is still to come falls in a straight line; from -5 to -25 dB is a third of it.
    remaining = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])
    remaining -= remaining[0]
    third = (np.argmax(remaining < -25) - np.argmax(remaining < -5)) / SAMPLE_RATE
    assert 3 * third == pytest.approx(rt60, rel=0.25)


@given(seed=st.integers(0, 2**32 - 1), rt60=st.floats(0.1, 1.5), drr_db=st.floats(-6, 20))
def test_a_room_keeps_loudness_and_place(seed, rt60, drr_db):
    changed = add_room(SPEECH, rt60, drr_db, np.random.default_rng(seed))
    assert level(changed) == pytest.approx(level(SPEECH), abs=0.1)
    assert abs(delay(changed, SPEECH)) <= (1 if drr_db > 3 else 800)  # reflections may be louder than the voice
    assert np.abs(changed).max() <= 1


@pytest.mark.parametrize("slope", [-6, 3])
def test_a_tilt_weighs_octaves_in_a_straight_line(slope):
    notes = {hertz: tone(frequency=hertz) for hertz in (50, 100, 500, 1000, 2000, 4000)}
    mixed = tilt_spectrum(sum(notes.values()) / 8, slope)
    times = np.arange(mixed.size) / SAMPLE_RATE
    heard = {hertz: 20 * np.log10(np.abs(np.mean(mixed * np.exp(-2j * np.pi * hertz * times)))) for hertz in notes}
    for hertz, octaves in ((500, -1), (2000, 1), (4000, 2), (100, -np.log2(10)), (50, -np.log2(10))):
        assert heard[hertz] - heard[1000] == pytest.approx(slope * octaves, abs=0.3)


@given(slope=st.floats(-6, 6))
def test_a_tilt_keeps_loudness_and_place(slope):
    changed = tilt_spectrum(SPEECH, slope)
    assert changed.dtype == np.float32
    assert level(changed) == pytest.approx(level(SPEECH), abs=0.1)
    assert abs(delay(changed, SPEECH)) <= 1


def test_a_band_is_kept_and_the_rest_is_not():
    def loss(hertz):
        note = tone(frequency=hertz)
        return level(note) - level(limit_band(note)[2000:-2000])  # a note that starts at once is no single frequency

    assert loss(1000) == pytest.approx(0, abs=0.1)
    assert loss(300) == pytest.approx(6, abs=0.5)
    assert loss(3400) == pytest.approx(6, abs=0.5)
    assert loss(100) > 60
    assert loss(6000) > 60
    assert delay(limit_band(SPEECH), SPEECH) == 0
