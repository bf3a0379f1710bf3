import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, Recording, speech_span
from ser_hf.audio.quality import level_range, quality_doubts
from ser_hf.labels import LABELS
from tests.synthetic import make_clip


def doubts(samples: np.ndarray) -> str:
    return " ".join(quality_doubts(Recording(np.clip(samples, -1, 1).astype(np.float32), SAMPLE_RATE, "clip.wav")))


def with_noise(clip: np.ndarray, snr: float) -> np.ndarray:
    """White noise at a signal-to-noise ratio in dB, that of the voice between its first and its last sound."""
    first, last = speech_span(clip)
    power = np.mean(clip[first:last] ** 2)
    return clip + np.random.default_rng(0).normal(0, np.sqrt(power / 10 ** (snr / 10)), len(clip))


@pytest.mark.parametrize("emotion", LABELS)
def test_quality_doubts_names_a_loud_background(emotion):
    clip = make_clip(emotion)
    clip = clip / np.abs(clip).max() * 0.1
    assert doubts(clip) == doubts(with_noise(clip, 35)) == ""
    assert "background" in doubts(with_noise(clip, 3))


def test_quality_doubts_ignores_digital_silence():
    """What a program added around a recording says nothing of the room."""
    silence = np.zeros(3 * SAMPLE_RATE)
    assert "background" in doubts(np.concatenate([silence, with_noise(make_clip("happy"), 3), silence]))


def test_quality_doubts_names_quiet_and_mostly_silent():
    clip = make_clip("happy")
    assert "quiet" in doubts(clip / np.abs(clip).max() * 0.006)
    assert "silence" in doubts(np.concatenate([clip, np.zeros(30 * SAMPLE_RATE)]))


def test_level_range_ignores_the_level():
    clip = make_clip("happy")
    assert level_range(clip * 0.01, SAMPLE_RATE) == pytest.approx(level_range(clip, SAMPLE_RATE), abs=0.01)
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE)
    assert level_range(noise, SAMPLE_RATE) < 5
    assert level_range(noise[: SAMPLE_RATE // 4], SAMPLE_RATE) == np.inf  # too short to say
    assert level_range(np.zeros(SAMPLE_RATE), SAMPLE_RATE) == np.inf
