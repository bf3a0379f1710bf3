"""What lies between a mouth and a recording: a room, and how a microphone weighs frequencies."""

from __future__ import annotations

import numpy as np
from scipy import fft, signal

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment.level import match_level

TELEPHONE_HZ = (300.0, 3400.0)
FILTER_ORDER = 4
FIRST_REFLECTION = 0.002  # seconds after the direct sound
TILT_HZ = (100.0, 1000.0)  # below the first, a tilt goes no further; at the second, it changes nothing


def room_response(rt60: float, drr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a made-up room: the direct sound, then noise that decays exponentially (Polack's model).

    Args:
        rt60: seconds in which the reverberation falls by 60 dB; a furnished room has 0.3 to 0.6, a hall above 1.
        drr_db: energy of the direct sound over that of the reverberation, in dB; falls with the microphone's distance.
        rng: source of the noise.

    Returns:
        float32, shape (rt60 * 16000,); the first sample is the direct sound and is 1.
    """
    size = round(rt60 * SAMPLE_RATE)
    tail = rng.standard_normal(size, dtype=np.float32)
    tail *= np.exp(-np.log(1000) / size * np.arange(size, dtype=np.float32))
    tail[: round(FIRST_REFLECTION * SAMPLE_RATE)] = 0
    response = tail * np.sqrt(10 ** (-drr_db / 10) / np.sum(np.square(tail, dtype=np.float64)))
    response[0] = 1.0
    return response.astype(np.float32)


def add_room(samples: np.ndarray, rt60: float, drr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Put a clip into a room (see `room_response`), as loud and as long as before, the voice at the same place."""
    response = room_response(rt60, drr_db, rng)
    if not samples.size:
        return samples
    return match_level(signal.fftconvolve(samples, response)[: samples.size], samples)


def limit_band(samples: np.ndarray, low_hz: float = TELEPHONE_HZ[0], high_hz: float = TELEPHONE_HZ[1]) -> np.ndarray:
    """Keep only the frequencies of a band between 0 and 8000 Hz; the default is that of a telephone.

    It is a Butterworth band without its delay: each edge is 6 dB down and falls by 48 dB an octave.
    """
    if not samples.size:
        return samples
    sections = signal.butter(FILTER_ORDER, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE, output="sos")
    filtered = signal.sosfiltfilt(sections, samples, padtype=None)
    return np.clip(filtered, -1.0, 1.0).astype(np.float32)


def tilt_spectrum(samples: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Make a clip brighter or duller, as loud as before: as another microphone, or another vocal effort, would.

    Frequencies are weighed by a straight line over octaves that passes through 0 dB at 1 kHz and is level below 100 Hz.

    Args:
        samples: a clip.
        db_per_octave: slope of that line; positive is brighter.
    """
    if not samples.size:
        return samples
    size = fft.next_fast_len(samples.size, real=True)
    octaves = np.log2(np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE), TILT_HZ[0]) / TILT_HZ[1])
    weights = (10 ** (db_per_octave / 20 * octaves)).astype(np.float32)
    return match_level(fft.irfft(fft.rfft(samples, size) * weights, size)[: samples.size], samples)
