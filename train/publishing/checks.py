"""Checks of a model folder before it is published: it loads, predicts as it did, and its figures are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from ser_hf import models
from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.classifier import EmotionClassifier
from ser_hf.hub.evidence import CardError, check_metrics
from ser_hf.models import ModelError
from ser_hf.models.neural import NeuralModel
from ser_hf.models.onnx_model import ONNX_FILE
from ser_hf.prediction import likeliest
from train.publishing.describe import ANSWER, EXAMPLE

TOLERANCE = 0.01  # between two machines' arithmetic
SAME_TOLERANCE = 1e-4  # between two programs on one machine
# What an architecture of ours needs where nothing of ours is installed (`trust_remote_code=True`).
MODEL_CODE = ("networks.py",)
WORDS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")


class CheckError(ValueError):
    """A model folder that must not be published; the message says which and why."""


def check_model(folder: Path) -> None:
    """Load a model folder as its users will, and compare it with what it says of itself.

    Raises:
        CheckError: it cannot be loaded or lacks weights; its labels are no words; its prediction for the example clip
            is not that of the day it was made, or of the stock pipeline; its figures are not those of its predictions.
    """
    try:
        _check(folder)
        check_metrics(folder)
    except (ModelError, CardError) as error:
        raise CheckError(str(error)) from error


def _check(folder: Path) -> None:
    classifier = EmotionClassifier.from_pretrained(folder)
    odd = [label for label in classifier.labels if not WORDS.fullmatch(label)]
    if odd:
        raise CheckError(f"{folder}: the label {odd[0]!r} is no word; name the labels in 'id2label' of config.json")
    for path in sorted(folder.glob("*.py")):  # others run a model folder's code, we our own: it must be the same
        our_code = Path(models.__file__).parent / path.name
        if path.name not in MODEL_CODE or path.read_bytes() != our_code.read_bytes():
            raise CheckError(f"{path} is not the code of this version; save the model again to publish it")
    expected = _read_answer(folder)
    _compare(folder, "this model", classifier.predict(folder / EXAMPLE).scores, expected, TOLERANCE)
    if isinstance(classifier.model, NeuralModel):
        # One window: the pipeline truncates the rest, where we average windows.
        samples = load_audio(folder / EXAMPLE)[: int(classifier.window_seconds * SAMPLE_RATE)]
        ours = _scores(classifier, samples)
        _compare(folder, "the stock pipeline", _stock_pipeline_scores(folder, samples), ours, SAME_TOLERANCE)
        if (folder / ONNX_FILE).is_file():
            exported = EmotionClassifier.from_pretrained(folder, runtime="onnx")
            _compare(folder, ONNX_FILE, _scores(exported, samples), ours, SAME_TOLERANCE)


def _read_answer(folder: Path) -> dict[str, float]:
    for name in (EXAMPLE, ANSWER):
        if not (folder / name).is_file():
            raise CheckError(f"{folder} holds no {name}, which shows that the model predicts as it did; make it again")
    try:
        answer = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
        return {label: float(score) for label, score in answer["scores"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckError(f"{folder / ANSWER} does not hold a label and scores") from None


def _scores(classifier: EmotionClassifier, samples: np.ndarray) -> dict[str, float]:
    return dict(zip(classifier.labels, classifier.probabilities([samples])[0].tolist(), strict=True))


def _stock_pipeline_scores(folder: Path, samples: np.ndarray) -> dict[str, float]:
    """What people get who have nothing of ours."""
    from transformers import pipeline

    # Of an architecture of ours, this takes our registered classes, whose code was compared with the folder's.
    classify = pipeline("audio-classification", model=str(folder), device="cpu", trust_remote_code=False)
    rows = classify({"raw": samples, "sampling_rate": SAMPLE_RATE}, top_k=None)
    return {row["label"]: row["score"] for row in rows}


def _compare(folder: Path, who: str, scores: dict[str, float], expected: dict[str, float], tolerance: float) -> None:
    if set(scores) != set(expected):
        raise CheckError(f"{folder}: {who} has the labels {', '.join(scores)}, not {', '.join(expected)}")
    label, known = likeliest(scores), likeliest(expected)
    # Written so that NaN fails too.
    if label != known or not all(abs(scores[name] - expected[name]) <= tolerance for name in expected):
        raise CheckError(
            f"{folder}: {who} predicts {label} ({scores[label]:.3f}) for {EXAMPLE}, expected {known} "
            f"({expected[known]:.3f}): are these the weights that the folder was made with?"
        )
