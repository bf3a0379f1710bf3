"""What the page returns: the predictions of both models for one recording, as plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.limits import Limits
from ser_hf.audio import SAMPLE_RATE, AudioError, Recording, SilenceError, TooLongError, TooShortError, read_audio
from ser_hf.classifier import EmotionClassifier, Prediction, Segment
from ser_hf.explain import occlusion, standout_features

Result = dict[str, Any]

REASONS = {SilenceError: "silence", TooShortError: "too short", TooLongError: "too long"}
OUT_OF_MEMORY = "The page is short of memory. Try a shorter recording, or again in some minutes."


@dataclass(frozen=True)
class Explanation:
    """What drove the predictions for a recording.

    Attributes:
        recording: as the models got it.
        stretches: the influence of each stretch of the network's decisive window, in order; dicts of
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
        """Predict once, so that the first visitor does not wait for caches and lazy imports."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        self.model.predict(noise)
        self.baseline.predict(noise)

    def adapted(self, recordings: Callable[[], Iterable[Recording]]) -> Analyser:
        """The same with both models adapted to the one speaker of some recordings (see `EmotionClassifier.adapt`).

        Args:
            recordings: gives them, once for each model.
        """
        return replace(self, model=self.model.adapt(recordings()), baseline=self.baseline.adapt(recordings()))

    def analyse(self, path: str | None) -> Result:
        """Predict the emotion of an uploaded recording, or say why there is no prediction.

        Returns:
            ``file``, ``duration`` (s), ``warnings``, ``agree`` and, for ``model`` and ``baseline`` each, ``name``,
            ``window_seconds``, ``label``, ``confident`` (whether its probability reaches the threshold), ``scores``,
            ``warnings`` and ``timeline``; or ``file``, ``reason`` and ``error``.
        """
        if not path:
            return failure("", "nothing", "There is no recording yet. Record a sentence, or upload a file.")
        return self.predict(path, Path(path).name)

    def explain(self, path: str, result: Result) -> Explanation:
        """Find what drove the predictions in the ``result`` of `analyse`."""
        recording = read_audio(path, max_seconds=self.limits.seconds)
        return Explanation(
            recording,
            [asdict(stretch) for stretch in occlusion(self.model, recording, *_timeline(result["model"]))],
            [asdict(one) for one in standout_features(self.baseline, recording, *_timeline(result["baseline"]))],
        )

    def predict(self, source: Any, name: str) -> Result:
        """As `analyse`, of whatever `ser_hf.audio.read_audio` takes, under the name that the visitor knows it by."""
        try:
            # Read once for both; the length is read from the header before anything is decoded.
            recording = read_audio(source, max_seconds=self.limits.seconds)
            model, baseline = self.model.predict(recording), self.baseline.predict(recording)
        except AudioError as error:
            shown = source if isinstance(source, (str, Path)) else name
            return failure(name, REASONS.get(type(error), "unreadable"), str(error).replace(str(shown), name))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return failure(name, "out of memory", OUT_OF_MEMORY)
        shared = [warning for warning in model.warnings if warning in baseline.warnings]
        return {
            "file": name,
            "duration": round(recording.duration, 3),
            "warnings": shared,
            "agree": model.label == baseline.label,
            "model": _part(self.model, model, shared),
            "baseline": _part(self.baseline, baseline, shared),
        }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused: by Python and numpy, or by torch, which has no error of its own for it."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def _part(classifier: EmotionClassifier, prediction: Prediction, shared: list[str]) -> Result:
    values = prediction.to_dict()
    return {
        "name": classifier.name,
        "window_seconds": classifier.window_seconds,
        **{key: values[key] for key in ("label", "confident", "scores", "timeline")},
        "warnings": [warning for warning in values["warnings"] if warning not in shared],
    }


def _timeline(part: Result) -> tuple[str, list[Segment]]:
    return part["label"], [Segment(**segment) for segment in part["timeline"]]


def failure(file: str, reason: str, error: str) -> Result:
    """The result for a recording without a prediction."""
    return {"file": file, "reason": reason, "error": error}
