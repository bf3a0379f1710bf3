"""Clip tables without audio and made-up answers to them, for tests of what comes after a model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from ser_hf.corpora import clip_table
from ser_hf.corpora.ravdess import EMOTIONS as RAVDESS_EMOTIONS
from ser_hf.evaluation.metrics import softmax
from ser_hf.evaluation.runs import create_run, prediction_frame, write_predictions, write_run_json
from ser_hf.labels import LABELS

INTENSITIES = ("normal", "strong")


def make_table(actors: Iterable[int] = range(1, 11), corpus: str = "ravdess", repetitions: int = 2) -> Dataset:
    """A RAVDESS-like clip table: every emotion in two intensities (neutral in one) and so many repetitions."""
    codes = {emotion: code for code, emotion in RAVDESS_EMOTIONS.items()}
    rows = [
        {
            "clip": f"03-01-{codes[emotion]}-{INTENSITIES.index(intensity) + 1:02d}-01-{repetition:02d}-{actor:02d}",
            "audio": "no-such-file.wav",
            "emotion": emotion,
            "speaker": f"{actor:02d}",
            "gender": "male" if actor % 2 else "female",
            "statement": "Kids are talking by the door",
            "intensity": intensity,
            "repetition": repetition,
            "corpus": corpus,
        }
        for actor, emotion, intensity, repetition in product(actors, LABELS, INTENSITIES, range(1, repetitions + 1))
        if (emotion, intensity) != ("neutral", "strong")
    ]
    return clip_table({name: [row[name] for row in rows] for name in rows[0]})


def make_predictions(
    table: Dataset, skill: float = 2.0, seed: int = 0, sharpness: float = 1.0, folds: int = 2
) -> pd.DataFrame:
    """Answers whose logit of the true emotion is ``skill`` above the noise; speakers are dealt to folds in turn."""
    rng = np.random.default_rng(seed)
    labels = np.array(table["emotion"])
    logits = rng.gumbel(size=(len(labels), len(LABELS)))
    logits[np.arange(len(labels)), labels] += skill
    fold_of = np.array([int(speaker) for speaker in table["speaker"]]) % folds
    frames = []
    for fold in range(folds):
        rows = np.flatnonzero(fold_of == fold)
        frames.append(prediction_frame(table, rows, fold, softmax(logits[rows] * sharpness)))
    return pd.concat(frames, ignore_index=True)


def make_run(folder: Path, frame: pd.DataFrame, protocol: str = "actor", **facts: object) -> Path:
    """A run folder as the training commands leave it, without metrics and plots."""
    create_run(folder)
    write_run_json(folder, **{"protocol": protocol, "model": "svm", "seed": 0, "seconds": 90.0, **facts})
    write_predictions(folder, frame)
    return folder
