"""Where in a recording the speech is, and the windows that a model is given."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ser_hf.audio.errors import SilenceError, TooShortError
from ser_hf.audio.reading import SAMPLE_RATE, Recording

SILENCE_PEAK = 0.003  # the quietest clip of RAVDESS peaks at 0.006
MIN_SECONDS = 0.25  # a syllable; what is shorter holds no emotion
FRAME_SECONDS, HOP_SECONDS = 0.025, 0.010
FRAMES_AT_ONCE = 1 << 14  # almost three minutes
WINDOW_SILENCE = 0.01  # of the recording's peak: 40 dB below it

# Of utterances: lengths in frames of 10 ms, and ratios of power. Chosen by `experiments.utterances`, which changes
# little with any of them.
FLOOR_FRAMES, NEARBY_FRAMES = 20, 401  # the noise floor is held for 0.2 s, within 2 s before and behind
HIGHEST_FLOOR = 10**-1.5  # 15 dB below the recording's loudest: a voice without a pause is no noise
GOES_ON, COUNTS = 2.0, 4.0  # 3 and 6 dB above the floor
MASKED_FRAMES, MASKED_RANGE = 61, 10**-4.5  # 45 dB below what is loudest within 0.3 s
PHRASE_FRAMES, PHRASE_RANGE = 301, 1e-4  # 40 dB, within 1.5 s: breath and rustle are fainter
RECORDING_RANGE = 1e-7  # 70 dB, of the whole recording
PAUSE_FRAMES = 35
MIN_UTTERANCE_SECONDS = 0.2
SHORT_SECONDS, JOINED_PAUSE_SECONDS = 1.0, 1.0


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


def speech_windows(
    samples: np.ndarray, window_seconds: float, hop_seconds: float | None = None
) -> list[list[tuple[int, int]]]:
    """The utterances of a recording, each as the windows (start, end), in samples, that a model is given of it.

    Silence at both ends is left out of every recording, so that predictions do not depend on it. What then fits the
    window is one utterance. What is longer is cut at pauses (`utterances`), and an utterance that is still longer into
    windows that overlap by half.

    Args:
        samples: float32 mono at 16 kHz.
        window_seconds: the longest window that the model takes.
        hop_seconds: cut into windows that far apart instead, each of which counts as an utterance; silent ones (40 dB
            below the recording) are left out.
    """
    window = round(window_seconds * SAMPLE_RATE)
    first, last = speech_span(samples)
    if last - first <= window:
        return [[(first, last)]]
    if hop_seconds is not None:
        hop, threshold = round(hop_seconds * SAMPLE_RATE), WINDOW_SILENCE * peak_level(samples)
        windows = [(first + start, first + end) for start, end in sliding_windows(last - first, window, hop)]
        return [[(start, end)] for start, end in windows if peak_level(samples[start:end]) >= threshold]
    return [
        [(start + one, start + other) for one, other in sliding_windows(end - start, window, window // 2)]
        for start, end in utterances(samples, window)
    ]


def utterances(samples: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Find the stretches (start, end), in samples, of speech between pauses, by energy with hysteresis.

    A stretch goes on while frames stand out of the noise floor, the level of the quietest 0.2 s nearby, and are not
    masked by what is next to them; it counts where its loudest frame stands out further. Each is then trimmed as
    `speech_span` trims a recording. A model knows little of less than 1 s: such a stretch joins the nearest one within
    1 s, where both fit ``longest`` samples.

    Returns:
        One or more, in order, which do not overlap; the `speech_span` of the whole if nothing stands out.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d  # an ordinary clip does not wait for it

    starts, power = frame_power(samples)
    frame = round(FRAME_SECONDS * SAMPLE_RATE)
    floor = minimum_filter1d(maximum_filter1d(power, FLOOR_FRAMES), NEARBY_FRAMES)
    floor = np.minimum(floor, power.max() * HIGHEST_FLOOR)
    least = np.maximum(maximum_filter1d(power, PHRASE_FRAMES) * PHRASE_RANGE, power.max() * RECORDING_RANGE)
    active = power > np.maximum(floor * GOES_ON, maximum_filter1d(power, MASKED_FRAMES) * MASKED_RANGE)
    strong = active & (power > np.maximum(floor * COUNTS, least))
    spans: list[tuple[int, int]] = []  # in frames
    for start, end in np.flatnonzero(np.diff(active, prepend=False, append=False)).reshape(-1, 2).tolist():
        if not strong[start:end].any():
            continue
        if spans and start - spans[-1][1] < PAUSE_FRAMES:
            start = spans.pop()[0]
        spans.append((start, end))
    found = []
    for start, end in spans:
        offset = int(starts[start])
        first, last = speech_span(samples[offset : starts[end - 1] + frame])
        if last - first >= MIN_UTTERANCE_SECONDS * SAMPLE_RATE:
            found.append((offset + first, offset + last))
    return _joined(found, longest) or [speech_span(samples)]


def _joined(spans: list[tuple[int, int]], longest: int) -> list[tuple[int, int]]:
    """Short stretches joined to their nearest neighbours, those with the shortest pause between them first."""
    spans = list(spans)
    short, apart = SHORT_SECONDS * SAMPLE_RATE, JOINED_PAUSE_SECONDS * SAMPLE_RATE
    while True:
        pairs = [
            (after[0] - before[1], index)
            for index, (before, after) in enumerate(pairwise(spans))
            if min(before[1] - before[0], after[1] - after[0]) < short
            and after[0] - before[1] <= apart
            and after[1] - before[0] <= longest
        ]
        if not pairs:
            return spans
        index = min(pairs)[1]
        spans[index : index + 2] = [(spans[index][0], spans[index + 1][1])]
