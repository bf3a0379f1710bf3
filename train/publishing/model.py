"""A model's repository: what a model folder says of itself, which of its files are sent, and what is checked first."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from ser_hf import models
from ser_hf.adapt import make_reference
from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.classifier import EmotionClassifier, likeliest
from ser_hf.errors import SerHfError
from ser_hf.evaluation.metrics import label_indices, probability_matrix
from ser_hf.evaluation.runs import read_predictions
from ser_hf.evaluation.statistics import speaker_ids
from ser_hf.hub import files_below
from ser_hf.hub.card import write_card
from ser_hf.hub.evidence import CardError, add_evaluation, check_metrics, read_json
from ser_hf.models import ModelError
from ser_hf.models.familiarity import FILE as FAMILIARITY
from ser_hf.models.neural import NeuralModel
from ser_hf.models.onnx_model import ONNX_FILE
from ser_hf.utils.files import write_json

# Made by a speech synthesiser and free of rights (app/examples/README.md), so that it may go with every model.
EXAMPLE_CLIP = Path(__file__).resolve().parents[2] / "app" / "examples" / "plain.flac"
EXAMPLE, ANSWER = "example.flac", "example.json"
TOLERANCE = 0.01  # between two machines' arithmetic
SAME_TOLERANCE = 1e-4  # between two programs on one machine
WORDS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")
# What an architecture of ours needs where nothing of ours is installed (`trust_remote_code=True`).
MODEL_CODE = ("networks.py",)
# What is published of a model folder; anything else in it (checkpoints, optimiser states, pickles) is not.
MODEL_FILES = (
    *("config.json", "preprocessor_config.json", "model.safetensors", "model-*-of-*.safetensors"),
    *("model.safetensors.index.json", FAMILIARITY, ONNX_FILE, "pipeline.skops", "metrics.json"),
    *(EXAMPLE, ANSWER, "README.md", *MODEL_CODE),
    *("evaluation/*/run.json", "evaluation/*/predictions.parquet", "evaluation/*/*.png"),
)
# What is deleted from a repository where an earlier publication, or another program, left it.
MODEL_LEFTOVERS = (
    *MODEL_FILES,
    *("model.onnx", "cnn.py", "lstm.py", "log_mel.py"),  # names of earlier versions
    *("training_args.bin", "pytorch_model*.bin", "optimizer.pt", "scheduler.pt", "rng_state*.pth", "checkpoint-*/*"),
)


class CheckError(SerHfError):
    """A model folder that must not be published; the message says which and why."""


def describe_model(folder: Path, runs: Sequence[str | Path], name: str) -> None:
    """Complete a saved model folder, so that it can be published: evidence, the example clip with its scores, the card.

    Args:
        runs: runs of the same recipe on clips that it was not trained on; the first gives the headline figures.
        name: what the card calls the model.
    """
    for run in runs:
        add_evaluation(folder, run)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"speaker_reference": speaker_reference(runs[0])})
    shutil.copyfile(EXAMPLE_CLIP, folder / EXAMPLE)
    prediction = EmotionClassifier.from_pretrained(folder).predict(folder / EXAMPLE)
    write_json(folder / ANSWER, {"label": prediction.label, "scores": prediction.to_dict()["scores"]})
    write_card(folder, name)


def speaker_reference(run: str | Path) -> dict[str, Any]:
    """How unseen speakers look to a model, from a run's predictions, for `EmotionClassifier.adapt`."""
    frame = read_predictions(run)
    probabilities, names = probability_matrix(frame)
    return make_reference(probabilities, speaker_ids(frame), label_indices(frame), names)


def copy_model(folder: Path, staged: Path) -> None:
    """Copy what is published of a model folder, and print the names of the rest."""
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in MODEL_FILES):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged / name)
        else:
            print(f"  {name} is not part of a published model and is not sent")


def check_model(folder: Path) -> None:
    """Load a model folder as its users will, and compare it with what it says of itself.

    Raises:
        CheckError: it cannot be loaded or lacks weights; its labels are no words; its prediction for the example clip
            is not that of the day it was made, or of the stock pipeline; its figures are not those of its predictions.
    """
    try:
        _check_predictions(folder)
        check_metrics(folder)
    except (ModelError, CardError) as error:
        raise CheckError(str(error)) from error


def _check_predictions(folder: Path) -> None:
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
