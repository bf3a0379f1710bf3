"""Named conditions: each is what its name says, and the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.audio import SAMPLE_RATE, check_speech, load_audio, read_audio, speech_span
from ser_hf.conditions import AS_RECORDED, CONDITIONS, LENGTH_CURVE, NO_SPEECH, NOISE_CURVE, PAUSES

CLIP = load_audio(Path(__file__).resolve().parent.parent / "app" / "examples" / "plain.flac")
KEEP_LENGTH = [name for name in CONDITIONS if not name.startswith(("first", "silence"))]


def changed(name, samples=CLIP, seed=0):
    return CONDITIONS[name](samples, np.random.default_rng(seed))


def level(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def power_between(samples, low, high):
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE)
    return power[(hertz >= low) & (hertz < high)].sum() / power.sum()


@pytest.mark.parametrize("name", CONDITIONS)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3000), loudness=st.sampled_from([0.0, 0.1, 1.0]))
def test_any_clip_gives_a_recording_and_the_same_seed_the_same_one(name, seed, size, loudness):
    source = np.random.default_rng(seed)
    samples = np.clip(loudness * source.standard_normal(size), -1, 1).astype(np.float32)
    result = changed(name, samples, seed)
    assert result.dtype == np.float32
    assert result.ndim == 1
    assert np.abs(result).max() <= 1  # NaN compares false
    assert np.array_equal(result, changed(name, samples, seed))
    if name in KEEP_LENGTH:
        assert result.size == size


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_leaves_a_voice_to_judge(name):
    check_speech(read_audio(changed(name)))


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name != AS_RECORDED])
def test_every_condition_is_one(name):
    assert not np.array_equal(changed(name), CLIP)


def test_as_recorded_is_the_clip_itself():
    assert changed(AS_RECORDED) is CLIP


@pytest.mark.parametrize(("name", "snr_db"), [pair for pair in NOISE_CURVE.items() if pair[0] != AS_RECORDED])
def test_noise_has_the_ratio_of_its_name(name, snr_db):
    assert name == f"noise {snr_db:g} dB"
    assert level(CLIP) - level(changed(name).astype(float) - CLIP) == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize("kind", [kind for kind in NO_SPEECH if kind != PAUSES])
def test_sounds_without_speech_are_the_same_for_the_same_seed(kind):
    first, again, other = (NO_SPEECH[kind](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (4 * SAMPLE_RATE,)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pauses_are_the_room_around_the_voice_and_nothing_of_the_voice():
    rng = np.random.default_rng(0)
    room, voice = 1e-4 * rng.standard_normal(SAMPLE_RATE), 0.3 * rng.standard_normal(SAMPLE_RATE)
    clip = np.concatenate([room, voice, room]).astype(np.float32)
    heard = NO_SPEECH[PAUSES](clip)
    assert heard.shape == (4 * SAMPLE_RATE,)
    assert np.abs(heard).max() == pytest.approx(0.1, rel=1e-5)
    assert np.corrcoef(heard[: SAMPLE_RATE // 2], clip[: SAMPLE_RATE // 2])[0, 1] > 0.999
    quiet = np.abs(heard).reshape(-1, 800).max(axis=1)
    assert quiet.max() < 3 * quiet.min()  # no voice stands out of it
    assert not NO_SPEECH[PAUSES](voice.astype(np.float32)).any()


def test_curves_name_conditions_in_order():
    assert set(NOISE_CURVE) | set(LENGTH_CURVE) <= set(CONDITIONS)
    assert list(NOISE_CURVE.values()) == sorted(NOISE_CURVE.values(), reverse=True)
    assert list(LENGTH_CURVE.values()) == sorted(LENGTH_CURVE.values())
    assert len(NOISE_CURVE) >= 4
    assert len(LENGTH_CURVE) >= 4


@pytest.mark.parametrize(("name", "seconds"), LENGTH_CURVE.items())
def test_first_seconds_are_those_of_the_voice(name, seconds):
    start, end = speech_span(CLIP)
    late = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), CLIP])
    assert np.array_equal(changed(name), CLIP[start:end][: round(seconds * SAMPLE_RATE)])
    assert changed(name, late).size == min(round(seconds * SAMPLE_RATE), end - start)


def test_a_telephone_has_its_band():
    assert power_between(changed("telephone"), 0, 200) < 0.01 * power_between(CLIP, 0, 200)
    assert power_between(changed("telephone"), 4000, 8001) < 1e-4
    assert power_between(changed("mobile call"), 4200, 8001) < 1e-4


@pytest.mark.parametrize(("fewer", "more"), [("mp3 16 kbit/s", "mp3 32 kbit/s"), ("opus 8 kbit/s", "opus 16 kbit/s")])
def test_fewer_bits_lose_more(fewer, more):
    assert level(changed(fewer) - CLIP) > level(changed(more) - CLIP)


def test_loudness_is_doubled_and_halved():
    quiet = 0.4 * CLIP
    assert changed("double loudness", quiet) == pytest.approx(2 * quiet, abs=1e-6)
    assert changed("half loudness") == pytest.approx(CLIP / 2, abs=1e-6)


def test_a_far_microphone_hears_less_voice_and_more_room():
    far = changed("far microphone")
    assert level(far) == pytest.approx(level(CLIP) - 12, abs=0.5)
    ends = speech_span(CLIP)[1]
    after = slice(ends, ends + 1600)
    assert level(far[after]) - level(far) > -15  # the noise alone would be at -20
    assert level(CLIP[after]) - level(CLIP) < -30


def test_silence_around_is_three_seconds_on_either_side():
    padded, around = changed("silence around"), 3 * SAMPLE_RATE
    assert padded.size == CLIP.size + 2 * around
    assert not padded[:around].any()
    assert not padded[-around:].any()
    assert np.array_equal(padded[around:-around], CLIP)


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        CONDITIONS["mine"] = changed
