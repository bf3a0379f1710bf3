"""Channels: a high-pass filter for each, and two of them combined into one without cancelling each other."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.signal import cheby2, correlate, sosfilt

CHANNELS = ("mix", "left", "right")
# Type II Chebyshev, run forwards and backwards, so that no phase moves: 40 dB down up to 60 Hz, where rumble and mains
# hum are; less than 1 dB from 80 Hz, a deep voice.
FILTER = {"N": 6, "rs": 20, "Wn": 60.0, "btype": "highpass"}
PADDING_SECONDS = 0.3  # at both ends, until the filter has settled
FILTERED_AT_ONCE = 1 << 18  # samples, in double precision
SILENT = 1e-4  # of the power of the other channel: 40 dB below it
OPPOSITE = -0.3  # correlation
DOMINANT, ACTIVE = 10**1.2, 1e-3  # power: 12 dB above the other channel; within 30 dB of the loudest frame
SHARE = 0.15  # of the frames with sound in which a channel dominates, where each has a voice of its own
LAG_SECONDS = 0.001  # sound takes that long for 34 cm, the distance of two microphones
ALIKE, LAG_GAIN = 0.5, 0.05  # correlations: of two microphones that hear the same, and what the delay adds at least
FRAME_SECONDS = 0.025
STRETCH_SECONDS = 10.0  # of sound that two channels are compared in


def high_pass(samples: np.ndarray, sample_rate: int) -> None:
    """Take out, in place, the mean and what lies at 60 Hz and below.

    Args:
        samples: float32 (n, channels).
        sample_rate: in Hz.
    """
    samples -= samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    n = min(round(PADDING_SECONDS * sample_rate), len(samples) - 1)
    before, after = 2 * samples[:1] - samples[n:0:-1], 2 * samples[-1:] - samples[-2 : -n - 2 : -1]
    _filter(sample_rate, before, samples, after)
    _filter(sample_rate, after[::-1], samples[::-1])


def _filter(sample_rate: int, *parts: np.ndarray) -> None:
    """Filter, in place, arrays (n, channels) that follow each other."""
    sections = _sections(sample_rate)
    state = np.zeros((len(sections), 2, parts[0].shape[1]))
    for part in parts:
        for start in range(0, len(part), FILTERED_AT_ONCE):
            block = part[start : start + FILTERED_AT_ONCE]
            block[:], state = sosfilt(sections, block, axis=0, zi=state)


@cache
def _sections(sample_rate: int) -> np.ndarray:
    return cheby2(output="sos", fs=sample_rate, **FILTER)


def combine(samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, list[str]]:
    """Two channels as one: their mean, unless they would cancel each other, or one of them has all of the sound.

    Args:
        samples: float32 (n, 2).
        sample_rate: in Hz.

    Returns:
        float32 (n,), and what is to be said about it, as warnings.
    """
    left, right = samples.T
    mean = samples.mean(axis=1)
    powers = np.square(samples, dtype=np.float64).sum(axis=0)
    louder = int(powers.argmax())
    if powers.min() <= SILENT * powers.max():
        silent = ("right", "left")[louder]
        return samples[:, louder], [f"the {silent} channel is silent; the other one was used"] if powers.max() else []
    at_once, delayed = _correlations(samples, sample_rate)
    if abs(delayed) > max(ALIKE, abs(at_once) + LAG_GAIN):  # two microphones: the mean would be a comb filter
        return samples[:, louder], []
    if at_once < OPPOSITE:
        return (left - right) / 2, ["the channels are in opposite phase; one of them was inverted"]
    frame = round(FRAME_SECONDS * sample_rate)
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame, 2)
    frames = np.square(whole).sum(axis=1).T
    frames = frames[:, frames.max(axis=0) > ACTIVE * frames.max(initial=0)]
    dominates = [(one > DOMINANT * other).sum() for one, other in (frames, frames[::-1])]
    if min(dominates) > SHARE * frames.shape[1]:
        return mean, ["the channels hold different voices, and were mixed; --channels each gives one result for each"]
    return mean, []


def _correlations(samples: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """The correlation of two channels, and the largest where one of them is delayed by up to `LAG_SECONDS`."""
    length = round(STRETCH_SECONDS * sample_rate)
    start = max(0, int(np.abs(samples).max(axis=1).argmax()) - length // 2)
    left, right = samples[start : start + length].T
    lag = min(round(LAG_SECONDS * sample_rate), len(left) - 1)
    found = correlate(left, right, mode="full", method="fft")[len(left) - 1 - lag : len(left) + lag]
    found = found / (np.linalg.norm(left) * np.linalg.norm(right) or 1)
    return float(found[lag]), float(found[np.abs(found).argmax()])
