"""Which groups of features a classical model needs: what it loses when a group is made meaningless."""

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
    """By how much accuracy drops when the columns of a group are permuted together (Breiman 2001), group by group.

    All columns of a group move by one permutation of the clips, so each clip gets the whole group of another clip. What
    another group tells as well is not missed: the drops of groups that say the same are small, and do not add up.

    Args:
        features: one row a clip that the model was not trained on; the columns that it was trained on.
        labels: (n,) the clips' labels, by name.
        groups: names out of `ser_hf.features.GROUPS`.
        repeats: how many permutations, at least 1.

    Returns:
        For each group, the mean drop of accuracy over the permutations (negative where chance gains) and its standard
        deviation.
    """
    if repeats < 1:
        raise ValueError(f"at least one permutation is needed, not {repeats}")
    rng = np.random.default_rng(seed)
    names, known = np.array(model.labels), np.asarray(labels)
    orders = [rng.permutation(len(features)) for _ in range(repeats)]

    def accuracies(tables: list[np.ndarray]) -> np.ndarray:
        # All in one: to check a table takes longer than to answer it.
        answers = model.predict_features(pd.DataFrame(np.concatenate(tables), columns=features.columns))
        return (names[answers.argmax(axis=1)].reshape(len(tables), -1) == known).mean(axis=1)

    values = features.to_numpy()
    intact = accuracies([values])
    importance = {}
    for group in groups:
        of_group = features.columns.isin(feature_names([group]))
        drops = intact - accuracies([np.where(of_group, values[order], values) for order in orders])
        importance[group] = (float(np.mean(drops)), float(np.std(drops)))
    return importance
