"""Confidence intervals by bootstrap over speakers, and McNemar's test, from tables of predictions.

The clips of one speaker resemble each other, so speakers, not clips, are resampled (cluster bootstrap, Field & Welsh
2007). A speaker is the pair of corpus and speaker name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ser_hf.errors import SerHfError

CALIBRATION_BINS = 15
N_BOOTSTRAP = 2000
TAIL = (1 - 0.95) / 2  # beyond either end of an interval


class AlignmentError(SerHfError):
    """Two tables of predictions that are not of the same clips."""


def is_right(frame: pd.DataFrame) -> np.ndarray:
    """Whether each prediction of a table is right, (n,) bool."""
    return (frame["emotion"].astype(str) == frame["predicted"].astype(str)).to_numpy()


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """The equal-width bin (0 .. 14) of each confidence in [0, 1]; bin i holds (i / 15, (i + 1) / 15]."""
    last = CALIBRATION_BINS - 1
    return np.clip(np.ceil(np.asarray(confidence) * CALIBRATION_BINS).astype(int) - 1, 0, last)


def speaker_ids(frame: pd.DataFrame) -> np.ndarray:
    """Number the speakers of a table of predictions 0, 1, ...; one int per row."""
    return frame.groupby(["corpus", "speaker"], sort=True).ngroup().to_numpy()


def resampled_counts(n_speakers: int, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0) -> np.ndarray:
    """How often each speaker is drawn in each resample: (n_bootstrap, n_speakers), every row summing to n_speakers."""
    return np.random.default_rng(seed).multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=n_bootstrap)


def percentile_interval(values: np.ndarray) -> list[float]:
    """The central 95 % interval ``[low, high]`` of resampled values; NaN is left out."""
    return np.nanquantile(values, [TAIL, 1 - TAIL]).tolist()


def bootstrap_intervals(
    labels: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    speakers: np.ndarray,
    n_bootstrap: int = N_BOOTSTRAP,
) -> dict[str, list[float]]:
    """95 % percentile intervals of the main figures by bootstrap over speakers.

    Args:
        labels, predicted: (n,) int class indices.
        probabilities: (n, k) rows that sum to 1.
        speakers: (n,) int, 0 .. n_speakers - 1.

    Returns:
        Name -> [low, high] of accuracy, balanced_accuracy, macro_f1, ece and nll; empty with fewer than two speakers.
    """
    n_speakers, n_classes = int(speakers.max()) + 1, probabilities.shape[1]
    if n_speakers < 2:
        return {}
    # Every figure is a function of sums over clips, and those sums are kept per speaker: a resample is then a weighted
    # sum over speakers, and 2000 of them are one matrix product.
    drawn = resampled_counts(n_speakers, n_bootstrap).astype(float)
    confusion = np.zeros((n_speakers, n_classes, n_classes))
    np.add.at(confusion, (speakers, labels, predicted), 1)
    confidence = probabilities.max(axis=1)
    gaps = np.zeros((n_speakers, CALIBRATION_BINS))
    np.add.at(gaps, (speakers, confidence_bins(confidence)), confidence - (predicted == labels))
    surprise = np.bincount(speakers, weights=log_loss_terms(probabilities, labels), minlength=n_speakers)

    confusion = np.tensordot(drawn, confusion, axes=1)  # (n_bootstrap, k, k), rows true
    n_clips = confusion.sum(axis=(1, 2))
    hits, support, predicted = confusion.diagonal(axis1=1, axis2=2), confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):  # a class that no drawn speaker has is NaN here, and left out of the mean
        recall, f1 = hits / support, np.where(support > 0, 2 * hits / (support + predicted), np.nan)
    values = {
        "accuracy": hits.sum(axis=1) / n_clips,
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "ece": np.abs(drawn @ gaps).sum(axis=1) / n_clips,
        "nll": drawn @ surprise / n_clips,
    }
    return {name: percentile_interval(value) for name, value in values.items()}


def gender_gap(frame: pd.DataFrame, n_bootstrap: int = N_BOOTSTRAP) -> dict[str, Any]:
    """Accuracy of women's clips minus accuracy of men's.

    Args:
        frame: as `ser_hf.evaluation.runs.read_predictions` returns it, with ``gender`` "female" and "male".

    Returns:
        ``difference`` (None where a gender has no clip) and its 95 % ``interval`` by bootstrap over the speakers of
        each gender (None where one has fewer than two).
    """
    parts = [frame[(frame["gender"].astype(str) == gender).to_numpy()] for gender in ("female", "male")]
    if any(part.empty for part in parts):
        return {"difference": None, "interval": None}
    women, men = (
        _resampled_means(is_right(part).astype(float), speaker_ids(part), n_bootstrap, seed)
        for seed, part in enumerate(parts)
    )
    few = any(speaker_ids(part).max() < 1 for part in parts)
    difference = float(is_right(parts[0]).mean() - is_right(parts[1]).mean())
    return {"difference": difference, "interval": None if few else percentile_interval(women - men)}


def _resampled_means(values: np.ndarray, speakers: np.ndarray, n_bootstrap: int, seed: int = 0) -> np.ndarray:
    """The mean over clips in each resample of the speakers, (n_bootstrap,)."""
    clips = np.bincount(speakers)
    drawn = resampled_counts(len(clips), n_bootstrap, seed)
    return drawn @ np.bincount(speakers, weights=values) / (drawn @ clips)


def log_loss_terms(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p(true class) of each row in nats, (n,); p is taken to be at least float32's rounding step, 1.2e-7."""
    true = np.asarray(probabilities, dtype=float)[np.arange(len(labels)), labels]
    return -np.log(np.clip(true, np.finfo(np.float32).eps, 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, adjusted for their number (Holm 1979), in the given order.

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def align(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the same clips in the same order (by corpus and clip).

    Raises:
        AlignmentError: they do not hold the same clips, or disagree on what a clip's true emotion is.
    """
    a, b = (frame.set_index(["corpus", "clip"]).sort_index() for frame in (frame_a, frame_b))
    only_a, only_b = a.index.difference(b.index), b.index.difference(a.index)
    if len(only_a) or len(only_b):
        example = "/".join((only_a if len(only_a) else only_b)[0])
        raise AlignmentError(
            f"the two runs do not hold the same clips: {len(only_a)} are only in the first and {len(only_b)} only in "
            f"the second, such as {example}; compare runs of the same corpora, protocol and folds"
        )
    differ = (a["emotion"].astype(str) != b["emotion"].astype(str)).to_numpy()
    if differ.any():
        raise AlignmentError(
            f"the two runs disagree on the true emotion of {int(differ.sum())} clips, such as "
            f"{'/'.join(a.index[differ][0])}; one of them is of another version of the corpus"
        )
    return a.reset_index(), b.reset_index()


def mcnemar(frame_a: pd.DataFrame, frame_b: pd.DataFrame, n_bootstrap: int = N_BOOTSTRAP) -> dict[str, Any]:
    """Exact two-sided McNemar test (McNemar 1947) of two models on the same clips, with the difference in accuracy.

    Args:
        frame_a, frame_b: tables of predictions; matched by corpus and clip, in any order.

    Returns:
        ``n`` clips; ``b`` (only the first is right) and ``c`` (only the second is); ``p_value``; ``accuracy_a``,
        ``accuracy_b``, their ``difference`` (first minus second) and its 95 % ``interval`` by paired bootstrap over
        speakers (None for a single speaker). The test takes clips as independent, the interval does not.

    Raises:
        AlignmentError: the tables do not hold the same clips.
    """
    a, b = align(frame_a, frame_b)
    right_a, right_b, speakers = is_right(a), is_right(b), speaker_ids(a)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    interval = None
    if speakers.max() >= 1:
        interval = percentile_interval(_resampled_means(right_a.astype(float) - right_b, speakers, n_bootstrap))
    discordant = only_a + only_b
    return {
        "n": len(a),
        "b": only_a,
        "c": only_b,
        "p_value": float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0,
        "accuracy_a": float(right_a.mean()),
        "accuracy_b": float(right_b.mean()),
        "difference": float((only_a - only_b) / len(a)),
        "interval": interval,
    }
