"""Classical models: scikit-learn pipelines on engineered features, how they are tuned, and their model folders."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from joblib import parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_hf.audio import SAMPLE_RATE
from ser_hf.features import FEATURES_VERSION, GROUPS, extract, feature_names
from ser_hf.labels import ID2LABEL, LABEL2ID, LABELS
from ser_hf.metrics import fit_temperature, softmax
from ser_hf.models import ModelError

MODEL_TYPE = "ser_hf-classical"
PIPELINE, CONFIG = "pipeline.skops", "config.json"
INNER_FOLDS = 5
MIN_PROBABILITY = 1e-3  # of a label for which no neighbour or leaf votes

# SimpleImputer remembers two dtypes, and skops asks to trust numpy.dtype. Tables of features are float32 always, so the
# dtypes stay out of the file and are put back when it is loaded.
IMPUTER_DTYPES = ("_fit_dtype", "_fill_dtype")

DEFAULT_GROUPS = tuple(group for group in GROUPS if group != "textbook")


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        estimator: what comes after imputing and scaling.
        search_space: parameters of ``estimator`` to try, given the number of features; every combination is.
        groups: feature groups that it is given unless others are asked for.
        can_be_saved: whether its file can be loaded safely. skops trusts no tree: scikit-learn follows the indices in
            it unchecked, so a forged file crashes whoever loads it.
    """

    estimator: BaseEstimator
    search_space: Callable[[int], dict[str, list[Any]]]
    groups: tuple[str, ...] = DEFAULT_GROUPS
    can_be_saved: bool = True


# break_ties: without it, the label with the highest decision value is not always the one that SVC predicts.
FAMILIES: dict[str, Family] = {
    "svm": Family(
        SVC(class_weight="balanced", break_ties=True),
        lambda n: {"C": [2, 8], "gamma": [0.25 / n, 0.5 / n, 1 / n]},
    ),
    "svm-textbook": Family(SVC(break_ties=True), lambda n: {"C": [1, 10, 100]}, groups=("textbook",)),
    "knn": Family(
        KNeighborsClassifier(algorithm="brute"),
        lambda n: {"n_neighbors": [5, 11, 21, 41], "weights": ["uniform", "distance"]},
    ),
    "random-forest": Family(
        RandomForestClassifier(n_estimators=300, class_weight="balanced"),
        lambda n: {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]},
        can_be_saved=False,
    ),
    "decision-tree": Family(
        DecisionTreeClassifier(class_weight="balanced"),
        lambda n: {"max_depth": [4, 8, 16], "min_samples_leaf": [1, 5, 15]},
        can_be_saved=False,
    ),
}


