"""Metrics of predictions: accuracy, balanced accuracy, macro F1, calibration, per class, speaker, gender and corpus.

`ser_hf.evaluation.emotion_metrics` has the same figures as an `evaluate.Metric`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from ser_hf.evaluation.statistics import (
    CALIBRATION_BINS,
    N_BOOTSTRAP,
    bootstrap_intervals,
    confidence_bins,
    is_right,
    log_loss_terms,
    speaker_ids,
)

PROBABILITY_PREFIX = "p_"
COVERAGES = tuple(percent / 100 for percent in range(100, 0, -10))  # shares of the clips, the most confident ones
CONFIDENT_PRECISION = 0.75  # share of the confident predictions that are right, on held-out clips
TEMPERATURE_RANGE = (0.05, 20.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits along the last axis, float64, same shape."""
    return scipy_softmax(np.asarray(logits, dtype=float), axis=-1)


def calibration_table(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """The contents of a reliability diagram (Guo et al. 2017): one row per bin of confidence that is not empty.

    Args:
        probabilities: (n, k) rows that sum to 1.
        labels: (n,) int class indices.

    Returns:
        ``low`` and ``high`` (bounds of the bin in [0, 1]), ``n`` predictions, their mean ``confidence`` and
        ``accuracy``.
    """
    confidence, right = _confidence(probabilities, labels)
    bin_of = confidence_bins(confidence)
    return [
        {
            "low": index / CALIBRATION_BINS,
            "high": (index + 1) / CALIBRATION_BINS,
            "n": int((bin_of == index).sum()),
            "confidence": float(confidence[bin_of == index].mean()),
            "accuracy": float(right[bin_of == index].mean()),
        }
        for index in np.unique(bin_of).tolist()
    ]


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error in [0, 1] (Guo et al. 2017), with 15 bins of equal width; see `calibration_table`."""
    table = calibration_table(probabilities, labels)
    return sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in table) / len(labels)


def coverage_table(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Accuracy on the most confident share of the clips (risk and coverage, El-Yaniv & Wiener 2010).

    Args:
        probabilities: (n, k) rows that sum to 1, n > 0.
        labels: (n,) int class indices.

    Returns:
        For each share of `COVERAGES`, ``coverage``, the ``accuracy`` of that share and its lowest ``confidence``. Of
        equally confident predictions the first are taken.
    """
    confidence, right = _confidence(probabilities, labels)
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    lasts = [max(round(coverage * len(right)), 1) - 1 for coverage in COVERAGES]
    return [
        {"coverage": coverage, "accuracy": float(accuracy[last]), "confidence": float(confidence[order[last]])}
        for coverage, last in zip(COVERAGES, lasts, strict=True)
    ]


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest probability of each row, and whether it is that of the label."""
    probabilities = np.asarray(probabilities, dtype=float)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == np.asarray(labels)


def confidence_threshold(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The lowest confidence above which at least three quarters of the predictions are right.

    Args:
        probabilities: (n, k) calibrated rows, n > 0, of clips that the model was not trained on.
        labels: (n,) int class indices.
        weights: (n,) of the clips (default: all the same).

    Returns:
        A confidence in [0, 1], to four digits; 1 where no confidence is enough.
    """
    confidence, right = _confidence(probabilities, labels)
    weights = np.ones(len(right)) if weights is None else np.asarray(weights, dtype=float)
    order = np.argsort(-confidence, kind="stable")
    precision = np.cumsum(weights[order] * right[order]) / np.cumsum(weights[order])
    enough = np.flatnonzero(precision >= CONFIDENT_PRECISION)
    return round(float(confidence[order[enough[-1]]]), 4) if len(enough) else 1.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The temperature T that minimises the negative log-likelihood of ``softmax(logits / T)`` (Guo et al. 2017).

    Above 1 for an overconfident model, below 1 for an underconfident one; within 0.05 .. 20, and 1 where no clip is
    predicted wrong, since that says nothing of how confident to be. Log-probabilities serve as logits. Confidence
    changes, predicted labels do not.

    Args:
        logits: (n, k); of clips that the model was not trained on.
        labels: (n,) int class indices.
        weights: (n,) of the clips in the likelihood (default: all the same).
    """
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits (n, k) and labels (n,) with n > 0 are needed, not {logits.shape} and {labels.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("the logits hold NaN or infinite values; clip probabilities before taking their logarithm")
    rows = np.arange(len(labels))
    if (logits.argmax(axis=1) == labels).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        terms = log_softmax(logits / math.exp(log_temperature), axis=1)[rows, labels]
        return -float(np.average(terms, weights=weights))

    low, high = (math.log(bound) for bound in TEMPERATURE_RANGE)
    return float(math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x))


def score(
    labels: np.ndarray, predicted: np.ndarray, names: list[str], probabilities: np.ndarray | None = None
) -> dict[str, Any]:
    """All metrics of one set of predictions, ready for JSON.

    Balanced accuracy (unweighted average recall, UAR) and macro F1 are means over the classes that occur in ``labels``.

    Args:
        labels, predicted: (n,) int class indices into ``names``, n > 0.
        names: the k class names.
        probabilities: (n, k), rows that sum to 1; without them, the metrics of probabilities are left out.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``macro_f1``; of the probabilities ``ece``, ``nll`` (nats), ``calibration``
        (see `calibration_table`) and ``coverage`` (see `coverage_table`); ``per_class`` (name -> precision, recall, f1,
        support; None where undefined), ``confusion_matrix`` (k x k counts, rows true) and ``labels``.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    classes = np.arange(len(names))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    occurs = support > 0
    figures: dict[str, Any] = {
        "accuracy": float((labels == predicted).mean()),
        "balanced_accuracy": float(recall[occurs].mean()),
        "macro_f1": float(f1[occurs].mean()),
    }
    if probabilities is not None:
        figures["ece"] = expected_calibration_error(probabilities, labels)
        figures["nll"] = float(log_loss_terms(probabilities, labels).mean())
        figures["calibration"] = calibration_table(probabilities, labels)
        figures["coverage"] = coverage_table(probabilities, labels)
    figures["per_class"] = {
        name: {
            "precision": _number(precision[index]),
            "recall": _number(recall[index]),
            "f1": _number(f1[index]) if occurs[index] else None,
            "support": int(support[index]),
        }
        for index, name in enumerate(names)
    }
    figures["confusion_matrix"] = confusion_matrix(labels, predicted, labels=classes).tolist()
    figures["labels"] = list(names)
    return figures


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def probability_matrix(frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """The probabilities of a table of predictions as (n, k) float64, and the k label names, in the table's order."""
    columns = [column for column in frame.columns if column.startswith(PROBABILITY_PREFIX)]
    return frame[columns].to_numpy(dtype=float), [column.removeprefix(PROBABILITY_PREFIX) for column in columns]


def label_indices(frame: pd.DataFrame, column: str = "emotion") -> np.ndarray:
    """The labels of a column of a table of predictions as indices into those of `probability_matrix`, (n,) int."""
    return pd.Index(probability_matrix(frame)[1]).get_indexer(frame[column].astype(str))


def evaluate_predictions(frame: pd.DataFrame, n_bootstrap: int = N_BOOTSTRAP) -> dict[str, Any]:
    """The metrics of a run, from its table of predictions alone: the contents of ``metrics.json``.

    Args:
        frame: as `ser_hf.evaluation.runs.read_predictions` returns it.
        n_bootstrap: resamples of speakers behind the 95 % intervals.

    Returns:
        The figures of `score`, pooled over folds, and: ``intervals`` (name -> [low, high]; empty for a single
        speaker), ``fold_mean_accuracy`` (mean of the folds' accuracies), ``per_fold``, ``per_speaker`` (with
        ``gender``), ``per_gender`` and ``per_intensity`` (each name -> accuracy, balanced_accuracy, n), ``n_clips`` and
        ``n_speakers`` (0 where they are not known: intervals then are over clips). When there is more than one corpus,
        speakers are named ``corpus/speaker``, and there are ``per_corpus`` (name -> accuracy, balanced_accuracy over
        the labels that occur in it, n, ece, auroc of the confidence, which is how well it separates right predictions
        from wrong ones; where the table has a column ``confident``, confident_share and confident_accuracy; where it
        has ``distance``, distance_auroc, of the out-of-domain score turned round) and ``mean_over_corpora`` (accuracy,
        balanced_accuracy and ece, each corpus with the same weight).
    """
    if frame.empty:
        raise ValueError("there are no predictions to evaluate")
    probabilities, names = probability_matrix(frame)
    labels, predicted = label_indices(frame), label_indices(frame, "predicted")
    speakers, speaker_names = speaker_ids(frame), frame["speaker"].astype(str)
    figures = score(labels, predicted, names, probabilities)
    figures["intervals"] = bootstrap_intervals(labels, predicted, probabilities, speakers, n_bootstrap)
    if frame["corpus"].nunique() > 1:
        speaker_names = frame["corpus"].astype(str) + "/" + speaker_names
        figures["per_corpus"] = per_corpus = _per_corpus(frame, probabilities, labels)
        figures["mean_over_corpora"] = {
            key: float(np.mean([group[key] for group in per_corpus.values()]))
            for key in ("accuracy", "balanced_accuracy", "ece")
        }
    per_fold = _per_group(frame, frame["fold"])
    per_speaker = _per_group(frame, speaker_names)
    genders = dict(zip(speaker_names, frame["gender"].astype(object).where(frame["gender"].notna(), None), strict=True))
    figures["fold_mean_accuracy"] = float(np.mean([group["accuracy"] for group in per_fold.values()]))
    figures["per_fold"] = per_fold
    figures["per_speaker"] = {name: group | {"gender": genders[name]} for name, group in per_speaker.items()}
    figures["per_gender"] = _per_group(frame, frame["gender"])
    figures["per_intensity"] = _per_group(frame, frame["intensity"]) if "intensity" in frame else {}
    figures["n_clips"] = len(frame)
    figures["n_speakers"] = len(per_speaker)
    return figures


def _per_group(frame: pd.DataFrame, groups: pd.Series) -> dict[str, dict[str, Any]]:
    """Accuracy, balanced accuracy and number of clips of each group, by the group's name; unnamed rows are left out."""
    emotions = frame["emotion"].astype(str).to_numpy()
    right = pd.DataFrame({"group": groups.to_numpy(), "emotion": emotions, "right": is_right(frame)})
    by_group = right.groupby("group")["right"].agg(["mean", "size"])
    recall = right.groupby(["group", "emotion"])["right"].mean().groupby(level="group").mean()
    return {
        str(name): {"accuracy": float(accuracy), "balanced_accuracy": float(recall[name]), "n": int(size)}
        for name, accuracy, size in by_group.itertuples()
    }


def _per_corpus(frame: pd.DataFrame, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """The figures of `_per_group` of each corpus, its calibration error and, where known, its confident predictions."""
    groups = _per_group(frame, frame["corpus"])
    for name, group in groups.items():
        rows = (frame["corpus"].astype(str) == name).to_numpy()
        confidence, right = _confidence(probabilities[rows], labels[rows])
        group["ece"] = expected_calibration_error(probabilities[rows], labels[rows])
        group["auroc"] = _auroc(right, confidence)
        if "distance" in frame and frame["distance"][rows].notna().all():
            group["distance_auroc"] = _auroc(right, -frame["distance"][rows].to_numpy())
        if "confident" in frame:
            confident = frame["confident"][rows].to_numpy(dtype=bool)
            group["confident_share"] = float(confident.mean())
            group["confident_accuracy"] = float(right[confident].mean()) if confident.any() else None
    return groups


def _auroc(right: np.ndarray, scores: np.ndarray) -> float | None:
    return None if right.all() or not right.any() else float(roc_auc_score(right, scores))


def summary(metrics: dict[str, Any]) -> str:
    """The main figures of a run in a few lines."""
    lines = [f"{metrics['n_clips']} clips of {metrics['n_speakers'] or 'unknown'} speakers"]
    if len(metrics["per_fold"]) > 1:
        lines.append(f"accuracy, mean over {len(metrics['per_fold'])} folds {metrics['fold_mean_accuracy']:.3f}")
    names = {"accuracy": "accuracy", "balanced_accuracy": "UAR", "macro_f1": "macro F1", "ece": "ECE", "nll": "NLL"}
    for key, name in names.items():
        interval = metrics["intervals"].get(key)
        spread = f"  (95 %: {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        lines.append(f"{name:<9} {metrics[key]:.3f}{spread}")
    for groups in (metrics.get("per_corpus", {}), metrics["per_gender"]):
        lines += [f"{name:<9} {group['accuracy']:.3f}" for name, group in groups.items()]
    if "mean_over_corpora" in metrics:
        mean = metrics["mean_over_corpora"]
        figures = (f"{names[key]} {value:.3f}" for key, value in mean.items())
        lines.append(f"mean over {len(metrics['per_corpus'])} corpora: {', '.join(figures)}")
    return "\n".join(lines)
