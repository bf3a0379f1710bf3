"""Each change of a waveform does what its arguments say, and leaves the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE, speech_span
from ser_hf.augment import (
    CODECS,
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
from ser_hf.augment.level import match_level
from ser_hf.augment.room import room_response
from tests.augment.measures import CLIP, SPEECH, delay, dominant_frequency, level
from tests.synthetic import tone

SEEDS = st.integers(0, 2**32 - 1)
# name: (change of speech, how much its level may change in dB, samples by which its voice may move)
IN_PLACE = {
    "room": (lambda rng: add_room(SPEECH, rng.uniform(0.1, 1.5), rng.uniform(3, 20), rng), 0.1, 1),
    "tilt": (lambda rng: tilt_spectrum(SPEECH, rng.uniform(-6, 6)), 0.1, 1),
    "band": (lambda rng: limit_band(SPEECH), 3, 0),
    **{
        f"{codec} at {rate}": (lambda rng, codec=codec, rate=rate: apply_codec(SPEECH, codec, rate), 2, 3)
        for codec, settings in CODECS.items()
        for rate in settings.bit_rates
    },
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("seed", range(3))
def test_changes_keep_level_and_place(name, seed):
    change, decibels, samples = IN_PLACE[name]
    changed = change(np.random.default_rng(seed))
    assert level(changed) == pytest.approx(level(SPEECH), abs=decibels)
    assert abs(delay(changed, SPEECH)) <= samples
    assert np.abs(changed).max() <= 1
    assert -40 < level(changed - SPEECH) - level(SPEECH) < 3  # still a voice, but other samples


def offset(part):
    """Where in `CLIP` a view of it begins."""
    return (part.__array_interface__["data"][0] - CLIP.__array_interface__["data"][0]) // CLIP.itemsize


class TestLevel:
    def test_apply_gain_is_in_decibels_and_clips(self):
        assert apply_gain(np.float32([0.1, -0.2]), 6.0206) == pytest.approx([0.2, -0.4], rel=1e-4)
        assert apply_gain(np.float32([0.9]), 20) == 1.0

    def test_match_level_stops_at_full_scale(self):
        assert level(match_level(0.1 * CLIP, CLIP)) == pytest.approx(level(CLIP), abs=0.01)
        loud = match_level(CLIP, np.ones(10, np.float32))
        assert np.abs(loud).max() == pytest.approx(1)
        assert loud / np.abs(loud).max() == pytest.approx(CLIP / np.abs(CLIP).max(), abs=1e-5)

    @given(recorded_db=st.floats(-60, 0), wanted_db=st.floats(-60, -30))
    def test_set_level_ignores_the_recorded_level(self, recorded_db, wanted_db):
        start, end = speech_span(CLIP)
        changed = set_level(apply_gain(CLIP, recorded_db), wanted_db)
        assert level(changed[start:end]) == pytest.approx(wanted_db, abs=0.01)

    @given(seed=SEEDS)
    def test_vary_silence_never_cuts_speech(self, seed):
        start, end = speech_span(CLIP)
        kept = vary_silence(CLIP, np.random.default_rng(seed))
        assert 0 <= offset(kept) <= start
        assert end <= offset(kept) + kept.size <= CLIP.size

    @given(seed=SEEDS, seconds=st.floats(0.1, 2))
    def test_crop_speech_stays_within_speech(self, seed, seconds):
        start, end = speech_span(CLIP)
        cropped, length = crop_speech(CLIP, seconds, np.random.default_rng(seed)), round(seconds * SAMPLE_RATE)
        if length >= end - start:
            assert cropped is CLIP
            return
        assert cropped.size == length
        assert start <= offset(cropped) <= end - length

    def test_crop_speech_reaches_both_ends(self):
        start, end = speech_span(CLIP)
        rng = np.random.default_rng(0)
        seconds = (end - start - 1) / SAMPLE_RATE  # two places are possible
        found = [crop_speech(CLIP, seconds, rng) for _ in range(20)]
        assert {one.tobytes() for one in found} == {CLIP[start : end - 1].tobytes(), CLIP[start + 1 : end].tobytes()}


class TestNoise:
    @pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
    @pytest.mark.parametrize("snr_db", [0, 30])
    @pytest.mark.parametrize("clip", [CLIP, CLIP[:10_007]])  # a prime, for which no fast transform exists
    def test_add_noise_has_the_given_snr(self, clip, snr_db, slope):
        noisy = add_noise(clip, snr_db, np.random.default_rng(0), slope)
        assert level(clip) - level(noisy.astype(float) - clip) == pytest.approx(snr_db, abs=0.05)

    def test_coloured_noise_falls_with_frequency(self):
        rng = np.random.default_rng(0)
        loud = np.full(2**15, 0.1, np.float32)
        spectrum = np.abs(np.fft.rfft(add_noise(loud, 0, rng, slope=2.0) - loud)) ** 2
        flat, low, high = (spectrum[a:b].mean() for a, b in ((1, 100), (200, 400), (3200, 6400)))
        assert low / high == pytest.approx(256, rel=0.4)  # four octaves at 6 dB
        assert flat / low == pytest.approx(8, rel=0.4)  # no more at 0 than at 50 Hz, which is bin 102


class TestPitch:
    @staticmethod
    def harmonics(pitch):
        """A buzz like that of a voice: ten harmonics, of which the first is the strongest."""
        return sum(tone(1.0, frequency=k * pitch, level=0.2 / k) for k in range(1, 11))

    @pytest.mark.parametrize("factor", [0.9, 1.1])
    def test_change_speed_moves_length_and_pitch(self, factor):
        note = tone(1.0)
        changed = change_speed(note, factor)
        assert changed.size == pytest.approx(note.size / factor, abs=2)
        assert dominant_frequency(changed) == pytest.approx(440 * factor, abs=2)
        assert change_speed(note, 1.0) is note

    @pytest.mark.parametrize("pitch", [100, 220])
    @pytest.mark.parametrize("semitones", [-5, -0.5, 2])
    def test_shift_pitch_moves_by_semitones(self, pitch, semitones):
        changed = shift_pitch(self.harmonics(pitch), semitones)
        assert changed.size == SAMPLE_RATE
        assert 12 * np.log2(dominant_frequency(changed) / pitch) == pytest.approx(semitones, abs=0.25)
        assert level(changed) == pytest.approx(level(self.harmonics(pitch)), abs=1)

    @pytest.mark.parametrize("factor", [0.6, 1.5])
    def test_shift_pitch_keeps_places(self, factor):
        beeps, starts = np.zeros(3 * SAMPLE_RATE, np.float32), np.array([0.2, 1.0, 2.0, 2.8])
        for start in starts:
            beeps[round(start * SAMPLE_RATE) :][:800] = tone(0.05, frequency=300)
        loud = np.convolve(np.abs(shift_pitch(beeps, 12 * np.log2(factor))), np.ones(80) / 80, "same") > 0.02
        onsets = np.flatnonzero(np.diff(loud.astype(int)) == 1) / SAMPLE_RATE
        onsets = onsets[np.insert(np.diff(onsets) > 0.3, 0, True)]  # a beep may be played twice
        assert onsets == pytest.approx(starts, abs=0.02)

    @given(size=st.integers(4000, SPEECH.size), semitones=st.floats(-12, 12))
    def test_shift_pitch_loses_nothing_at_the_end(self, size, semitones):
        samples = add_noise(SPEECH, 40, np.random.default_rng(0))[:size]  # so that no sample of it is zero
        assert shift_pitch(samples, semitones)[-20:].any()


class TestRoom:
    @given(rt60=st.floats(0.1, 2), drr_db=st.floats(-10, 20), seed=SEEDS)
    def test_room_response_has_its_reverberation(self, rt60, drr_db, seed):
        response = room_response(rt60, drr_db, np.random.default_rng(seed)).astype(float)
        direct, tail = response[0], response[1:]
        assert direct == 1
        assert -10 * np.log10(np.sum(tail**2)) == pytest.approx(drr_db, abs=0.05)
        # Schroeder's method: what is still to come falls in a straight line; from -5 to -25 dB is a third of it.
        remaining = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])
        remaining -= remaining[0]
        third = (np.argmax(remaining < -25) - np.argmax(remaining < -5)) / SAMPLE_RATE
        assert 3 * third == pytest.approx(rt60, rel=0.25)

    @pytest.mark.parametrize("slope", [-6, 3])
    def test_tilt_spectrum_weighs_octaves_linearly(self, slope):
        notes = {hertz: tone(frequency=hertz) for hertz in (50, 100, 500, 1000, 2000, 4000)}
        mixed = tilt_spectrum(sum(notes.values()) / 8, slope)
        times = np.arange(mixed.size) / SAMPLE_RATE
        measured = {
            hertz: 20 * np.log10(np.abs(np.mean(mixed * np.exp(-2j * np.pi * hertz * times)))) for hertz in notes
        }
        for hertz, octaves in ((500, -1), (2000, 1), (4000, 2), (100, -np.log2(10)), (50, -np.log2(10))):
            assert measured[hertz] - measured[1000] == pytest.approx(slope * octaves, abs=0.3)

    @pytest.mark.parametrize(
        ("hertz", "low", "high"), [(1000, -0.1, 0.1), (300, 5.5, 6.5), (100, 60, 999), (6000, 60, 999)]
    )
    def test_limit_band_keeps_the_band_alone(self, hertz, low, high):
        note = tone(frequency=hertz)
        assert low <= level(note) - level(limit_band(note)[2000:-2000]) <= high


class TestCodec:
    @pytest.mark.parametrize("codec", CODECS)
    def test_apply_codec_loses_nothing_at_the_end(self, codec):
        buzz = SPEECH[: np.argmax(np.abs(SPEECH))]  # ends in the midst of a vowel
        assert level(apply_codec(buzz, codec)[-400:]) == pytest.approx(level(buzz[-400:]), abs=4)

    @pytest.mark.parametrize("codec", ["mu-law", "amr"])
    def test_telephone_codecs_end_at_4_khz(self, codec):
        hiss = add_noise(tone(2.0), 10, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(apply_codec(hiss, codec))) ** 2
        assert power[8500:].sum() < 1e-4 * power.sum()  # two bins a hertz
