"""Cross-validation inside the training clips: each candidate's logits for clips that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from ser_hf.models import ModelError
from ser_hf.models.families import model_logits

INNER_FOLDS = 5
SMOTE_NEIGHBORS = 5  # of Chawla et al. 2002

Fold = tuple[np.ndarray, np.ndarray]  # rows to train on, rows held out


def inner_folds(labels: np.ndarray, speakers: np.ndarray | None, seed: int = 0) -> list[Fold]:
    """Up to five (train, held out) parts of the training clips: by speaker, or stratified by label without speakers.

    Raises:
        ModelError: there is too little to hold any out, or a part would have a single label.
    """
    counts = np.bincount(labels)
    n_parts = min(INNER_FOLDS, counts[counts > 0].min() if speakers is None else len(np.unique(speakers)))
    if n_parts < 2:
        raise ModelError("tuning holds out speakers (or clips, for protocol 'random'): train on two of each at least")
    stratified = StratifiedKFold(n_parts, shuffle=True, random_state=seed)
    folds = list((stratified if speakers is None else GroupKFold(n_parts)).split(labels, labels, speakers))
    if any(len(np.unique(labels[train])) < 2 for train, _ in folds):
        raise ModelError("tuning holds out speakers, and without some of them only one label is left to train on")
    return folds


def make_sampler(labels: np.ndarray, folds: list[Fold], seed: int = 0) -> Any:
    """SMOTE for the training clips and for each part of them; raises `ModelError` where a label has a single clip."""
    from imblearn.over_sampling import SMOTE  # takes half a second to import

    parts = [labels, *(labels[train] for train, _ in folds)]
    smallest = min(np.unique(part, return_counts=True)[1].min() for part in parts)
    if smallest < 2:
        raise ModelError("SMOTE needs at least two clips of each label in every part that is trained on; leave it out")
    return SMOTE(k_neighbors=min(SMOTE_NEIGHBORS, smallest - 1), random_state=seed)


def held_out_logits(
    pipeline: Pipeline,
    candidates: Sequence[dict[str, Any]],
    features: np.ndarray,
    labels: np.ndarray,
    folds: list[Fold],
    n_jobs: int = -1,
    sampler: Any = None,
) -> np.ndarray:
    """Fit a pipeline with each candidate's settings on one part of each fold, and return its logits for the other.

    Args:
        pipeline: its last step is the model, which takes each candidate's settings; it is not changed.
        features, labels: float32 (clips, features) and int (clips,).
        n_jobs: processes, one fold each; -1 for one per core.
        sampler: of `make_sampler`: what is trained on is oversampled by it.

    Returns:
        float64 (candidates, clips, labels).
    """

    def of_fold(train: np.ndarray, held_out: np.ndarray) -> list[np.ndarray]:
        prepare = clone(pipeline[:-1])
        rows, targets = prepare.fit_transform(features[train]), labels[train]
        tested = prepare.transform(features[held_out])
        if sampler is not None:
            rows, targets = sampler.fit_resample(rows, targets)
        distances, found = None, []
        for candidate in candidates:
            model, inputs, unknown = clone(pipeline[-1]).set_params(**candidate), rows, tested
            if isinstance(model, SVC) and not isinstance(model.gamma, str):
                # One matrix product for all candidates: several times as fast as libsvm's own kernel.
                distances = distances or [
                    euclidean_distances(part.astype(float), rows.astype(float), squared=True) for part in (rows, tested)
                ]
                inputs, unknown = (np.exp(-model.gamma * squared) for squared in distances)
                model.set_params(kernel="precomputed")
            predicted = model_logits(model.fit(inputs, targets), unknown)
            # A label that the training part lacks gets the lowest logit.
            found.append(np.tile(predicted.min(axis=1, keepdims=True), labels.max() + 1))
            found[-1][:, model.classes_] = predicted
        return found

    logits = np.zeros((len(candidates), len(labels), labels.max() + 1))
    with parallel_config("loky", inner_max_num_threads=1):
        of_folds = Parallel(n_jobs)(delayed(of_fold)(*fold) for fold in folds)
    for (_, held_out), found in zip(folds, of_folds, strict=True):
        logits[:, held_out] = found
    return logits
