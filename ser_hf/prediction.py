"""What a classifier says of one recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Distances. Between the two lie many voices of other corpora; beyond the second, few of them and all but few sounds
# without a voice (`train.robustness` counts both).
UNFAMILIAR = 1.0
HARDLY_A_VOICE = 1.5


def likeliest(scores: dict[str, float]) -> str:
    """The label of the highest probability; of several, the first.

    >>> likeliest({"neutral": 0.2, "calm": 0.7, "happy": 0.1})
    'calm'
    """
    return max(scores, key=lambda label: scores[label])


@dataclass(frozen=True)
class Segment:
    """One window of a recording and what the voice expresses in it; ``start`` and ``end`` are seconds."""

    start: float
    end: float
    label: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """What the voice in one recording expresses.

    Attributes:
        file: the name of the recording.
        label: the likeliest emotion.
        scores: probability of every label, in the order of `ser_hf.labels.LABELS`; they sum to 1.
        duration: seconds of the whole recording.
        warnings: what makes the answer less certain, in plain words.
        timeline: the windows that were analysed, in order; their mean is ``scores``.
        confident: whether the model is sure enough for ``label`` to count as an answer, and what it hears is a voice.
        distance: how far the voice is from those that the model learned from, 0 or more. Of their own clips one in a
            hundred is farther than 1 from those of the others; what is no voice begins about 1.5. None if not known.
    """

    file: str
    label: str
    scores: dict[str, float]
    duration: float
    warnings: list[str] = field(default_factory=list)
    timeline: list[Segment] = field(default_factory=list)
    confident: bool = True
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers for JSON, probabilities to six digits and seconds to three."""
        return {
            "file": self.file,
            "label": self.label,
            "confident": self.confident,
            "distance": None if self.distance is None else round(self.distance, 3),
            "scores": _rounded(self.scores),
            "duration": round(self.duration, 3),
            "warnings": list(self.warnings),
            "timeline": [
                {
                    "start": round(segment.start, 3),
                    "end": round(segment.end, 3),
                    "label": segment.label,
                    "scores": _rounded(segment.scores),
                }
                for segment in self.timeline
            ],
        }


def too_unsure(label: str, probability: float, threshold: float) -> str:
    """The warning that the likeliest label is not likely enough to count as an answer."""
    # As the page rounds it, but for two figures that would look the same.
    digits = 0 if round(100 * probability) < round(100 * threshold) else 2
    has, needed = (f"{100 * share:.{digits}f} %" for share in (probability, threshold))
    return f"not sure enough to answer: the likeliest, {label}, has {has}, and an answer takes {needed}"


def unfamiliar(distance: float) -> str:
    """The warning that a voice is farther than `UNFAMILIAR` from those that the model learned from."""
    if distance > HARDLY_A_VOICE:
        return "hardly a voice, or one quite unlike those that the model learned from: its answer means nothing"
    return "a voice or a sound unlike those that the model learned from: it is more often wrong about such"


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {label: round(score, 6) for label, score in scores.items()}
