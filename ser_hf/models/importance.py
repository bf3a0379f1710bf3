"""Permutation importance of feature groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ser_hf.features import feature_names
from ser_hf.models.classical import ClassicalModel


def group_importance(
    model: ClassicalModel,
    features: pd.DataFrame,
    labels: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
    repeats: int = 5,
) -> dict[str, tuple[float, float]]:
    """Drop of accuracy when the columns of a group are permuted together (Breiman 2001), group by group.

    All columns of a group share a permutation, so each clip gets the whole group of another clip. Groups that carry the
    same information replace each other: their drops are small and do not add up.

    Args:
        features: the model's features of clips that it was not trained on, one row per clip.
        labels: (n,) the clips' labels, by name.
        groups: names out of `ser_hf.features.GROUPS`.
        repeats: permutations, at least 1.

    Returns:
        For each group, mean and standard deviation of the drop over the permutations.
    """
    rng = np.random.default_rng(seed)
    names, true, values = np.array(model.labels), np.asarray(labels), features.to_numpy()
    orders = [rng.permutation(len(features)) for _ in range(repeats)]

    def accuracies(tables: list[np.ndarray]) -> np.ndarray:
        # In one call, because checking a table takes longer than predicting it.
        scores = model.predict_features(pd.DataFrame(np.concatenate(tables), columns=features.columns))
        return (names[scores.argmax(axis=1)].reshape(len(tables), -1) == true).mean(axis=1)

    intact = accuracies([values])
    importance = {}
    for group in groups:
        of_group = features.columns.isin(feature_names([group]))
        drops = intact - accuracies([np.where(of_group, values[order], values) for order in orders])
        importance[group] = (float(np.mean(drops)), float(np.std(drops)))
    return importance
