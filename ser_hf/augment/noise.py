"""Noise at a signal-to-noise ratio, white to brown."""

from __future__ import annotations

import numpy as np
from scipy import fft

from ser_hf.audio import SAMPLE_RATE

FLAT_BELOW = 50.0  # Hz: what lies lower no voice has and few loudspeakers play, and brown noise would be nothing else


def add_noise(samples: np.ndarray, snr_db: float, rng: np.random.Generator, slope: float = 0.0) -> np.ndarray:
    """Add coloured Gaussian noise at a signal-to-noise ratio over the whole clip.

    Args:
        snr_db: power of the clip over the power of the noise, in dB.
        rng: source of the noise.
        slope: power falls as frequency to this exponent, from 50 Hz on: 0 is white, 1 pink, 2 brown.

    Returns:
        As long as ``samples``. It may pass full scale: cutting it there would change the ratio.
    """
    if not samples.size:
        return samples
    noise = coloured_noise(samples.size, rng, slope)
    signal_power = np.mean(np.square(samples, dtype=np.float64))
    noise_power = np.mean(np.square(noise)) or 1.0
    scale = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return (samples + scale * noise).astype(np.float32)


def coloured_noise(size: int, rng: np.random.Generator, slope: float = 0.0) -> np.ndarray:
    """Gaussian noise whose power falls as frequency to an exponent (see `add_noise`), float64 (size,), at any level."""
    if not slope or not size:
        return rng.standard_normal(size)
    fast = fft.next_fast_len(size, real=True)  # lengths with a large prime factor take ten times longer
    frequency = np.maximum(fft.rfftfreq(fast, 1 / SAMPLE_RATE), FLAT_BELOW)
    return fft.irfft(fft.rfft(rng.standard_normal(fast)) * frequency ** (-slope / 2), n=fast)[:size]
