"""`EmotionClassifier`: one face for every model folder or Hub id, whatever kind of model is inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ser_hf.audio import (
    SAMPLE_RATE,
    AudioError,
    Recording,
    check_speech,
    read_audio,
    sliding_windows,
    speech_span,
)
from ser_hf.labels import LABELS
from ser_hf.models import ModelError

BUNDLED_MODELS = Path(__file__).resolve().parent.parent / "models"
DEFAULT_MODEL = BUNDLED_MODELS / "ser-whisper"
DEFAULT_BASELINE = BUNDLED_MODELS / "ser-svm"
CLASSICAL_MODEL_TYPE = "ser_hf-classical"
# Engineered features are statistics over a whole clip, and were learned on clips of about this length.
CLASSICAL_WINDOW_SECONDS = 5.0

LOW_CONFIDENCE = 0.5
QUIET_PEAK = 0.01  # 40 dB below full scale; one clip of RAVDESS in a hundred is as quiet
LITTLE_SPEECH = 0.25  # of the recording; no clip of RAVDESS has less than 0.37
WINDOW_SILENCE = 0.01  # of the recording's peak: 40 dB below it
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class _Model(Protocol):
    """What `load_neural` and `load_classical` return."""

    labels: list[str]

    def predict_proba(self, clips: list[np.ndarray]) -> np.ndarray: ...


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
    """

    file: str
    label: str
    scores: dict[str, float]
    duration: float
    warnings: list[str] = field(default_factory=list)
    timeline: list[Segment] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers for JSON, probabilities to six digits and seconds to three."""
        return {
            "file": self.file,
            "label": self.label,
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


@dataclass(frozen=True)
class _Plan:
    """A recording and the stretches of it, in samples, that the model is to hear."""

    recording: Recording
    windows: list[tuple[int, int]]

    @property
    def clips(self) -> list[np.ndarray]:
        return [self.recording.samples[start:end] for start, end in self.windows]


class EmotionClassifier:
    """A trained model, neural or classical, that says which emotion a voice expresses.

    Attributes:
        name: what the model is called: the folder's name, or the Hub id.
        labels: the model's labels, in the order of `ser_hf.labels.LABELS`.
        window_seconds: the longest stretch, in seconds, that the model hears at once.
    """

    def __init__(self, model: _Model, name: str, window_seconds: float) -> None:
        self.name = name
        self.window_seconds = window_seconds
        known = {label: position for position, label in enumerate(LABELS)}
        self._order = sorted(range(len(model.labels)), key=lambda i: (known.get(model.labels[i], len(LABELS)), i))
        self.labels = [model.labels[index] for index in self._order]
        self._model = model

    @classmethod
    def from_pretrained(cls, model: str | Path, device: str | None = None) -> EmotionClassifier:
        """Load a model folder, or a model of the Hub by its id (``user/name``).

        Which kind it is follows from its ``config.json``. Nothing is fetched for a folder; for a Hub id,
        ``HF_HUB_OFFLINE=1`` keeps to what was fetched before.

        Args:
            model: folder or Hub id.
            device: where a neural model runs, such as "cuda" (default: "cpu"); a classical model has none.

        Raises:
            ModelError: there is no such folder or Hub id, or what is there cannot be used.
        """
        folder = Path(model).expanduser()
        is_folder = folder.exists()
        if not is_folder and (isinstance(model, Path) or _looks_like_folder(model)):
            raise ModelError(
                f"there is no model folder {str(model)!r}. Name a folder that holds a config.json, or a model of the "
                "Hub as user/name."
            )
        config_file = folder / "config.json" if is_folder else _fetch(str(model), "config.json")
        name = folder.resolve().name if is_folder else str(model)
        if _read_config(config_file, str(model)).get("model_type") == CLASSICAL_MODEL_TYPE:
            from ser_hf.models.classical import load_classical

            if not is_folder:
                folder = _fetch(name, "pipeline.skops").parent
            return cls(load_classical(folder), name, CLASSICAL_WINDOW_SECONDS)
        from ser_hf.models.neural import load_neural  # torch: only where it is needed

        neural = load_neural(folder if is_folder else name, device)
        return cls(neural, name, neural.window_seconds)

    def predict(self, source: Any) -> Prediction:
        """Say what the voice in one recording expresses.

        A recording that fits the model's window is heard exactly as it is. From a longer one, silence at both ends is
        trimmed; what is still longer is heard in windows that overlap by half, without the silent ones, and the
        probabilities are averaged.

        Args:
            source: a file, or whatever else `ser_hf.audio.read_audio` takes, or the `Recording` it returns.

        Raises:
            AudioError: the recording cannot be read, is silent, or is too short to answer.
        """
        plan = self._plan(source)
        return self._answer(plan, self._probabilities(plan.clips))

    def predict_many(self, sources: Iterable[Any], batch_size: int = 16) -> Iterator[Prediction | AudioError]:
        """Answer many recordings in their order, several windows at a time; a bad one yields its error.

        Sources are read as answers are asked for, so memory does not grow with their number.
        """
        waiting: list[_Plan | AudioError] = []
        for source in sources:
            try:
                waiting.append(self._plan(source))
            except AudioError as error:
                waiting.append(error)
            if sum(len(plan.windows) if isinstance(plan, _Plan) else 1 for plan in waiting) >= batch_size:
                yield from self._answer_all(waiting, batch_size)
                waiting = []
        yield from self._answer_all(waiting, batch_size)

    def _plan(self, source: Any) -> _Plan:
        recording = source if isinstance(source, Recording) else read_audio(source)
        if recording.sample_rate != SAMPLE_RATE:
            raise AudioError(
                f"{recording.name}: models hear {SAMPLE_RATE} Hz, this recording is at {recording.sample_rate}"
            )
        check_speech(recording)
        return _Plan(recording, speech_windows(recording.samples, self.window_seconds))

    def _answer_all(self, plans: list[_Plan | AudioError], batch_size: int) -> Iterator[Prediction | AudioError]:
        clips = [clip for plan in plans if isinstance(plan, _Plan) for clip in plan.clips]
        if clips:
            rows = np.concatenate(
                [self._probabilities(clips[i : i + batch_size]) for i in range(0, len(clips), batch_size)]
            )
        position = 0
        for plan in plans:
            if isinstance(plan, AudioError):
                yield plan
            else:
                yield self._answer(plan, rows[position : position + len(plan.windows)])
                position += len(plan.windows)

    def _probabilities(self, clips: list[np.ndarray]) -> np.ndarray:
        """float64 (clips, labels), each row summing to 1, columns in the order of ``labels``."""
        rows = np.asarray(self._model.predict_proba(clips), dtype=np.float64)[:, self._order]
        return rows / rows.sum(axis=1, keepdims=True)

    def _answer(self, plan: _Plan, rows: np.ndarray) -> Prediction:
        recording = plan.recording
        mean = self._scores(rows.mean(axis=0))
        label = max(mean, key=mean.get)
        timeline = []
        for (start, end), row in zip(plan.windows, rows, strict=True):
            scores = self._scores(row)
            timeline.append(Segment(start / SAMPLE_RATE, end / SAMPLE_RATE, max(scores, key=scores.get), scores))
        warnings = [*recording.warnings, *_doubts(recording, len(plan.windows), self.window_seconds)]
        if mean[label] < LOW_CONFIDENCE:
            warnings.append(f"no expression stands out: the likeliest, {label}, has only {100 * mean[label]:.0f} %")
        return Prediction(recording.name, label, mean, recording.duration, warnings, timeline)

    def _scores(self, row: np.ndarray) -> dict[str, float]:
        return dict(zip(self.labels, row.tolist(), strict=True))


def speech_windows(samples: np.ndarray, window_seconds: float) -> list[tuple[int, int]]:
    """Which stretches (start, end), in samples, of a recording a model with such a window hears.

    A recording that fits is one stretch, untouched. Else silence at both ends is left out; if the rest does not fit
    either, it is cut into windows that overlap by half, of which silent ones (40 dB below the recording) are left out.
    """
    window = round(window_seconds * SAMPLE_RATE)
    if len(samples) <= window:
        return [(0, len(samples))]
    first, last = speech_span(samples)
    threshold = WINDOW_SILENCE * float(np.abs(samples).max())
    windows = [(first + start, first + end) for start, end in sliding_windows(last - first, window, window // 2)]
    return [(start, end) for start, end in windows if np.abs(samples[start:end]).max() >= threshold]


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {label: round(score, 6) for label, score in scores.items()}


def _doubts(recording: Recording, n_windows: int, window_seconds: float) -> list[str]:
    """What in a recording makes an answer less certain, in plain words."""
    doubts = []
    peak = float(np.abs(recording.samples).max())
    if peak < QUIET_PEAK:
        doubts.append(f"very quiet: the loudest sample is at {100 * peak:.1f} % of full scale")
    first, last = speech_span(recording.samples)
    if last - first < LITTLE_SPEECH * len(recording.samples):
        doubts.append(
            f"mostly silence: sound fills {(last - first) / SAMPLE_RATE:.1f} of {recording.duration:.1f} seconds"
        )
    if n_windows > 1:
        doubts.append(
            f"longer than the {window_seconds:g} seconds that the model hears at once: "
            f"analysed in {n_windows} windows, whose answers are averaged"
        )
    return doubts


def _looks_like_folder(model: str) -> bool:
    """Whether a name that is no folder here was meant as one, so that no typing error becomes a request to the Hub."""
    if not _HUB_ID.fullmatch(model):
        return True
    first = model.split("/")[0]
    return first in ("models", "runs") or Path(first).exists()


def _fetch(hub_id: str, file: str) -> Path:
    """Download one file of a Hub model, or find it in the local cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(hub_id, file))
    except RepositoryNotFoundError:
        reason = "the Hub has no such model, or it is private and you are not logged in"
    except LocalEntryNotFoundError:
        reason = "it is not in the local cache, and the Hub cannot be reached (or HF_HUB_OFFLINE is set)"
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
    raise ModelError(f"cannot get {file} of the model {hub_id!r} from the Hub: {reason}")


def _read_config(file: Path, model: str) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(f"{model} is no model folder: it holds no config.json") from None
    except ValueError as error:
        raise ModelError(f"{model}: its config.json is not valid JSON ({error})") from None
    if not isinstance(config, dict):
        raise ModelError(f"{model}: its config.json holds no settings")
    return config
