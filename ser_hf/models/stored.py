"""A fitted pipeline as a skops file, and back: only numbers are taken from a file, and only after they were checked.

skops makes nothing but types that it trusts. But scikit-learn and libsvm follow what such an object holds, counts and
indices, without a look, so that a forged file could crash whoever asks it. So no loaded object ever answers: the
pipeline that does is made anew from arrays whose shapes and ranges are right.
"""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_hf.models import ModelError
from ser_hf.models.trees import MAX_NUMBER, pack_trees, unpack_trees

# SimpleImputer remembers two dtypes, and skops asks to trust numpy.dtype. Tables of features are float32 always, so the
# dtypes stay out of the file and are put back when it is loaded.
IMPUTER_DTYPES = ("_fit_dtype", "_fill_dtype")
MIN_SCALE = 1e-20  # rounding alone moves a constant feature by more
TREES = "packed_trees"  # the attribute that a stored tree model has in place of its trees


def dump_pipeline(pipeline: Pipeline, path: str | Path) -> None:
    """Write a fitted pipeline of `ser_hf.models.families.build_pipeline` as a skops file that needs no trust."""
    impute, scale, model = (copy.copy(step) for _, step in pipeline.steps)
    for name in IMPUTER_DTYPES:
        delattr(impute, name)
    if isinstance(model, (DecisionTreeClassifier, RandomForestClassifier, HistGradientBoostingClassifier)):
        packed, classes = pack_trees(model), model.classes_
        model = clone(model)
        model.classes_ = classes
        setattr(model, TREES, packed)
    stored = Pipeline([("impute", impute), ("scale", scale), ("model", model)])
    # Not at zlib's usual level, which takes three times as long for three per cent.
    skops.io.dump(stored, path, compression=zipfile.ZIP_DEFLATED, compresslevel=3)


def load_pipeline(path: str | Path, names: Sequence[str], n_labels: int) -> Pipeline:
    """Read what `dump_pipeline` wrote.

    Args:
        names: the features that it must have been fitted on.
        n_labels: how many labels it must answer, which are the ints from 0 on.

    Raises:
        ModelError: the file is damaged, holds a type that is not scikit-learn's own, or not such a pipeline of such
            features and labels.
    """
    path = Path(path)
    try:
        untrusted = skops.io.get_untrusted_types(file=path)
        loaded: Any = None if untrusted else skops.io.load(path, trusted=[])
    except Exception as error:  # whatever a damaged or forged file makes skops or scikit-learn raise
        raise ModelError(f"{path} cannot be loaded: {error}") from None
    if untrusted:
        raise ModelError(f"{path} holds types that are not scikit-learn's own: {', '.join(untrusted)}; not loaded")
    kinds = [type(step) for _, step in getattr(loaded, "steps", [])] if type(loaded) is Pipeline else [type(loaded)]
    if kinds[:2] != [SimpleImputer, StandardScaler] or len(kinds) != 3 or kinds[2] not in _CLASSIFIERS:
        held = ", ".join(kind.__name__ for kind in kinds)
        raise ModelError(f"{path} does not hold an imputer, a scaler and a classifier that is known here, but {held}")
    try:
        impute, scale, model = (step for _, step in loaded.steps)
        classes = np.asarray(getattr(model, "classes_", []))
        found = [str(name) for name in getattr(impute, "feature_names_in_", [])]
        if len(classes) != n_labels or not np.array_equal(classes, np.arange(n_labels)):
            raise ModelError(f"{path}: the pipeline answers {len(classes)} labels, config.json names {n_labels}")
        if found != list(names):
            raise ModelError(
                f"{path}: the pipeline was fitted on other features ({len(found)} columns) than are computed here "
                f"({len(names)} columns): train it again"
            )
        steps = [
            ("impute", _imputer(impute, names)),
            ("scale", _scaler(scale, len(names))),
            ("model", _CLASSIFIERS[kinds[2]](model, len(names), np.arange(n_labels))),
        ]
    except ModelError:
        raise
    except Exception as error:  # a forged object may lack anything
        raise ModelError(f"{path} cannot be loaded: {error}") from None
    return Pipeline(steps)


