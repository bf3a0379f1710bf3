"""What in a recording makes any prediction less certain, whatever the model."""

from __future__ import annotations

import math

import numpy as np

from ser_hf.audio import Recording, frame_power, peak_level, speech_span

QUIET_PEAK = 0.01  # 40 dB below full scale; one clip of RAVDESS in a hundred is as quiet
LITTLE_SPEECH = 0.25  # of the recording; no clip of RAVDESS has less than 0.37
# Between words the level falls. Over the voice of every sixth clip of RAVDESS it spans 18 dB at the least and 35 in the
# median, over every fifth of EmoDB 19 and 35; with white noise 10 dB below the voice 16 in the median of both, and with
# noise 5 dB below never more than 14.3.
LEVEL_RANGE_DB = 17.0
PERCENTILES = (5, 95)
MIN_FRAMES = 50  # half a second: in a single syllable there need be no pause


def quality_doubts(recording: Recording) -> list[str]:
    """What makes a prediction less certain, as warnings: too quiet, mostly silence, a loud background.

    Args:
        recording: any that `ser_hf.audio.check_speech` lets pass.
    """
    doubts = []
    peak = peak_level(recording.samples)
    if peak < QUIET_PEAK:
        doubts.append(f"very quiet: the loudest sample is at {100 * peak:.1f} % of full scale")
    first, last = speech_span(recording.samples, sample_rate=recording.sample_rate)
    if last - first < LITTLE_SPEECH * len(recording.samples):
        doubts.append(
            f"mostly silence: sound fills {(last - first) / recording.sample_rate:.1f} "
            f"of {recording.duration:.1f} seconds"
        )
    # Between the first and the last sound: silence that a program added says nothing of the room.
    decibels = level_range(recording.samples[first:last], recording.sample_rate)
    if decibels < LEVEL_RANGE_DB:
        doubts.append(
            f"a loud background, or no speech: the quietest moments are only {decibels:.0f} dB below the loudest"
        )
    return doubts


def level_range(samples: np.ndarray, sample_rate: int) -> float:
    """How far the quiet frames of a sound lie below its loud ones, in dB; infinite where there are too few."""
    power = frame_power(samples, sample_rate)[1]
    if len(power) < MIN_FRAMES:
        return math.inf
    # Digital silence has no level; a quadrillionth of the loudest frame is as good as none.
    quiet, loud = np.percentile(np.maximum(power, power.max() * 1e-15), PERCENTILES)
    return float(10 * np.log10(loud / quiet)) if quiet else math.inf
