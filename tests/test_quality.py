from pathlib import Path

import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, Recording, read_audio, speech_span
from ser_hf.labels import LABELS
from ser_hf.quality import LEVEL_RANGE_DB, level_range, quality_doubts
from tests.synthetic import make_clip


def recording(samples: np.ndarray) -> Recording:
    return Recording(np.clip(samples, -1, 1).astype(np.float32), SAMPLE_RATE, "clip.wav")


def with_noise(clip: np.ndarray, snr: float, seed: int = 0) -> np.ndarray:
    """White noise at a signal-to-noise ratio in dB, that of the voice between its first and its last sound."""
    first, last = speech_span(clip)
    power = np.mean(clip[first:last] ** 2)
    return clip + np.random.default_rng(seed).normal(0, np.sqrt(power / 10 ** (snr / 10)), len(clip))


@pytest.mark.parametrize("emotion", LABELS)
def test_a_voice_in_a_quiet_room_raises_no_doubt(emotion):
    clip = make_clip(emotion)
    assert quality_doubts(recording(clip / np.abs(clip).max() * 0.1)) == []


@pytest.mark.parametrize("emotion", LABELS)
def test_a_loud_background_is_told_and_a_faint_one_is_not(emotion):
    clip = make_clip(emotion)
    assert "loud background" in quality_doubts(recording(with_noise(clip, 3)))[-1]
    assert not any("background" in doubt for doubt in quality_doubts(recording(with_noise(clip, 35))))


def test_a_loud_background_is_told_between_stretches_of_digital_silence():
    """What a program added around a recording says nothing of the room."""
    silence = np.zeros(3 * SAMPLE_RATE)
    noisy = np.concatenate([silence, with_noise(make_clip("happy"), 3), silence])
    assert any("background" in doubt for doubt in quality_doubts(recording(noisy)))


@pytest.mark.parametrize("loudness", [0.01, 0.1, 1.0])
def test_how_loud_a_recording_is_changes_nothing_in_its_level_range(loudness):
    clip = make_clip("happy")
    assert level_range(clip * loudness, SAMPLE_RATE) == pytest.approx(level_range(clip, SAMPLE_RATE), abs=0.01)


def test_white_noise_spans_a_few_decibels_and_a_syllable_is_too_short_to_tell():
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE)
    assert level_range(noise, SAMPLE_RATE) < 5
    assert level_range(noise[: SAMPLE_RATE // 4], SAMPLE_RATE) == np.inf
    assert level_range(np.zeros(SAMPLE_RATE), SAMPLE_RATE) == np.inf


def test_quiet_and_mostly_silent_recordings_are_told():
    clip = make_clip("happy")
    assert "very quiet" in quality_doubts(recording(clip / np.abs(clip).max() * 0.006))[0]
    assert "mostly silence" in quality_doubts(recording(np.concatenate([clip, np.zeros(30 * SAMPLE_RATE)])))[0]


@pytest.mark.slow
def test_no_clip_of_a_studio_corpus_has_a_loud_background(real_data: Path):
    for file in sorted(real_data.glob("ravdess/Actor_*/*.flac"))[::16]:
        clip = read_audio(file)
        assert not any("background" in doubt for doubt in quality_doubts(clip)), file
        noisy = recording(with_noise(clip.samples, 5))
        assert level_range(noisy.samples, SAMPLE_RATE) < LEVEL_RANGE_DB, file
