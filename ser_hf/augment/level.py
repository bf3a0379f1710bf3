"""Changes of level and length: gain, level set or kept, the silence around the voice, a crop."""

from __future__ import annotations

import numpy as np

from ser_hf.audio import SAMPLE_RATE, speech_span


def apply_gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Make a clip louder or quieter by ``gain_db`` decibels, clipped to [-1, 1] as a recorder would."""
    return np.clip(samples * np.float32(10 ** (gain_db / 20)), -1.0, 1.0)


def set_level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Set the root mean square of the speech, in dB below full scale, clipped to [-1, 1]; silence stays silence."""
    start, end = speech_span(samples)
    power = np.mean(np.square(samples[start:end], dtype=np.float64)) if end > start else 0.0
    return apply_gain(samples, level_db - 10 * np.log10(power)) if power else samples


def vary_silence(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut a random share of the silence before and after the voice, anything from none to all of it."""
    start, end = speech_span(samples)
    return samples[int(rng.uniform(0, start)) : int(rng.uniform(end, samples.size)) + 1]


def crop_speech(samples: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Crop a clip to so many seconds of its speech at a random place; shorter speech stays as it is."""
    start, end = speech_span(samples)
    length = round(seconds * SAMPLE_RATE)
    if end - start <= length:
        return samples
    start = int(rng.integers(start, end - length + 1))
    return samples[start : start + length]


def match_level(samples: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scale a clip to the mean power of ``reference``, at most to full scale; silence stays silence."""
    power, wanted = (np.mean(np.square(part, dtype=np.float64)) for part in (samples, reference))
    if not power:
        return samples.astype(np.float32)
    scale = min(np.sqrt(wanted / power), 1 / np.abs(samples).max())
    return np.clip(samples * scale, -1.0, 1.0).astype(np.float32)  # rounding may leave the peak just above 1
