"""Where in a recording the speech is, and the windows that a model is given."""

from __future__ import annotations

import numpy as np

from ser_hf.audio.errors import SilenceError, TooShortError
from ser_hf.audio.reading import SAMPLE_RATE, Recording

SILENCE_PEAK = 0.003  # the quietest clip of RAVDESS peaks at 0.006
MIN_SECONDS = 0.25  # a syllable; what is shorter holds no emotion
FRAME_SECONDS, HOP_SECONDS = 0.025, 0.010
FRAMES_AT_ONCE = 1 << 14  # almost three minutes
WINDOW_SILENCE = 0.01  # of the recording's peak: 40 dB below it


def check_speech(recording: Recording) -> None:
    """Refuse what no model can classify.

    Raises:
        SilenceError: no sample is farther than `SILENCE_PEAK` from the mean.
        TooShortError: between the first and the last sound lie less than `MIN_SECONDS`.
    """
    samples = recording.samples
    if len(samples) and peak_level(samples, float(samples.mean(dtype=np.float64))) < SILENCE_PEAK:
        raise SilenceError(f"{recording.name}: silence ({recording.duration:.2f} s); nothing to judge")
    start, end = speech_span(samples, sample_rate=recording.sample_rate)
    seconds = (end - start) / recording.sample_rate
    if seconds < MIN_SECONDS:
        raise TooShortError(f"{recording.name}: {seconds:.2f} s of sound; at least {MIN_SECONDS} s are needed")


def speech_span(samples: np.ndarray, top_db: float = 40.0, sample_rate: int = SAMPLE_RATE) -> tuple[int, int]:
    """Where sound begins and ends: the outermost 25 ms frames (10 ms hop) within `top_db` of the loudest frame.

    Returns:
        (start, end) in samples, 0 <= start <= end <= n; (0, n) when every sample is zero.
    """
    n, frame = len(samples), round(FRAME_SECONDS * sample_rate)
    starts, power = frame_power(samples, sample_rate)
    if power.max() <= 0:
        return 0, n
    loud = np.flatnonzero(power >= power.max() * 10 ** (-top_db / 10))
    return int(starts[loud[0]]), int(min(starts[loud[-1]] + frame, n))


def peak_level(samples: np.ndarray, centre: float = 0.0) -> float:
    """How far the farthest of one or more samples is from ``centre``; needs no memory, however many they are."""
    return max(float(samples.max()) - centre, centre - float(samples.min()))


def frame_power(samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> tuple[np.ndarray, np.ndarray]:
    """Where 25 ms frames (10 ms hop) start, in samples, and the sum of squares in each; there is at least one."""
    n, frame, hop = len(samples), round(FRAME_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    starts = np.arange(0, max(n - frame + hop, 1), hop)
    power = np.empty(len(starts))
    for first in range(0, len(starts), FRAMES_AT_ONCE):
        part = starts[first : first + FRAMES_AT_ONCE]
        kept = samples[part[0] : part[-1] + frame]
        energy = np.concatenate([[0.0], np.cumsum(np.square(kept, dtype=np.float64))])
        part = part - part[0]
        power[first : first + len(part)] = energy[np.minimum(part + frame, len(kept))] - energy[part]
    return starts, power


def trim_silence(samples: np.ndarray, top_db: float = 40.0) -> np.ndarray:
    """The part of 16 kHz `samples` that `speech_span` names, as a view."""
    start, end = speech_span(samples, top_db)
    return samples[start:end]


def sliding_windows(n_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """Windows (start, end) that cover `n_samples`: each `window` long, `hop` apart, the last aligned to the end.

    A recording that fits one window is one window of its own length.

    >>> sliding_windows(10, window=4, hop=2)
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    >>> sliding_windows(3, window=4, hop=2)
    [(0, 3)]
    """
    if window < 1 or not 1 <= hop <= window:
        raise ValueError(f"need window >= 1 and 1 <= hop <= window, not window={window} and hop={hop}")
    if n_samples <= window:
        return [(0, n_samples)]
    starts = [*range(0, n_samples - window, hop), n_samples - window]
    return [(start, start + window) for start in starts]


def speech_windows(samples: np.ndarray, window_seconds: float) -> list[tuple[int, int]]:
    """Stretches (start, end), in samples, of a recording that a model with such a window is given.

    Silence at both ends is left out of every recording, so that predictions do not depend on it. What is longer than
    the window is cut into windows that overlap by half, of which silent ones (40 dB below the recording) are left out.
    """
    window = round(window_seconds * SAMPLE_RATE)
    first, last = speech_span(samples)
    threshold = WINDOW_SILENCE * peak_level(samples)
    windows = [(first + start, first + end) for start, end in sliding_windows(last - first, window, window // 2)]
    return [(start, end) for start, end in windows if peak_level(samples[start:end]) >= threshold]