@dataclass(frozen=True)
class ClassicalModel:
    """A fitted pipeline with what its answers need.

    Attributes:
        pipeline: from a table of features to decision values or probabilities.
        config: what is kept as ``config.json``: family, labels, feature groups, temperature, tuned parameters.
    """

    pipeline: Pipeline
    config: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """The label of each output, in the order of the outputs."""
        return [self.config["id2label"][str(index)] for index in range(len(self.config["id2label"]))]

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """The probability of every label for each clip.

        Args:
            clips: float32 mono waveforms at 16 kHz, each with at least one sample.

        Returns:
            float64 (clips, labels), rows that sum to 1.
        """
        groups = self.config["feature_groups"]
        names = feature_names(groups)
        rows = np.array([extract(clip, groups) for clip in clips], dtype=np.float32).reshape(len(clips), len(names))
        return self.predict_features(pd.DataFrame(rows, columns=names))

    def predict_features(self, features: pd.DataFrame) -> np.ndarray:
        """As `predict_proba`, from a table of `ser_hf.features.extract_table`."""
        if features.empty:
            return np.zeros((0, len(self.labels)))
        method = _output_method(self.pipeline)
        return softmax(_logits(getattr(self.pipeline, method)(features), method) / self.config["temperature"])

    def feature_statistics(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each feature over the training clips."""
        scaler = self.pipeline["scale"]
        statistics = zip(scaler.mean_.tolist(), scaler.scale_.tolist(), strict=True)
        return dict(zip(self.pipeline.feature_names_in_, statistics, strict=True))


def fit_classical(
    family: str,
    features: pd.DataFrame,
    labels: np.ndarray,
    speakers: np.ndarray | None,
    groups: Sequence[str],
    seed: int = 0,
    n_jobs: int = -1,
) -> ClassicalModel:
    """Tune and fit a family on training clips, and calibrate it on what cross-validation answered.

    Args:
        family: a name out of `FAMILIES`.
        features: one row a clip, of `ser_hf.features.extract_table`.
        labels: (n,) int indices into `LABELS`.
        speakers: (n,) whose voice it is: cross-validation holds out whole speakers. None where clips of a test speaker
            may be trained on (protocol "random"); cross-validation is then stratified over clips.
        groups: the feature groups of ``features``.
        n_jobs: processes; -1 for one a core.

    Raises:
        ModelError: a label has no clip, or there are too few speakers to hold any out.
    """
    missing = [label for index, label in enumerate(LABELS) if not (labels == index).any()]
    if missing:
        raise ModelError(f"the training clips hold no example of: {', '.join(missing)}")
    features = features.astype(np.float32)
    pipeline = build_pipeline(family, seed)
    space = FAMILIES[family].search_space(features.shape[1])
    space = {f"model__{name}": values for name, values in space.items()}
    folds = inner_folds(labels, speakers, seed)
    with parallel_config("loky", inner_max_num_threads=1):
        search = GridSearchCV(pipeline, space, scoring="accuracy", cv=folds, n_jobs=n_jobs, error_score="raise")
        search.fit(features, labels)
        best = search.best_estimator_
        method = _output_method(best)
        held_out = cross_val_predict(best, features, labels, cv=folds, method=method, n_jobs=n_jobs)
    config = {
        "model_type": MODEL_TYPE,
        "family": family,
        "id2label": {str(index): label for index, label in ID2LABEL.items()},
        "label2id": LABEL2ID,
        "feature_groups": list(groups),
        "features_version": FEATURES_VERSION,
        "sample_rate": SAMPLE_RATE,
        "temperature": fit_temperature(_logits(held_out, method), labels),
        "parameters": {name.removeprefix("model__"): value for name, value in search.best_params_.items()},
        "cross_validation_accuracy": float(search.best_score_),
    }
    return ClassicalModel(best, config)


def build_pipeline(family: str, seed: int = 0) -> Pipeline:
    """Impute (median of the training clips), scale to unit variance, classify; not fitted."""
    model = clone(FAMILIES[family].estimator)
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    # keep_empty_features: a training part in which nothing is voiced must not lose its pitch columns.
    steps = [
        ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
        ("scale", StandardScaler()),
        ("model", model),
    ]
    return Pipeline(steps)


def inner_folds(labels: np.ndarray, speakers: np.ndarray | None, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Up to five (train, held out) parts of the training clips: by speaker, or stratified by label without speakers."""
    n_parts = min(INNER_FOLDS, np.bincount(labels).min() if speakers is None else len(np.unique(speakers)))
    if n_parts < 2:
        raise ModelError("tuning holds out speakers (or clips, for protocol 'random'): train on two of each at least")
    stratified = StratifiedKFold(n_parts, shuffle=True, random_state=seed)
    splitter = stratified if speakers is None else GroupKFold(n_parts)
    return list(splitter.split(labels, labels, speakers))


def save_classical(model: ClassicalModel, folder: str | Path) -> Path:
    """Write ``pipeline.skops`` and ``config.json`` into a folder, and return it.

    Raises:
        ModelError: the family is one that cannot be saved (see `Family`).
    """
    family = model.config["family"]
    if not FAMILIES[family].can_be_saved:
        raise ModelError(f"a {family} cannot be saved so that it loads safely; it can only be measured")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = copy.deepcopy(model.pipeline)
    for name in IMPUTER_DTYPES:
        delattr(pipeline["impute"], name)
    skops.io.dump(pipeline, folder / PIPELINE, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    (folder / CONFIG).write_text(json.dumps(model.config, indent=2) + "\n", encoding="utf-8")
    return folder


def load_classical(folder: str | Path) -> ClassicalModel:
    """Load a model folder that `save_classical` wrote.

    Raises:
        ModelError: a file is missing or damaged, the pipeline holds a type that is not scikit-learn's own, or it does
            not fit its labels or the features that this version computes.
    """
    folder = Path(folder)
    for name in (CONFIG, PIPELINE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no classical model: it holds no {name}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG} is not valid JSON: {error}") from None
    keys = ("model_type", "id2label", "feature_groups", "features_version", "temperature")
    missing = [key for key in keys if key not in config] if isinstance(config, dict) else list(keys)
    if missing or config["model_type"] != MODEL_TYPE:
        raise ModelError(f"{folder / CONFIG} does not describe a classical model ({missing or config['model_type']})")
    model = ClassicalModel(_load_pipeline(folder / PIPELINE), config)
    _check(model, folder)
    return model


def _load_pipeline(path: Path) -> Pipeline:
    try:
        untrusted = skops.io.get_untrusted_types(file=path)
        pipeline = None if untrusted else skops.io.load(path, trusted=[])
    except Exception as error:  # whatever a damaged or forged file makes skops or scikit-learn raise
        raise ModelError(f"{path} cannot be loaded: {error}") from None
    if untrusted:
        raise ModelError(f"{path} holds types that are not scikit-learn's own: {', '.join(untrusted)}; not loaded")
    if not isinstance(pipeline, Pipeline) or not isinstance(pipeline.named_steps.get("impute"), SimpleImputer):
        raise ModelError(f"{path} holds a {type(pipeline).__name__} that does not impute, scale and classify")
    for name in IMPUTER_DTYPES:
        setattr(pipeline["impute"], name, np.dtype(np.float32))
    return pipeline


def _check(model: ClassicalModel, folder: Path) -> None:
    config, pipeline = model.config, model.pipeline
    n_classes = len(getattr(pipeline, "classes_", []))
    if sorted(config["id2label"]) != sorted(map(str, range(n_classes))):
        raise ModelError(f"{folder}: the pipeline answers {n_classes} labels, config.json names {config['id2label']}")
    try:
        expected = feature_names(config["feature_groups"])
    except ValueError as error:
        raise ModelError(f"{folder}: {error}; the model was made by another version") from None
    found = list(getattr(pipeline, "feature_names_in_", []))
    if config["features_version"] != FEATURES_VERSION or found != expected:
        raise ModelError(
            f"{folder}: the pipeline was fitted on other features (version {config['features_version']}, {len(found)} "
            f"columns) than are computed here (version {FEATURES_VERSION}, {len(expected)} columns): train it again"
        )


def _output_method(pipeline: Pipeline) -> str:
    return "decision_function" if hasattr(pipeline, "decision_function") else "predict_proba"


def _logits(output: np.ndarray, method: str) -> np.ndarray:
    """Decision values as they are; probabilities as their logarithms."""
    return output if method == "decision_function" else np.log(np.maximum(output, MIN_PROBABILITY))
