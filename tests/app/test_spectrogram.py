import numpy as np
import pytest

from app import spectrogram
from app.spectrogram import COLUMNS, HOP, N_MELS, TOP_DB, mel_row, mel_spectrogram
from ser_hf.audio import SAMPLE_RATE


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


@pytest.mark.parametrize("hertz", [250, 1000, 4000])
def test_a_tone_is_loudest_in_the_row_of_its_frequency(hertz):
    levels, _ = mel_spectrogram(tone(hertz, 1))
    assert abs(levels.sum(axis=1).argmax() - mel_row(hertz)) <= 0.55  # 4 kHz lies between two rows


def test_levels_are_decibels_below_the_loudest():
    loud, quiet, silent = tone(1000, 1), tone(1000, 1) / 100, np.zeros(SAMPLE_RATE, np.float32)
    levels, _ = mel_spectrogram(np.concatenate([loud, quiet, silent]))
    assert levels.dtype == np.uint8
    row = round(mel_row(1000))
    assert levels.max() == TOP_DB
    assert levels[row, 50] - levels[row, 150] == pytest.approx(40, abs=1)
    assert not levels[:, 250].any()


@pytest.mark.parametrize("seconds", [0.001, 0.25, 4, 20, 100])
def test_columns_are_few_and_cover_the_recording(seconds):
    samples = tone(1000, seconds)
    levels, pooled = mel_spectrogram(samples)
    assert levels.shape[0] == N_MELS
    assert levels.shape[1] <= COLUMNS
    assert levels.shape[1] == -(-(1 + len(samples) // HOP) // pooled)


def test_a_column_shows_the_loudest_of_its_frames():
    samples = np.zeros(60 * SAMPLE_RATE, np.float32)
    click = 30 * SAMPLE_RATE
    samples[click] = 1
    levels, pooled = mel_spectrogram(samples)
    assert pooled > 1
    assert levels.max(axis=0).argmax() == click // HOP // pooled


def test_blocks_leave_no_seam(monkeypatch):
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * SAMPLE_RATE).astype(np.float32)
    whole, pooled = mel_spectrogram(noise)
    monkeypatch.setattr(spectrogram, "BLOCK_FRAMES", 25 * pooled + 1)
    np.testing.assert_array_equal(mel_spectrogram(noise)[0], whole)
