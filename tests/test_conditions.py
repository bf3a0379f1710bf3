"""Named conditions: each is what its name says, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.conditions import AS_RECORDED, CONDITIONS, LENGTH_CURVE, NO_SPEECH, NOISE_CURVE, PAUSES
from ser_hf.audio import SAMPLE_RATE, check_speech, read_audio, speech_span
from tests.augment.measures import SPEECH as CLIP
from tests.augment.measures import level


def changed(name, samples=CLIP, seed=0):
    return CONDITIONS[name](samples, np.random.default_rng(seed))


def power_between(samples, low, high):
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE)
    return power[(hertz >= low) & (hertz < high)].sum() / power.sum()


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_change_any_clip_reproducibly(name):
    result = changed(name)
    check_speech(read_audio(result))
    assert np.array_equal(result, CLIP) == (name == AS_RECORDED)
    full_scale = np.clip(np.random.default_rng(0).standard_normal(3000), -1, 1).astype(np.float32)
    for samples in (CLIP, full_scale, full_scale[:1], 0 * full_scale):
        result = changed(name, samples)
        assert (result.dtype, result.ndim) == (np.float32, 1)
        assert np.abs(result).max() <= 1  # NaN compares false
        assert np.array_equal(result, changed(name, samples))
        if not name.startswith(("first", "silence")):
            assert result.size == samples.size


@pytest.mark.parametrize(("name", "snr_db"), [pair for pair in NOISE_CURVE.items() if pair[0] != AS_RECORDED])
def test_noise_has_the_ratio_of_its_name(name, snr_db):
    assert name == f"noise {snr_db:g} dB"
    assert level(CLIP) - level(changed(name).astype(float) - CLIP) == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize(("name", "seconds"), LENGTH_CURVE.items())
def test_first_seconds_are_those_of_the_speech(name, seconds):
    start, end = speech_span(CLIP)
    assert np.array_equal(changed(name), CLIP[start:end][: round(seconds * SAMPLE_RATE)])


def test_codecs_rooms_and_levels_are_what_they_say():
    assert power_between(changed("telephone"), 0, 200) < 0.01 * power_between(CLIP, 0, 200)
    assert power_between(changed("telephone"), 4000, 8001) < 1e-4
    assert power_between(changed("mobile call"), 4200, 8001) < 1e-4
    for fewer, more in (("mp3 16 kbit/s", "mp3 32 kbit/s"), ("opus 8 kbit/s", "opus 16 kbit/s")):
        assert level(changed(fewer) - CLIP) > level(changed(more) - CLIP)
    assert changed("double loudness", 0.4 * CLIP) == pytest.approx(0.8 * CLIP, abs=1e-6)
    assert changed("half loudness") == pytest.approx(CLIP / 2, abs=1e-6)
    far, after = changed("far microphone"), slice(speech_span(CLIP)[1], speech_span(CLIP)[1] + 1600)
    assert level(far) == pytest.approx(level(CLIP) - 12, abs=0.5)
    assert level(far[after]) - level(far) > -15  # the noise alone would be at -20
    padded, around = changed("silence around"), 3 * SAMPLE_RATE
    assert not padded[:around].any()
    assert not padded[-around:].any()
    assert np.array_equal(padded[around:-around], CLIP)


@pytest.mark.parametrize("kind", [kind for kind in NO_SPEECH if kind != PAUSES])
def test_sounds_without_speech_follow_the_seed(kind):
    first, again, other = (NO_SPEECH[kind](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (4 * SAMPLE_RATE,)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pauses_hold_no_speech():
    rng = np.random.default_rng(0)
    room, voice = 1e-4 * rng.standard_normal(SAMPLE_RATE), 0.3 * rng.standard_normal(SAMPLE_RATE)
    clip = np.concatenate([room, voice, room]).astype(np.float32)
    clip_with_pauses = NO_SPEECH[PAUSES](clip)
    assert clip_with_pauses.shape == (4 * SAMPLE_RATE,)
    assert np.abs(clip_with_pauses).max() == pytest.approx(0.1, rel=1e-5)
    assert np.corrcoef(clip_with_pauses[: SAMPLE_RATE // 2], clip[: SAMPLE_RATE // 2])[0, 1] > 0.999
    quiet = np.abs(clip_with_pauses).reshape(-1, 800).max(axis=1)
    assert quiet.max() < 3 * quiet.min()
    assert not NO_SPEECH[PAUSES](voice.astype(np.float32)).any()
