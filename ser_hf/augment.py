"""Waveform augmentation for training clips: speed, noise, gain and the silence around the voice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from ser_hf.audio import SAMPLE_RATE, speech_span


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play a clip ``factor`` times as fast, which moves tempo and pitch together (Ko et al. 2015).

    Args:
        samples: float32 mono waveform.
        factor: above 1 is faster and higher, below 1 slower and lower.
    """
    if factor == 1.0:
        return samples
    # The quick quality is enough here: what it leaves behind lies far below the noise that is added next.
    return soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ").astype(np.float32)


def add_noise(samples: np.ndarray, snr_db: float, rng: np.random.Generator, slope: float = 0.0) -> np.ndarray:
    """Add coloured Gaussian noise at a signal-to-noise ratio over the whole clip.

    Args:
        samples: float32 mono waveform.
        snr_db: power of the clip over the power of the noise, in dB.
        rng: source of the noise.
        slope: power falls as frequency to this exponent: 0 is white, 1 pink, 2 brown.
    """
    noise = rng.standard_normal(samples.size)
    if slope:
        spectrum = np.fft.rfft(noise)
        frequency = np.arange(spectrum.size, dtype=float)
        frequency[0] = 1.0
        noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), n=samples.size)
    signal_power = np.mean(np.square(samples, dtype=np.float64))
    noise_power = np.mean(np.square(noise)) or 1.0
    scale = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return (samples + scale * noise).astype(np.float32)


def apply_gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Make a clip louder or quieter by ``gain_db`` decibels, clipped to [-1, 1] as a recorder would."""
    return np.clip(samples * np.float32(10 ** (gain_db / 20)), -1.0, 1.0)


def vary_silence(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut a random share of the silence before and after the voice, anything from none to all of it."""
    start, end = speech_span(samples)
    return samples[int(rng.uniform(0, start)) : int(rng.uniform(end, samples.size)) + 1]


@dataclass(frozen=True)
class Augmentation:
    """One random change of a training clip, drawn anew each time it is called.

    Attributes:
        speed: largest change of speed, as a share of 1 (0.1: from 0.9 to 1.1 times).
        gain_db: largest change of level in dB, either way.
        noise_probability: share of clips that get noise.
        snr_db: range of the signal-to-noise ratio of that noise.
        silence_probability: share of clips whose surrounding silence is cut by a random amount.
    """

    speed: float = 0.1
    gain_db: float = 6.0
    noise_probability: float = 0.3
    snr_db: tuple[float, float] = (10.0, 40.0)
    silence_probability: float = 0.5

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a changed copy of a float32 mono clip at 16 kHz; the same ``rng`` state gives the same clip."""
        if self.silence_probability and rng.random() < self.silence_probability:
            samples = vary_silence(samples, rng)
        if self.speed:
            samples = change_speed(samples, rng.uniform(1 - self.speed, 1 + self.speed))
        if self.noise_probability and rng.random() < self.noise_probability:
            samples = add_noise(samples, rng.uniform(*self.snr_db), rng, slope=rng.uniform(0, 2))
        if self.gain_db:
            samples = apply_gain(samples, rng.uniform(-self.gain_db, self.gain_db))
        return samples
