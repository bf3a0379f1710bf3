"""`EmotionClassifier` and its `Prediction`: one interface for every model folder or Hub id, neural or classical."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ser_hf.adapt import LEAST, Reference, in_label_order, shifted, speaker_shift
from ser_hf.audio import SAMPLE_RATE, AudioError, Recording, check_speech, read_audio, speech_windows
from ser_hf.audio.quality import quality_doubts
from ser_hf.hub import BUNDLED_MODELS, HubError, model_folder, trained_on
from ser_hf.labels import in_order
from ser_hf.models import ModelError
from ser_hf.utils.names import unknown_name

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = BUNDLED_MODELS / "ser-whisper"
DEFAULT_BASELINE = BUNDLED_MODELS / "ser-svm"
CLASSICAL_MODEL_TYPE = "ser_hf-classical"
# Engineered features are statistics over a whole clip; training clips are about this long.
CLASSICAL_WINDOW_SECONDS = 5.0

NEEDED_BY = {"torch": ("torch", "transformers"), "onnx": ("onnxruntime", "transformers")}
RUNTIMES = tuple(NEEDED_BY)
PRECISIONS = ("float32", "bfloat16", "auto")
ANSWER_THRESHOLD = 0.5  # of a model whose config has none
# Out-of-domain scores. Many voices of other corpora lie between the two; beyond the second, hardly any of them, and
# most sounds without a voice (`experiments.robustness` counts both).
UNFAMILIAR = 1.0
HARDLY_A_VOICE = 1.5
MIN_HOP_SECONDS = 0.1
BATCH_SIZE = 16  # windows in a batch, which bounds the memory that a long recording takes


def likeliest(scores: dict[str, float]) -> str:
    """The label of the highest probability; of several, the first.

    >>> likeliest({"neutral": 0.2, "calm": 0.7, "happy": 0.1})
    'calm'
    """
    return max(scores, key=lambda label: scores[label])


@dataclass(frozen=True)
class Segment:
    """The prediction for one utterance of a recording; ``start`` and ``end`` are seconds."""

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
        timeline: the utterances, in order, or the fixed windows of a classifier with ``hop_seconds``. ``scores`` is
            the mean over all windows, of which a long utterance has several.
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
                {"start": round(one.start, 3), "end": round(one.end, 3), "label": one.label}
                | {"scores": _rounded(one.scores)}
                for one in self.timeline
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


class Model(Protocol):
    """What `load_neural`, `load_onnx` and `load_classical` return; the first two have ``window_seconds``, too."""

    @property
    def labels(self) -> list[str]: ...

    def predict_proba(self, clips: list[np.ndarray]) -> np.ndarray: ...


_Read = tuple[Recording, list[list[tuple[int, int]]]]  # a recording and the windows of each utterance, in samples


class EmotionClassifier:
    """A trained model, neural or classical, that predicts which emotion a voice expresses.

    Attributes:
        name: what the model is called: the folder's name, or the Hub id.
        labels: the model's labels, in the order of `ser_hf.labels.LABELS`.
        window_seconds: the longest window, in seconds, that the model takes.
        model: the `NeuralModel`, `OnnxModel` or `ClassicalModel` inside; its labels may be in another order.
        answer_threshold: least probability of the predicted label, in [0, 1], for a prediction to be confident; chosen
            on clips that the model was not trained on.
        metrics: the contents of the model's ``metrics.json`` (`ser_hf.evaluation.metrics`); None without one.
        trained_on: the corpora that the model was trained on; empty where its ``config.json`` does not say.
        reference: how other speakers look to the model (`ser_hf.adapt`); None where its ``config.json`` does not
            say.
        hop_seconds: how far apart the fixed windows are into which longer recordings are cut; None cuts at pauses.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        window_seconds: float,
        metrics: dict[str, Any] | None = None,
        answer_threshold: float = ANSWER_THRESHOLD,
        trained_on: list[str] | None = None,
        reference: Reference | None = None,
        hop_seconds: float | None = None,
    ) -> None:
        if hop_seconds is not None and not MIN_HOP_SECONDS <= hop_seconds <= window_seconds:
            raise ModelError(
                f"windows {hop_seconds:g} s apart: {name} takes {MIN_HOP_SECONDS:g} to {window_seconds:g} s, its window"
            )
        self.name = name
        self.trained_on = trained_on or []
        self.window_seconds = window_seconds
        self.answer_threshold = answer_threshold
        self.labels = in_order(model.labels)
        self._order = [model.labels.index(label) for label in self.labels]
        self.model = model
        self.metrics = metrics
        self.reference = reference
        self.hop_seconds = hop_seconds
        self.shift = np.zeros(len(self.labels))  # of one speaker (see `adapt`)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        device: int | str | torch.device | None = None,
        runtime: str | None = None,
        precision: str = "float32",
        hop_seconds: float | None = None,
    ) -> EmotionClassifier:
        """Load a model folder, or a model of the Hub by its id (``user/name`` or ``user/name@revision``).

        Which kind it is follows from its ``config.json``. Nothing is fetched for a folder. A model of the Hub is
        fetched once, and found in the local cache where the Hub cannot be reached; ``HF_HUB_OFFLINE=1`` keeps to that.

        Args:
            model: folder or Hub id; a revision is a branch, a tag or, to pin the model, a commit.
            device: where a neural model runs: "cpu" (default), "cuda", "cuda:1", "mps", the number of a GPU, or "auto"
                for a GPU where there is one; classical models and onnxruntime take "cpu" and "auto" alone.
            runtime: what runs a neural model: "torch", or "onnx" for ``model.onnx`` by onnxruntime on the CPU (default:
                torch where it is installed).
            precision: of a neural model that torch runs: "float32" gives what the stock pipeline gives; "bfloat16" in
                its feed-forward networks is faster where the processor has it (AMX, AVX512-BF16), and within 0.01 of
                that (`python -m experiments.speed --only exactness`); "auto" takes it there.
            hop_seconds: see the attribute.

        Raises:
            ModelError: there is no such folder, Hub id or device, what is there cannot be used, or ``hop_seconds`` is
                longer than the model's window.
        """
        if runtime is not None and runtime not in RUNTIMES:
            raise ModelError(unknown_name("runtime", runtime, RUNTIMES))
        if precision not in PRECISIONS:
            raise ModelError(unknown_name("precision", precision, PRECISIONS))
        runtime = runtime or ("onnx" if find_spec("onnxruntime") and not find_spec("torch") else "torch")
        try:
            folder = model_folder(model, onnx=runtime == "onnx")
        except HubError as error:
            raise ModelError(str(error)) from error
        name = folder.resolve().name if Path(model).expanduser().exists() else str(model)
        config = _read_config(folder / "config.json", str(model))
        threshold = config.get("answer_threshold", ANSWER_THRESHOLD)
        if type(threshold) not in (int, float) or not 0 <= threshold <= 1:
            raise ModelError(f"{model}: answer_threshold in its config.json is {threshold!r:.200}, not between 0 and 1")
        facts = {"metrics": _read_metrics(folder), "answer_threshold": threshold, "trained_on": trained_on(folder)}
        facts |= {"reference": config.get("speaker_reference"), "hop_seconds": hop_seconds}
        if config.get("model_type") == CLASSICAL_MODEL_TYPE:
            from ser_hf.models.classical import load_classical

            _check_cpu(device, name)
            return cls(load_classical(folder), name, CLASSICAL_WINDOW_SECONDS, **facts)
        missing = [package for package in NEEDED_BY[runtime] if find_spec(package) is None]
        if missing:
            raise ModelError(
                f"{name} is a neural network, which needs {' and '.join(missing)}: install ser_hf[{runtime}] "
                f"(pip install '.[{runtime}]' in the folder of the repository), or take the model ser-svm, which needs "
                "neither"
            )
        if runtime == "onnx":
            from ser_hf.models.onnx_model import load_onnx

            _check_cpu(device, f"{name} in onnxruntime")
            neural: Any = load_onnx(folder)
        else:
            from ser_hf.models.neural import load_neural  # torch: only where it is needed

            neural = load_neural(folder, device, precision)
        return cls(neural, name, neural.window_seconds, **facts)

    def predict(self, source: Any) -> Prediction:
        """Predict the emotion of one recording.

        Silence at both ends is trimmed. What is still longer than the model's window is cut at pauses into utterances,
        a longer utterance into windows that overlap by half, and the probabilities are averaged over all windows.

        Args:
            source: a file, or whatever else `ser_hf.audio.read_audio` takes, or the `Recording` it returns.

        Raises:
            AudioError: the recording cannot be read, is silent, or is too short.
        """
        (result,) = self.predict_many([source])
        if isinstance(result, AudioError):
            raise result
        return result

    def predict_many(
        self, sources: Iterable[Any], batch_size: int = BATCH_SIZE, max_seconds: float | None = None
    ) -> Iterator[Prediction | AudioError]:
        """Predict many recordings in their order, in batches; one that cannot be used yields its error.

        No more is read than fills a batch, so that memory does not grow with the number of sources.

        Args:
            sources: each as in `predict`.
            batch_size: windows in a batch.
            max_seconds: a longer recording yields a `TooLongError`; an hour takes 230 MB.

        Raises:
            TypeError: this is one recording, not many.
        """
        is_samples = isinstance(sources, np.ndarray) and sources.ndim == 1 and sources.dtype != object
        if is_samples or isinstance(sources, (str, bytes, os.PathLike, Mapping, Recording)):
            raise TypeError("this is one recording: predict takes it; predict_many takes a list of them")
        return self._predict_many(sources, batch_size, max_seconds)

    def _predict_many(
        self, sources: Iterable[Any], batch_size: int, max_seconds: float | None
    ) -> Iterator[Prediction | AudioError]:
        batch: list[_Read | AudioError] = []
        n_windows = 0
        for source in sources:
            try:
                read = self._read(source, max_seconds)
                batch.append(read)
                n_windows += sum(map(len, read[1]))
            except AudioError as error:
                batch.append(error)
            if n_windows >= batch_size:
                yield from self._predict_batch(batch, batch_size)
                batch, n_windows = [], 0
        yield from self._predict_batch(batch, batch_size)

    def embed(self, sources: Iterable[Any], batch_size: int = BATCH_SIZE) -> np.ndarray:
        """What the head of the network sees of recordings, for search, clustering or a model of one's own.

        Args:
            sources: each as in `predict`; the embeddings of the windows of a longer one are averaged.
            batch_size: recordings read at a time.

        Returns:
            float32 (recordings, hidden size).

        Raises:
            ModelError: the model is no network, or its ONNX file was made by an earlier version.
            AudioError: a recording cannot be read, is silent, or is too short.
        """
        rows = list(self.embed_many(sources, batch_size))
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def embed_many(self, sources: Iterable[Any], batch_size: int = BATCH_SIZE) -> Iterator[np.ndarray]:
        """As `embed`, one float32 (hidden size,) after the other, for any number of recordings."""
        model: Any = self.model
        if not hasattr(model, "embeddings"):
            raise ModelError(f"{self.name} is no network, and has no embeddings; take one such as ser-whisper")
        return self.mean_over_windows(sources, model.embeddings, batch_size)

    def mean_over_windows(
        self, sources: Iterable[Any], compute: Callable[[list[np.ndarray]], np.ndarray], batch_size: int = BATCH_SIZE
    ) -> Iterator[np.ndarray]:
        """What a function computes of clips, float (clips, d), averaged over the windows of each recording."""
        remaining = iter(sources)
        while batch := list(itertools.islice(remaining, batch_size)):
            read = [self._read(source, None) for source in batch]
            clips = [_clips(*one) for one in read]
            found = compute(list(itertools.chain(*clips)))
            for part in np.split(found, np.cumsum([len(own) for own in clips])[:-1]):
                yield part.mean(axis=0)

    def adapt(self, sources: Iterable[Any], neutral: bool = False) -> EmotionClassifier:
        """A copy of this classifier, adapted to one speaker by a few of their recordings, without labels.

        It subtracts from log-probabilities what is particular to the speaker (`ser_hf.adapt`), and assumes that the
        recordings are a mix of what the speaker expresses. What it gains: reports/adaptation.md.

        Args:
            sources: recordings of one speaker, each as in `predict`; two or more, or one that is neutral.
            neutral: all of them are neutral.

        Raises:
            ModelError: the model does not say how other speakers look to it, or knows no neutral.
            AudioError: fewer recordings than that can be used.
        """
        reference = in_label_order(self.reference, self.labels)
        if ("neutral" if neutral else "mean") not in reference:
            raise ModelError(f"{self.name} cannot be adapted so: its config.json has no reference of other speakers")
        found = list(self.predict_many(sources))
        used = [list(one.scores.values()) for one in found if not isinstance(one, AudioError)]
        least = 1 if neutral else LEAST
        if len(used) < least:
            raise AudioError(f"adapting to a speaker takes {least} or more usable recordings, not {len(used)}")
        adapted = copy.copy(self)
        adapted.shift = self.shift + speaker_shift(np.array(used), reference, neutral)
        return adapted

    def _read(self, source: Any, max_seconds: float | None) -> _Read:
        recording = source if isinstance(source, Recording) else read_audio(source, max_seconds=max_seconds)
        if recording.sample_rate != SAMPLE_RATE:
            raise AudioError(
                f"{recording.name}: models take {SAMPLE_RATE} Hz, and this recording has {recording.sample_rate} Hz"
            )
        check_speech(recording)
        return recording, speech_windows(recording.samples, self.window_seconds, self.hop_seconds)

    def _predict_batch(self, batch: list[_Read | AudioError], batch_size: int) -> Iterator[Prediction | AudioError]:
        usable = [one for one in batch if not isinstance(one, AudioError)]
        clips = [clip for one in usable for clip in _clips(*one)]
        found = zip(*self._predict(clips, batch_size), strict=True) if clips else iter(())
        for one in batch:
            if isinstance(one, AudioError):
                yield one
            else:
                rows, distances = zip(*itertools.islice(found, sum(map(len, one[1]))), strict=True)
                yield self._prediction(*one, np.stack(rows), float(np.mean(distances)))

    def probabilities(self, clips: list[np.ndarray], batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The model's probabilities for clips as they are: nothing is checked, trimmed or split into windows.

        Args:
            clips: float32 mono at 16 kHz, each of at least one sample and no longer than ``window_seconds``.
            batch_size: clips in a batch.

        Returns:
            float64 (clips, labels), each row summing to 1, columns in the order of ``labels``.
        """
        return self._predict(clips, batch_size)[0]

    def _predict(self, clips: list[np.ndarray], batch_size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray]:
        """`probabilities`, and the out-of-domain score of each clip: NaN where the model has none."""
        model: Any = self.model
        knows = getattr(model, "familiarity", None) is not None
        rows, distances = [], []
        for start in range(0, len(clips), batch_size):
            batch = clips[start : start + batch_size]
            found = model.predict_with_distance(batch) if knows else (model.predict_proba(batch), np.nan)
            rows.append(found[0])
            distances.append(np.broadcast_to(found[1], len(batch)))
        ordered = np.concatenate(rows).astype(np.float64)[:, self._order]
        ordered /= ordered.sum(axis=1, keepdims=True)
        return shifted(ordered, self.shift) if self.shift.any() else ordered, np.concatenate(distances)

    def _prediction(
        self, recording: Recording, utterances: list[list[tuple[int, int]]], rows: np.ndarray, distance: float
    ) -> Prediction:
        parts = np.split(rows, np.cumsum([len(windows) for windows in utterances])[:-1])
        scores, *by_utterance = (
            dict(zip(self.labels, part.mean(axis=0).tolist(), strict=True)) for part in (rows, *parts)
        )
        label = likeliest(scores)
        timeline = [
            Segment(windows[0][0] / SAMPLE_RATE, windows[-1][1] / SAMPLE_RATE, likeliest(one), one)
            for windows, one in zip(utterances, by_utterance, strict=True)
        ]
        warnings = [*recording.warnings, *quality_doubts(recording)]
        if len(rows) > 1:
            cut = f"{len(timeline)} utterances, " if 1 < len(timeline) < len(rows) else ""
            unit = "utterances" if self.hop_seconds is None and len(timeline) == len(rows) else "windows"
            warnings.append(
                f"longer than the model's window of {self.window_seconds:g} s: probabilities are averaged over "
                f"{cut}{len(rows)} {unit}"
            )
        if distance > UNFAMILIAR:  # never of NaN
            warnings.append(out_of_domain(distance))
        if scores[label] < self.answer_threshold:
            warnings.append(low_confidence(label, scores[label], self.answer_threshold))
        confident = scores[label] >= self.answer_threshold and not distance > HARDLY_A_VOICE
        known = None if math.isnan(distance) else distance
        return Prediction(recording.name, label, scores, recording.duration, warnings, timeline, confident, known)


def _check_cpu(device: object, what: str) -> None:
    if str(device) not in ("None", "cpu", "auto", "-1"):
        raise ModelError(f"{what} runs on the CPU alone, and not on device {str(device)!r}; take 'cpu' or 'auto'")


def _clips(recording: Recording, utterances: list[list[tuple[int, int]]]) -> list[np.ndarray]:
    return [recording.samples[start:end] for windows in utterances for start, end in windows]


def _read_config(file: Path, model: str) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(f"{model} is no model folder: it has no config.json") from None
    except ValueError as error:
        raise ModelError(f"{model}: its config.json is not valid JSON ({error})") from None
    if not isinstance(config, dict):
        raise ModelError(f"{model}: its config.json is no JSON object")
    return config


def _read_metrics(folder: Path) -> dict[str, Any] | None:
    """The contents of ``metrics.json``; None where there is none that can be read, since predictions do not need it."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) else None
