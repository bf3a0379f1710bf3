"""Changes of level and length: gain, level set or kept, the silence around the voice, a crop."""

from __future__ import annotations

import numpy as np

from ser_hf.audio import SAMPLE_RATE, speech_span


def apply_gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Make a clip louder or quieter by ``gain_db`` decibels, clipped to [-1, 1] as a recorder would."""
    return np.clip(samples * np.float32(10 ** (gain_db / 20)), -1.0, 1.0)


def set_level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Set the level of the speech, whatever level it was recorded at.

    Args:
        samples: float32 mono waveform at 16 kHz.
        level_db: root mean square of what lies between its first sound and its last, in dB below full scale.

    Returns:
        float32, as long as ``samples``, clipped to [-1, 1] as a recorder would; silence stays silence.
    """
    start, end = speech_span(samples)
    power = np.mean(np.square(samples[start:end], dtype=np.float64)) if end > start else 0.0
    return apply_gain(samples, level_db - 10 * np.log10(power)) if power else samples


def vary_silence(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut a random share of the silence before and after the voice, anything from none to all of it."""
    start, end = speech_span(samples)
    return samples[int(rng.uniform(0, start)) : int(rng.uniform(end, samples.size)) + 1]


def crop_speech(samples: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Crop a clip to a stretch of its speech at a random place; speech that is no longer than that stays as it is.

    Args:
        samples: float32 mono waveform at 16 kHz.
        seconds: length of the stretch.
    """
    start, end = speech_span(samples)
    length = round(seconds * SAMPLE_RATE)
    if end - start <= length:
        return samples
    start = int(rng.integers(start, end - length + 1))
    return samples[start : start + length]


def match_level(samples: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scale a clip to the mean power of ``reference``, or to full scale where that would be beyond it.

    Returns:
        float32, as long as ``samples``; silence stays silence.
    """
    power, wanted = (np.mean(np.square(part, dtype=np.float64)) for part in (samples, reference))
    if not power:
        return samples.astype(np.float32)
    scale = min(np.sqrt(wanted / power), 1 / np.abs(samples).max())
    return np.clip(samples * scale, -1.0, 1.0).astype(np.float32)  # rounding may leave the peak just above 1