def _array(owner: Any, name: str, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    """A contiguous copy of an attribute; ValueError unless it has this shape and holds finite numbers of this kind."""
    array = getattr(owner, name)
    if type(array) is not np.ndarray or array.shape != shape:
        raise ValueError(f"{name} of {type(owner).__name__} is not an array of shape {shape}")
    if (
        array.dtype.kind not in ("f" if np.dtype(dtype).kind == "f" else "iu")
        or not (np.abs(array.astype(float)) <= MAX_NUMBER).all()
    ):
        raise ValueError(f"{name} of {type(owner).__name__} does not hold finite numbers of the right kind")
    return np.array(array, dtype=dtype, order="C")


def _imputer(stored: SimpleImputer, names: Sequence[str]) -> SimpleImputer:
    made = SimpleImputer(strategy="median", keep_empty_features=True)
    made.statistics_ = _array(stored, "statistics_", (len(names),))
    made.feature_names_in_, made.n_features_in_ = np.array(names, dtype=object), len(names)
    made.indicator_ = None
    for name in IMPUTER_DTYPES:
        setattr(made, name, np.dtype(np.float32))
    return made


def _scaler(stored: StandardScaler, n_features: int) -> StandardScaler:
    made = StandardScaler()
    made.mean_, made.scale_, made.var_ = (_array(stored, name, (n_features,)) for name in ("mean_", "scale_", "var_"))
    if (made.scale_ < MIN_SCALE).any():
        raise ValueError("scale_ of StandardScaler is not above zero")
    made.n_features_in_, made.n_samples_seen_ = n_features, stored.n_samples_seen_
    return made


def _settings(model: Any, **expected: Any) -> None:
    for name, value in expected.items():
        if getattr(model, name) != value:
            raise ValueError(f"{type(model).__name__} with {name}={getattr(model, name)!r} is not known here")


def _svm(stored: SVC, n_features: int, classes: np.ndarray) -> SVC:
    _settings(stored, kernel="rbf", decision_function_shape="ovr", probability=SVC().probability)
    n_classes, n_vectors = len(classes), len(stored.support_vectors_)
    made = clone(stored)
    made.support_vectors_ = _array(stored, "support_vectors_", (n_vectors, n_features))
    made.support_ = _array(stored, "support_", (n_vectors,), np.int32)
    made._n_support = _array(stored, "_n_support", (n_classes,), np.int32)
    if n_vectors < 1 or (made._n_support < 0).any() or made._n_support.sum(dtype=np.int64) != n_vectors:
        raise ValueError("_n_support of SVC does not count its support vectors")
    made._dual_coef_ = made.dual_coef_ = _array(stored, "_dual_coef_", (n_classes - 1, n_vectors))
    made._intercept_ = made.intercept_ = _array(stored, "_intercept_", (n_classes * (n_classes - 1) // 2,))
    if n_classes == 2:  # scikit-learn shows two labels the other way round than libsvm has them
        made.dual_coef_, made.intercept_ = -made._dual_coef_, -made._intercept_
    made._probA = made._probB = np.zeros(0)
    made._gamma, made._sparse, made.fit_status_ = float(stored._gamma), False, 0
    if not 0 < made._gamma < np.inf:
        raise ValueError("_gamma of SVC is no positive number")
    made.classes_, made.n_features_in_, made.shape_fit_ = classes, n_features, (n_vectors, n_features)
    return made


def _neighbours(stored: KNeighborsClassifier, n_features: int, classes: np.ndarray) -> KNeighborsClassifier:
    _settings(stored, algorithm="brute", metric="minkowski", p=2, metric_params=None)
    rows = len(stored._fit_X)
    if stored.weights not in ("uniform", "distance") or not 1 <= int(stored.n_neighbors) <= rows:
        raise ValueError(f"{stored.n_neighbors} neighbours weighted {stored.weights!r} among {rows} are not possible")
    dtype = np.float32 if stored._fit_X.dtype == np.float32 else np.float64
    labels = _array(stored, "_y", (rows,), np.intp)
    if not np.array_equal(np.unique(labels), classes):
        raise ValueError("the labels of the neighbours are not those of the model")
    made = clone(stored).set_params(n_neighbors=int(stored.n_neighbors), n_jobs=None)
    return made.fit(_array(stored, "_fit_X", (rows, n_features), dtype), labels)


def _trees(stored: Any, n_features: int, classes: np.ndarray) -> Any:
    return unpack_trees(stored, getattr(stored, TREES), n_features, classes)


# What makes a classifier of each kind anew: (stored, number of features, classes) -> a fitted one.
_CLASSIFIERS: dict[type, Callable[[Any, int, np.ndarray], Any]] = {
    SVC: _svm,
    KNeighborsClassifier: _neighbours,
    DecisionTreeClassifier: _trees,
    RandomForestClassifier: _trees,
    HistGradientBoostingClassifier: _trees,
}
