"""What drove a prediction: the stretch of the voice that counted most, and what is unusual about the voice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal.windows import tukey
from scipy.special import logit

from ser_hf.audio import SAMPLE_RATE, Recording, sliding_windows, speech_span
from ser_hf.classifier import EmotionClassifier, Segment

STRETCH_SECONDS = 0.4  # about two syllables: short enough to point at, long enough to matter
MIN_PROBABILITY = 1e-6  # what is beyond is rounding, not evidence
FADE_SECONDS = 0.005  # so that the hole itself does not click


@dataclass(frozen=True)
class Stretch:
    """A stretch of a recording and what it contributes to the prediction.

    Attributes:
        start, end: seconds from the beginning of the recording.
        complete, without: the probability of the label in the complete window, and when the stretch is silenced.
        evidence: by how much silencing it lowers the log-odds of the label, in nats, so that stretches can be ranked
            where the prediction is nearly certain too; below zero the stretch speaks against the label.
    """

    start: float
    end: float
    complete: float
    without: float
    evidence: float


@dataclass(frozen=True)
class Standout:
    """A property of a voice that is unusual beside the clips that a classical model was trained on.

    Attributes:
        name: of the engineered feature.
        words: what it means, with its value and what is usual.
        deviation: standard deviations from the mean of the training clips.
    """

    name: str
    words: str
    deviation: float


def decisive_segment(label: str, timeline: Sequence[Segment]) -> Segment:
    """The utterance that speaks most for a label; of a recording that has one, that one."""
    return max(timeline, key=lambda segment: segment.scores[label])


def _window(
    classifier: EmotionClassifier, recording: Recording, label: str, timeline: Sequence[Segment]
) -> tuple[int, np.ndarray]:
    """Where the decisive window begins, in samples, and its samples: of a long utterance the one that speaks most."""
    segment = decisive_segment(label, timeline)
    first, last = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
    size = round(classifier.window_seconds * SAMPLE_RATE)
    spans = [(first + start, first + end) for start, end in sliding_windows(last - first, size, size // 2)]
    windows = [recording.samples[start:end] for start, end in spans]
    best = 0
    if len(windows) > 1:
        best = int(classifier.probabilities(windows)[:, classifier.labels.index(label)].argmax())
    return spans[best][0], windows[best]


def occlusion(
    classifier: EmotionClassifier, recording: Recording, label: str, timeline: Sequence[Segment]
) -> list[Stretch]:
    """Silence one stretch after the other, and see what becomes of the prediction (Zeiler & Fergus 2014).

    Only the decisive window is looked at, and in it only what lies between its first and its last sound. Stretches are
    0.4 s long, or as long as the sound if it is shorter, and overlap by half.

    Args:
        recording: at 16 kHz, the one that was predicted.
        label, timeline: of the `Prediction` by ``classifier``.
    """
    offset, window = _window(classifier, recording, label, timeline)
    first, last = speech_span(window)
    length = round(STRETCH_SECONDS * SAMPLE_RATE)
    holes = [(first + start, first + end) for start, end in sliding_windows(last - first, length, length // 2)]
    clips = [window, *(_silenced(window, start, end) for start, end in holes)]
    probabilities = classifier.probabilities(clips)[:, classifier.labels.index(label)]
    log_odds = logit(np.clip(probabilities, MIN_PROBABILITY, 1 - MIN_PROBABILITY))
    evidence = (log_odds[0] - log_odds[1:]).tolist()
    complete, *without = probabilities.tolist()
    return [
        Stretch((offset + start) / SAMPLE_RATE, (offset + end) / SAMPLE_RATE, complete, probability, found)
        for (start, end), probability, found in zip(holes, without, evidence, strict=True)
    ]


def _silenced(window: np.ndarray, start: int, end: int) -> np.ndarray:
    """A copy in which ``start`` to ``end`` is silent, with short fades inside the hole."""
    silenced = window.copy()
    fades = min(2 * FADE_SECONDS * SAMPLE_RATE / (end - start), 1)
    silenced[start:end] *= (1 - tukey(end - start, fades)).astype(np.float32)
    return silenced


# Features that a listener can check by ear: what a high and a low value is called, the number's format and unit.
MEASURES = {
    "pitch_mean": ("a high pitch", "a low pitch", ".0f", "Hz"),
    "pitch_range": ("a lively melody", "a flat melody", ".0f", "semitones"),
    "energy_mean": ("a loud voice", "a quiet voice", ".0f", "dB"),
    "energy_range": ("strong changes of loudness", "an even loudness", ".0f", "dB"),
    "onset_rate": ("a fast rate", "a slow rate", ".1f", "onsets a second"),
    "voiced_fraction": ("hardly a pause", "much breath or many pauses", ".0%", "voiced"),
    "centroid_mean": ("a bright sound", "a dark sound", ".0f", "Hz at its centre"),
}
UNUSUAL = 1.25  # standard deviations: about one training clip in five is as far from the mean
FAR = 2.0


def standout_features(
    classifier: EmotionClassifier, recording: Recording, label: str, timeline: Sequence[Segment]
) -> list[Standout]:
    """What is unusual about the voice in the decisive window, the most unusual first; nothing for a neural model.

    Each feature is compared with its mean and deviation over the clips that the model was trained on. They are what
    the model was given, not proof of what it used.

    Args:
        recording: at 16 kHz, the one that was predicted.
        label, timeline: of the `Prediction` by ``classifier``.
    """
    model: Any = classifier.model
    if not hasattr(model, "feature_statistics"):
        return []
    from ser_hf.features import extract, feature_names  # librosa: only where a classical model is explained

    usual = model.feature_statistics()
    groups = [
        group for group in model.config["feature_groups"] if not MEASURES.keys().isdisjoint(feature_names([group]))
    ]
    window = _window(classifier, recording, label, timeline)[1]
    values = dict(zip(feature_names(groups), extract(window, groups).tolist(), strict=True))
    standouts = []
    for name in MEASURES.keys() & values.keys():
        mean, deviation = usual[name]
        distance = (values[name] - mean) / deviation
        if math.isfinite(distance) and abs(distance) >= UNUSUAL:  # a whisper has no pitch
            standouts.append(Standout(name, _words(name, values[name], mean, deviation), distance))
    return sorted(standouts, key=lambda standout: (-abs(standout.deviation), standout.name))


def _words(name: str, value: float, mean: float, deviation: float) -> str:
    """Such as "a high pitch (245 Hz; usual is 120 to 210)"."""
    above, below, form, unit = MEASURES[name]
    numbers = [value, mean - deviation, mean + deviation]
    if name == "pitch_mean":
        numbers = [100 * 2 ** (semitones / 12) for semitones in numbers]
    number, low, high = (format(one, form) for one in numbers)
    emphasis = "far from the usual" if abs(value - mean) >= FAR * deviation else "usual is"
    return f"{above if value > mean else below} ({number} {unit}; {emphasis} {low} to {high})"
