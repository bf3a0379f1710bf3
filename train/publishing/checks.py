"""What a model folder is held to before anybody gets it: it loads, it answers, and its words and figures are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from ser_hf import models
from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.classifier import EmotionClassifier
from ser_hf.evidence import CardError, check_metrics
from ser_hf.models import ModelError
from ser_hf.models.neural import NeuralModel
from ser_hf.models.onnx_model import ONNX_FILE
from ser_hf.prediction import likeliest
from train.publishing.describe import ANSWER, EXAMPLE

TOLERANCE = 0.01  # between two machines' arithmetic
SAME_TOLERANCE = 1e-4  # between two programs on one machine
# What an architecture of ours needs where nothing of ours is installed (`trust_remote_code=True`).
MODEL_CODE = ("networks.py", "log_mel.py")
WORDS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")


class CheckError(ValueError):
    """A model folder that must not be published; the message says which and why."""


def check_model(folder: Path) -> None:
    """Load a model folder as its users will, and hold it to what it says of itself.

    Raises:
        CheckError: it cannot be loaded or lacks weights; its labels are no words; it answers the example clip otherwise
            than when it was made, or the stock pipeline does; its figures are not those of its predictions.
    """
    try:
        classifier = EmotionClassifier.from_pretrained(folder)
    except ModelError as error:
        raise CheckError(str(error)) from error
    odd = [label for label in classifier.labels if not WORDS.fullmatch(label)]
    if odd:
        raise CheckError(f"{folder}: the label {odd[0]!r} is no word; name the labels in 'id2label' of config.json")
    _check_code(folder)
    expected = _read_answer(folder)
    _compare(folder, "this model", classifier.predict(folder / EXAMPLE).scores, expected, TOLERANCE)
    if isinstance(classifier.model, NeuralModel):
        # As much as the model hears at once: the pipeline drops the rest, where we hear windows.
        samples = load_audio(folder / EXAMPLE)[: int(classifier.window_seconds * SAMPLE_RATE)]
        ours = dict(zip(classifier.labels, classifier.probabilities([samples])[0].tolist(), strict=True))
        _compare(folder, "the stock pipeline", _stock_pipeline_scores(folder, samples), ours, SAME_TOLERANCE)
        if (folder / ONNX_FILE).is_file():
            _compare(folder, ONNX_FILE, _onnx_scores(folder, samples), ours, SAME_TOLERANCE)
    try:
        check_metrics(folder)
    except CardError as error:
        raise CheckError(str(error)) from error


def _onnx_scores(folder: Path, samples: np.ndarray) -> dict[str, float]:
    try:
        classifier = EmotionClassifier.from_pretrained(folder, runtime="onnx")
    except ModelError as error:
        raise CheckError(str(error)) from error
    return dict(zip(classifier.labels, classifier.probabilities([samples])[0].tolist(), strict=True))


def _check_code(folder: Path) -> None:
    """Strangers run a model folder's code, we our own: it must be the same."""
    for path in sorted(folder.glob("*.py")):
        ours = Path(models.__file__).parent / path.name
        if path.name not in MODEL_CODE or path.read_bytes() != ours.read_bytes():
            raise CheckError(f"{path} is not the code of this version; save the model again to publish it")


def _read_answer(folder: Path) -> dict[str, float]:
    for name in (EXAMPLE, ANSWER):
        if not (folder / name).is_file():
            raise CheckError(
                f"{folder} holds no {name}, so nobody can tell whether it still answers as it did; make it anew"
            )
    try:
        answer = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
        return {label: float(score) for label, score in answer["scores"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckError(f"{folder / ANSWER} does not hold a label and scores") from None


def _stock_pipeline_scores(folder: Path, samples: np.ndarray) -> dict[str, float]:
    """What people get who have nothing of ours."""
    from transformers import pipeline

    # Of an architecture of ours, this takes our classes, as we have registered them; `_check_code` compares the files.
    classify = pipeline("audio-classification", model=str(folder), device="cpu", trust_remote_code=False)
    rows = classify({"raw": samples, "sampling_rate": SAMPLE_RATE}, top_k=None)
    return {row["label"]: row["score"] for row in rows}


def _compare(folder: Path, who: str, scores: dict[str, float], expected: dict[str, float], tolerance: float) -> None:
    if set(scores) != set(expected):
        raise CheckError(f"{folder}: {who} answers {', '.join(scores)}, where {', '.join(expected)} are expected")
    label, known = likeliest(scores), likeliest(expected)
    # Written so that NaN fails too.
    close = all(abs(scores[name] - expected[name]) <= tolerance for name in expected)
    if label != known or not close:
        raise CheckError(
            f"{folder}: {who} hears {label} ({scores[label]:.3f}) in {EXAMPLE}, where {known} ({expected[known]:.3f}) "
            "is known: are these the weights that the folder was made with?"
        )
