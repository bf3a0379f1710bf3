"""Clips for the tests of augmentation, and measurements of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ser_hf.audio import SAMPLE_RATE, load_audio
from tests.synthetic import make_clip

CLIP = make_clip("happy", seconds=2.0)
SPEECH = load_audio(Path(__file__).resolve().parents[2] / "app" / "examples" / "plain.flac")


def level(samples):
    """Mean power in dB."""
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def dominant_frequency(samples):
    """The strongest frequency in Hz, to a tenth."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size), 10 * SAMPLE_RATE))
    return np.argmax(spectrum) / 10


def delay(changed, samples):
    """Samples that a clip came later."""
    size = 2 ** int(np.ceil(np.log2(2 * samples.size)))
    match = np.fft.irfft(np.conj(np.fft.rfft(samples, size)) * np.fft.rfft(changed, size))
    return (np.argmax(match) + size // 2) % size - size // 2
