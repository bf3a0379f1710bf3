"""Read, check, mix down, resample, trim and window recordings; how they are opened is in `ser_hf.decoding`.

Everything that enters a model comes through `read_audio`: float32, one channel, one rate, no NaN, within [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from ser_hf.decoding import (
    AudioError,
    EmptyAudioError,
    InvalidSamplesError,
    SilenceError,
    TooLongError,
    TooShortError,
    UnreadableAudioError,
    open_recording,
    too_long,
)

__all__ = [
    "MIN_SECONDS",
    "SAMPLE_RATE",
    "SILENCE_PEAK",
    "AudioError",
    "EmptyAudioError",
    "InvalidSamplesError",
    "Recording",
    "SilenceError",
    "TooLongError",
    "TooShortError",
    "UnreadableAudioError",
    "check_speech",
    "frame_power",
    "load_audio",
    "peak_level",
    "read_audio",
    "sliding_windows",
    "speech_span",
    "speech_windows",
    "trim_silence",
]

SAMPLE_RATE = 16_000
SILENCE_PEAK = 0.003  # the quietest clip of RAVDESS peaks at 0.006
MIN_SECONDS = 0.25  # a syllable; what is shorter holds no expression to hear

FRAME_SECONDS, HOP_SECONDS = 0.025, 0.010
FRAMES_AT_ONCE = 1 << 14  # almost three minutes
RATES = (1_000, 1_000_000)  # sample rates (Hz) outside of which a header is taken to be wrong
WINDOW_SILENCE = 0.01  # of the recording's peak: 40 dB below it
LARGEST = 2.0**31  # floats that hold raw 32-bit integers; what is larger is no sound


@dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording.

    Attributes:
        samples: float32, shape (n,), within [-1, 1], n >= 1.
        sample_rate: of `samples`, in Hz.
        name: what messages call it: the path as it was given, or "recording".
        warnings: sentences about what is usable but not as it should be (cut off, clipped, telephone band).
    """

    samples: np.ndarray
    sample_rate: int
    name: str
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def read_audio(source: Any, sample_rate: int | None = SAMPLE_RATE, max_seconds: float | None = None) -> Recording:
    """Read any recording as one channel at `sample_rate` (channel mean, then soxr's HQ resampler).

    Args:
        source: a path; the bytes of a file; a dict with "path" and/or "bytes" (`datasets.Audio(decode=False)`); a dict
            with "array" or "raw", and "sampling_rate"; a tuple (rate, array); or an array at `sample_rate`. Arrays are
            (n,), (n, channels) or (channels, n), the shorter side being the channels; integers are scaled by the full
            scale of their dtype. soundfile opens wav, flac, ogg, opus and mp3; PyAV opens m4a, webm and the like.
        sample_rate: of the result, in Hz; None keeps the recording's own (for an array without one: 16 kHz).
        max_seconds: refuse what is longer; the header is asked before anything is decoded.

    Raises:
        UnreadableAudioError, EmptyAudioError, InvalidSamplesError, TooLongError: each names the file.
        TypeError: `source` is none of the above.
    """
    name, blocks, rate, warnings = open_recording(source, sample_rate or SAMPLE_RATE, max_seconds)
    sample_rate = sample_rate or rate
    if not RATES[0] <= rate <= RATES[1]:
        raise UnreadableAudioError(f"{name}: a sample rate of {rate} Hz; expected {RATES[0]} to {RATES[1]} Hz")
    # Resampled block by block: what is kept is as long as the answer needs it, at whatever rate it was recorded.
    resampler = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, "float32", quality="HQ")
    kept, peak, n_clipped, n_values, n_samples = bytearray(), 0.0, 0, 0, 0
    for block in blocks:  # float, (samples, channels)
        n_samples += len(block)
        if max_seconds is not None and n_samples > max_seconds * rate:
            raise too_long(name, n_samples / rate, max_seconds, at_least=True)
        magnitude = np.abs(block)
        if not (magnitude <= LARGEST).all():  # NaN compares false
            raise InvalidSamplesError(f"{name}: holds samples that are no sound (NaN or infinite)")
        peak = max(peak, float(magnitude.max(initial=0.0)))
        n_clipped += int((magnitude >= 0.999).sum())
        n_values += block.size
        mono = block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0].astype(np.float32)
        kept += (mono if resampler is None else resampler.resample_chunk(mono)).tobytes()
    if not n_samples:
        raise EmptyAudioError(f"{name}: holds no sound (0 samples)")
    if resampler is not None:
        kept += resampler.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
    if not kept:
        raise EmptyAudioError(f"{name}: too few samples to resample")
    samples = np.frombuffer(kept, np.float32)
    if peak > 1:
        samples /= np.float32(peak)
        warnings.append(f"reaches {peak:.3g} times full scale; scaled down to fit")
    elif n_clipped > max(3, 0.001 * n_values):
        warnings.append(f"clipped: {100 * n_clipped / n_values:.1f} % of the samples are at full scale")
    if rate < sample_rate:
        warnings.append(f"recorded at {rate} Hz: nothing above {rate // 2} Hz can be heard, expect a worse answer")
    return Recording(np.clip(samples, -1, 1, out=samples), sample_rate, name, tuple(warnings))


def load_audio(source: Any, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> np.ndarray:
    """The samples of `read_audio`: float32, shape (n,), within [-1, 1]."""
    return read_audio(source, sample_rate, max_seconds).samples


def check_speech(recording: Recording) -> None:
    """Refuse what no model can answer.

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
        heard = samples[part[0] : part[-1] + frame]
        energy = np.concatenate([[0.0], np.cumsum(np.square(heard, dtype=np.float64))])
        part = part - part[0]
        power[first : first + len(part)] = energy[np.minimum(part + frame, len(heard))] - energy[part]
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
