"""A fitted pipeline as a skops file, and back: nothing but scikit-learn's own types is loaded from a file."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_hf.models import ModelError

KNOWN = (SVC, KNeighborsClassifier, DecisionTreeClassifier, RandomForestClassifier, HistGradientBoostingClassifier)
# scikit-learn's own types that skops does not trust by itself.
TRUSTED = ["sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
# SimpleImputer keeps two dtypes, and skops asks to trust numpy.dtype. Tables of features are float32 always, so the
# dtypes stay out of the file and are put back when it is loaded.
IMPUTER_DTYPES = ("_fit_dtype", "_fill_dtype")


def dump_pipeline(pipeline: Pipeline, path: str | Path) -> None:
    """Write a fitted pipeline of `ser_hf.models.families.build_pipeline` as a skops file."""
    impute, scale, model = (step for _, step in pipeline.steps)
    impute = copy.copy(impute)
    for name in IMPUTER_DTYPES:
        delattr(impute, name)
    stored = Pipeline([("impute", impute), ("scale", scale), ("model", model)])
    # Not at zlib's usual level, which takes three times as long for three per cent.
    skops.io.dump(stored, path, compression=zipfile.ZIP_DEFLATED, compresslevel=3)


def load_pipeline(path: str | Path, names: Sequence[str], n_labels: int) -> Pipeline:
    """Read what `dump_pipeline` wrote.

    Args:
        names: the features that it must have been fitted on.
        n_labels: how many labels it must have, which are the ints from 0 on.

    Raises:
        ModelError: the file is damaged, holds a type that is not scikit-learn's own, or not such a pipeline of such
            features and labels.
    """
    path = Path(path)
    try:
        untrusted = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        loaded: Any = None if untrusted else skops.io.load(path, trusted=TRUSTED)
    except Exception as error:  # a damaged file raises errors of several libraries
        raise ModelError(f"{path} cannot be loaded: {error}") from None
    if untrusted:
        raise ModelError(f"{path} holds types that are not scikit-learn's own: {', '.join(untrusted)}; not loaded")
    kinds = [type(step) for _, step in getattr(loaded, "steps", [])] if type(loaded) is Pipeline else [type(loaded)]
    if kinds[:2] != [SimpleImputer, StandardScaler] or len(kinds) != 3 or kinds[2] not in KNOWN:
        held = ", ".join(kind.__name__ for kind in kinds)
        raise ModelError(f"{path} does not hold an imputer, a scaler and a classifier that is known here, but {held}")
    classes = np.asarray(getattr(loaded[-1], "classes_", []))
    if not np.array_equal(classes, np.arange(n_labels)):
        raise ModelError(f"{path}: the pipeline has {len(classes)} labels, config.json names {n_labels}")
    found = [str(name) for name in getattr(loaded[0], "feature_names_in_", [])]
    if found != list(names):
        raise ModelError(
            f"{path}: the pipeline was fitted on other features ({len(found)} columns) than are computed here "
            f"({len(names)} columns): train it again"
        )
    for name in IMPUTER_DTYPES:
        setattr(loaded[0], name, np.dtype(np.float32))
    return loaded
