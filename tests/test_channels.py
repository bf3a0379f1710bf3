"""Two channels do not cancel each other, and what no voice holds is filtered away, before anything is measured."""

import numpy as np
import pytest

from ser_hf.audio import SAMPLE_RATE, UnreadableAudioError, load_audio, read_audio
from tests.synthetic import make_clip, tone

LEFT, RIGHT = (make_clip(*one, seconds=2)[:24_000] for one in (("happy", 3), ("sad", 2)))


@pytest.fixture(scope="module")
def noise():
    return 3e-4 * np.random.default_rng(0).standard_normal((len(LEFT), 2))


@pytest.mark.parametrize("gain", [1, 0.98, 0.9, 0.5])
def test_opposite_phase_does_not_cancel(gain, noise):
    recording = read_audio((SAMPLE_RATE, np.stack([LEFT, -gain * LEFT], 1) + noise))
    assert np.corrcoef(recording.samples, load_audio(LEFT))[0, 1] > 0.99
    assert np.abs(recording.samples).max() > 0.7 * np.abs(LEFT).max()
    assert "phase" in recording.warnings[0]


@pytest.mark.parametrize("silent", [0, 1])
def test_silent_channel_is_left_out(silent):
    channels = np.stack([LEFT, LEFT], 1)
    channels[:, silent] = 1e-5
    recording = read_audio((SAMPLE_RATE, channels))
    np.testing.assert_allclose(recording.samples, load_audio(LEFT), atol=1e-4)
    assert ("left", "right")[silent] in recording.warnings[0]


@pytest.mark.parametrize("lag", [6, 9, -8])
def test_spaced_microphones_do_not_comb(lag):
    recording = read_audio((SAMPLE_RATE, np.stack([LEFT, 0.9 * np.roll(LEFT, lag)], 1)))
    assert np.corrcoef(recording.samples, load_audio(LEFT))[0, 1] > 0.999
    assert recording.warnings == ()


def test_equal_channels_are_their_mean(noise):
    recording = read_audio((SAMPLE_RATE, np.stack([LEFT, LEFT], 1)))
    np.testing.assert_allclose(recording.samples, load_audio(LEFT), atol=1e-6)
    assert (recording.warnings, recording.n_channels) == ((), 2)
    assert read_audio((SAMPLE_RATE, np.stack([LEFT, 0.7 * LEFT], 1) + noise)).warnings == ()


def test_two_voices_are_mixed_and_named():
    silence = np.zeros_like(LEFT)
    call = np.stack([np.concatenate([LEFT, silence]), np.concatenate([silence, RIGHT])], 1)
    recording = read_audio((SAMPLE_RATE, call))
    assert "--channels each" in recording.warnings[0]
    for name, side in (("left", call[:, 0]), ("right", call[:, 1])):
        np.testing.assert_allclose(load_audio((SAMPLE_RATE, call), channels=name), load_audio(side), atol=1e-6)
    with pytest.raises(UnreadableAudioError):
        read_audio((SAMPLE_RATE, LEFT), channels="right")
    with pytest.raises(ValueError, match="channels"):
        read_audio((SAMPLE_RATE, LEFT), channels="middle")


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_offset_hum_and_rumble_are_filtered_away(rate):
    time = np.arange(2 * rate) / rate
    clean, middle = load_audio((rate, tone(2, rate))), slice(SAMPLE_RATE // 2, -SAMPLE_RATE // 2)
    assert np.abs(clean[middle]).max() == pytest.approx(0.5, rel=0.02)
    for added in (
        0.2,
        *(0.1 * np.sin(2 * np.pi * mains * time) for mains in (50, 60)),
        0.1 * np.sin(2 * np.pi * 30 * time),
    ):
        samples = load_audio((rate, (tone(2, rate) + added).astype(np.float32)))
        assert np.abs(samples - clean)[middle].max() < 0.005
    deep = tone(2, rate, frequency=90)
    assert np.abs(load_audio((rate, deep)))[middle].max() == pytest.approx(0.5, rel=0.03)
