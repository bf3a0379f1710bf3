"""Cross-validation inside the training clips: what each candidate's settings answer of clips that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from ser_hf.models import ModelError
from ser_hf.models.pairwise import pairwise_logits

INNER_FOLDS = 5
MIN_PROBABILITY = 1e-3  # of a label for which no neighbour or leaf votes

Fold = tuple[np.ndarray, np.ndarray]  # rows to train on, rows held out


def inner_folds(labels: np.ndarray, speakers: np.ndarray | None, seed: int = 0) -> list[Fold]:
    """Up to five (train, held out) parts of the training clips: by speaker, or stratified by label without speakers.

    Raises:
        ModelError: there is too little to hold any out, or a part would hold one label alone.
    """
    counts = np.bincount(labels)
    n_parts = min(INNER_FOLDS, counts[counts > 0].min() if speakers is None else len(np.unique(speakers)))
    if n_parts < 2:
        raise ModelError("tuning holds out speakers (or clips, for protocol 'random'): train on two of each at least")
    stratified = StratifiedKFold(n_parts, shuffle=True, random_state=seed)
    splitter = stratified if speakers is None else GroupKFold(n_parts)
    folds = list(splitter.split(labels, labels, speakers))
    if any(len(np.unique(labels[train])) < 2 for train, _ in folds):
        raise ModelError("tuning holds out speakers, and without some of them only one label is left to train on")
    return folds


def held_out_logits(
    pipeline: Pipeline,
    candidates: Sequence[dict[str, Any]],
    features: np.ndarray,
    labels: np.ndarray,
    folds: list[Fold],
    n_jobs: int = -1,
) -> list[list[np.ndarray]]:
    """What a pipeline with each candidate's settings, fitted on one part of each fold, answers of the other.

    Args:
        pipeline: its last step is the model; it is not changed.
        candidates: settings of the model, by name.
        features: float32 (clips, features).
        labels: int (clips,).
        folds: of `inner_folds`.
        n_jobs: processes; -1 for one a core.

    Returns:
        For each candidate and each fold, float64 (held out, labels).
    """
    # One job a fold, whose candidates share what comes before the model; on more cores, several.
    n_shares = min(len(candidates), -(-effective_n_jobs(n_jobs) // len(folds)))
    shares = [candidates[start::n_shares] for start in range(n_shares)]
    with parallel_config("loky", inner_max_num_threads=1):
        answers = Parallel(n_jobs)(
            delayed(_of_fold)(pipeline, share, features, labels, fold) for fold in folds for share in shares
        )
    of_folds = [answers[start : start + n_shares] for start in range(0, len(answers), n_shares)]
    return [[parts[i % n_shares][i // n_shares] for parts in of_folds] for i in range(len(candidates))]


def _of_fold(
    pipeline: Pipeline, candidates: Sequence[dict[str, Any]], features: np.ndarray, labels: np.ndarray, fold: Fold
) -> list[np.ndarray]:
    train, held_out = fold
    rows, targets, asked = features[train], labels[train], features[held_out]
    *steps, (_, model) = pipeline.steps
    for _, step in steps:
        step = clone(step)
        if hasattr(step, "fit_resample"):
            rows, targets = step.fit_resample(rows, targets)
        else:
            rows, asked = step.fit(rows, targets).transform(rows), step.transform(asked)
    distances = None
    answers = []
    for candidate in candidates:
        machine, known, unknown = clone(model).set_params(**candidate), rows, asked
        if isinstance(machine, SVC) and machine.kernel == "rbf" and not isinstance(machine.gamma, str):
            # All products at a time, and once for all candidates: many times as fast as scikit-learn's own kernel.
            distances = distances or [_squared_distances(part, rows) for part in (rows, asked)]
            known, unknown = (np.exp(-machine.gamma * squared) for squared in distances)
            machine.set_params(kernel="precomputed")
        told = model_logits(machine.fit(known, targets), unknown)
        # A label that the first part lacks is the last that the model would say.
        logits = np.tile(told.min(axis=1, keepdims=True), labels.max() + 1)
        logits[:, machine.classes_] = told
        answers.append(logits)
    return answers


def _squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return euclidean_distances(rows.astype(np.float64), others.astype(np.float64), squared=True)


def model_logits(model: BaseEstimator, rows: np.ndarray) -> np.ndarray:
    """Logits of a support vector machine, or logarithms of probabilities: (rows, labels)."""
    if isinstance(model, SVC):
        return pairwise_logits(model, rows)
    return np.log(np.maximum(model.predict_proba(rows), MIN_PROBABILITY))
