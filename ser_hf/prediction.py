"""The prediction of a classifier for one recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Out-of-domain scores. Many voices of other corpora lie between the two; beyond the second, hardly any of them, and
# most sounds without a voice (`experiments.robustness` counts both).
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
    """The prediction for one window of a recording; ``start`` and ``end`` are seconds."""

    start: float
    end: float
    label: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """The predicted emotion of one recording.

    Attributes:
        file: the name of the recording.
        label: the label of the highest probability.
        scores: probability of every label, in the order of `ser_hf.labels.LABELS`; they sum to 1.
        duration: seconds of the whole recording.
        warnings: what makes the prediction doubtful, in plain words.
        timeline: the windows that were analysed, in order; their mean is ``scores``.
        confident: whether the probability of ``label`` reaches the model's threshold and the recording is not far out
            of domain.
        distance: out-of-domain score, 0 or more. One in a hundred training clips has more than 1 against the clips of
            the other speakers; sounds without a voice begin at about 1.5. None where the model has no such score.
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


def low_confidence(label: str, probability: float, threshold: float) -> str:
    """The warning that the probability of the predicted label is below the threshold."""
    # As the page rounds it, but for two figures that would look the same.
    digits = 0 if round(100 * probability) < round(100 * threshold) else 2
    has, needed = (f"{100 * share:.{digits}f} %" for share in (probability, threshold))
    return f"low confidence: {label}, {has} (threshold {needed})"


def out_of_domain(distance: float) -> str:
    """The warning that an out-of-domain score is above `UNFAMILIAR`."""
    if distance > HARDLY_A_VOICE:
        return "far out of domain: hardly a voice, or very unlike the training data; do not use this prediction"
    return "out of domain: unlike the training data"


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {label: round(score, 6) for label, score in scores.items()}
