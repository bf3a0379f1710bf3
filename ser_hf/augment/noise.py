"""Noise at a signal-to-noise ratio: white to brown, or the babble of other voices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from ser_hf.audio import SAMPLE_RATE, trim_silence

FLAT_BELOW = 50.0  # Hz: what lies lower no voice has and few loudspeakers play, and brown noise would be nothing else


def add_noise(samples: np.ndarray, snr_db: float, rng: np.random.Generator, slope: float = 0.0) -> np.ndarray:
    """Add coloured Gaussian noise at a signal-to-noise ratio over the whole clip.

    Args:
        samples: float32 mono waveform.
        snr_db: power of the clip over the power of the noise, in dB.
        rng: source of the noise.
        slope: power falls as frequency to this exponent, from 50 Hz on: 0 is white, 1 pink, 2 brown.

    Returns:
        float32, as long as ``samples``. It may pass full scale: cutting it there would change the ratio.
    """
    return _mix(samples, coloured_noise(samples.size, rng, slope), snr_db) if samples.size else samples


def coloured_noise(size: int, rng: np.random.Generator, slope: float = 0.0) -> np.ndarray:
    """Gaussian noise whose power falls as frequency to an exponent (see `add_noise`), float64 (size,), at any level."""
    if not slope or not size:
        return rng.standard_normal(size)
    fast = fft.next_fast_len(size, real=True)  # lengths with a large prime factor take ten times longer
    frequency = np.maximum(fft.rfftfreq(fast, 1 / SAMPLE_RATE), FLAT_BELOW)
    return fft.irfft(fft.rfft(rng.standard_normal(fast)) * frequency ** (-slope / 2), n=fast)[:size]


def add_babble(
    samples: np.ndarray, snr_db: float, rng: np.random.Generator, voices: Sequence[np.ndarray], n_voices: int = 6
) -> np.ndarray:
    """Add several other voices speaking at once, each equally loud, at a signal-to-noise ratio over the whole clip.

    Args:
        samples: float32 mono waveform at 16 kHz.
        snr_db: power of the clip over the power of all other voices together, in dB.
        rng: which voices speak, and where in its clip each begins.
        voices: clips to take them from; in training, clips of the training part only. The silence around each is cut,
            and a voice that ends too early begins again.
        n_voices: how many speak at once; the same clip may be drawn twice.

    Returns:
        float32, as long as ``samples``. It may pass full scale: cutting it there would change the ratio.

    Raises:
        ValueError: there are no voices, or one of them is empty.
    """
    if not len(voices) or n_voices < 1:
        raise ValueError("babble is made of other voices: give at least one clip, and n_voices of at least 1")
    if not samples.size:
        return samples
    babble = np.zeros(samples.size)
    for index in rng.integers(len(voices), size=n_voices):
        voice = trim_silence(voices[index])
        if not voice.size:
            raise ValueError(f"clip {index} of the voices for babble is empty")
        voice = np.resize(np.roll(voice, -rng.integers(voice.size)), samples.size).astype(np.float64)
        babble += voice / (np.sqrt(np.mean(np.square(voice))) or 1.0)
    return _mix(samples, babble, snr_db)


def _mix(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add a noise, scaled to the ratio that was asked for."""
    signal_power = np.mean(np.square(samples, dtype=np.float64))
    noise_power = np.mean(np.square(noise)) or 1.0
    scale = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return (samples + scale * noise).astype(np.float32)
