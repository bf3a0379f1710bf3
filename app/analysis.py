"""What the page returns: the predictions of both models for one recording, as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.limits import Limits
from ser_hf.audio import SAMPLE_RATE, AudioError, Recording, SilenceError, TooLongError, TooShortError, read_audio
from ser_hf.classifier import EmotionClassifier, Prediction, Segment
from ser_hf.explain import occlusion, standout_features

Answer = dict[str, Any]

REASONS = {SilenceError: "silence", TooShortError: "too short", TooLongError: "too long"}
OUT_OF_MEMORY = "The page is short of memory. Try a shorter recording, or again in some minutes."


@dataclass(frozen=True)
class Explanation:
    """What drove the predictions for a recording.

    Attributes:
        recording: as the models got it.
        stretches: what the network's answer owes to each stretch of its decisive window, in order; dicts of
            `ser_hf.explain.Stretch`.
        standouts: what is unusual about the voice beside the baseline's training clips; dicts of
            `ser_hf.explain.Standout`.
    """

    recording: Recording
    stretches: list[dict[str, Any]]
    standouts: list[dict[str, Any]]


@dataclass(frozen=True)
class Analyser:
    """Two models that predict the same recording."""

    model: EmotionClassifier
    baseline: EmotionClassifier
    limits: Limits = field(default_factory=Limits)

    def warm_up(self) -> None:
        """Answer once, so that the first visitor does not wait for caches and lazy imports."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        self.model.predict(noise)
        self.baseline.predict(noise)

    def analyse(self, path: str | None) -> Answer:
        """Say what the voice in a recording expresses, or in words why there is no answer.

        Returns:
            ``file``, ``duration`` (s), ``warnings``, ``agree`` and, for ``model`` and ``baseline`` each, ``name``,
            ``window_seconds``, ``label``, ``confident`` (whether its probability reaches the threshold), ``scores``,
            ``warnings`` and ``timeline``; or ``file``, ``reason`` and ``error``.
        """
        if not path:
            return refused("", "nothing", "There is no recording yet. Record a sentence, or upload a file.")
        name = Path(path).name
        try:
            size = Path(path).stat().st_size
        except (OSError, ValueError):  # `read_audio` says what is wrong; an upload may be deleted before its turn comes
            size = 0
        return self.too_large(name, size) or self.answer(path, name)

    def explain(self, path: str, answer: Answer) -> Explanation:
        """Say what drove the ``answer`` that `analyse` gave to a recording."""
        recording = read_audio(path, max_seconds=self.limits.seconds)
        return Explanation(
            recording,
            [asdict(stretch) for stretch in occlusion(self.model, recording, *_timeline(answer["model"]))],
            [asdict(one) for one in standout_features(self.baseline, recording, *_timeline(answer["baseline"]))],
        )

    def too_large(self, name: str, size: int) -> Answer | None:
        """The refusal of a recording of ``size`` bytes, if it is larger than is taken."""
        megabytes = size / 1e6
        if megabytes <= self.limits.megabytes:
            return None
        return refused(
            name, "too large", f"The file has {megabytes:.0f} MB; at most {self.limits.megabytes} MB are taken."
        )

    def answer(self, source: Any, name: str) -> Answer:
        """As `analyse`, of whatever `ser_hf.audio.read_audio` takes, under the name that the visitor knows it by."""
        try:
            # Read once for both; the length is read from the header before anything is decoded.
            recording = read_audio(source, max_seconds=self.limits.seconds)
            answers = [self.model.predict(recording), self.baseline.predict(recording)]
        except AudioError as error:
            shown = source if isinstance(source, (str, Path)) else name
            return refused(name, REASONS.get(type(error), "unreadable"), str(error).replace(str(shown), name))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return refused(name, "out of memory", OUT_OF_MEMORY)
        shared = [warning for warning in answers[0].warnings if warning in answers[1].warnings]
        return {
            "file": name,
            "duration": round(recording.duration, 3),
            "warnings": shared,
            "agree": answers[0].label == answers[1].label,
            "model": _part(self.model, answers[0], shared),
            "baseline": _part(self.baseline, answers[1], shared),
        }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused: by Python and numpy, or by torch, which has no error of its own for it."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def _part(classifier: EmotionClassifier, prediction: Prediction, shared: list[str]) -> Answer:
    answer = prediction.to_dict()
    return {
        "name": classifier.name,
        "window_seconds": classifier.window_seconds,
        **{key: answer[key] for key in ("label", "confident", "scores", "timeline")},
        "warnings": [warning for warning in answer["warnings"] if warning not in shared],
    }


def _timeline(part: Answer) -> tuple[str, list[Segment]]:
    """The label and the timeline of a classifier's part of the answer."""
    return part["label"], [Segment(**segment) for segment in part["timeline"]]


def refused(file: str, reason: str, error: str) -> Answer:
    """The answer that is a refusal."""
    return {"file": file, "reason": reason, "error": error}
