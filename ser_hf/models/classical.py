"""scikit-learn pipelines on engineered features: fitting, prediction and model folders."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.impute import SimpleImputer
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser_hf.audio import SAMPLE_RATE
from ser_hf.evaluation.metrics import confidence_threshold, fit_temperature, softmax
from ser_hf.features import FEATURES_VERSION, extract, feature_names
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.families import FAMILIES, build_pipeline, model_logits
from ser_hf.models.tuning import Fold, held_out_logits, inner_folds, make_sampler
from ser_hf.utils.files import replacing, write_json

MODEL_TYPE = "ser_hf-classical"
PIPELINE, CONFIG = "pipeline.skops", "config.json"
# scikit-learn's own types that skops does not trust by itself.
TRUSTED = ["sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
# skops would ask to trust numpy.dtype. Features are always float32, so these stay out of the file.
IMPUTER_DTYPES = ("_fit_dtype", "_fill_dtype")


@dataclass(frozen=True)
class ClassicalModel:
    """A fitted pipeline and its configuration.

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
        """Probabilities, float64 (clips, labels), of float32 mono waveforms at 16 kHz with at least one sample each."""
        groups = self.config["feature_groups"]
        names = feature_names(groups)
        rows = np.array([extract(clip, groups) for clip in clips], dtype=np.float32).reshape(len(clips), len(names))
        return self.predict_features(pd.DataFrame(rows, columns=names))

    def predict_features(self, features: pd.DataFrame, names: Sequence[str] | None = None) -> np.ndarray:
        """As `predict_proba`, from a table of `ser_hf.features.table.extract_table`.

        Args:
            names: the labels of the returned columns (default: this model's own). Those that this model does not have
                get the probability 0.
        """
        if features.empty:
            return np.zeros((0, len(self.labels if names is None else names)))
        logits = model_logits(self.pipeline[-1], self.pipeline[:-1].transform(features))
        probabilities = softmax(logits / self.config["temperature"])
        if names is None:
            return probabilities
        columns = np.zeros((len(features), len(names)))
        columns[:, [list(names).index(label) for label in self.labels]] = probabilities
        return columns

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
    smote: bool = False,
    label_names: Sequence[str] = LABELS,
) -> ClassicalModel:
    """Tune and fit a family on training clips, and calibrate it on clips that cross-validation held out.

    Args:
        family: a name out of `FAMILIES`.
        features: one row per clip, of `ser_hf.features.table.extract_table`.
        labels: (n,) int indices into ``label_names``. The model predicts those that occur.
        speakers: (n,), held out whole by cross-validation. None for the speaker-dependent protocol "random", where
            cross-validation is stratified over clips.
        groups: the feature groups of ``features``.
        n_jobs: processes; -1 for one per core.
        smote: oversample rare labels by synthetic rows, separately in each part that is trained on.

    Raises:
        ModelError: fewer than two labels occur, or there are too few speakers or clips to hold any out.
    """
    met, codes = np.unique(np.asarray(labels), return_inverse=True)
    names = [label_names[index] for index in met]
    if len(names) < 2:
        raise ModelError(f"the training clips need two labels at least, and have: {', '.join(names) or 'none'}")
    features = features.astype(np.float32)
    folds = inner_folds(codes, speakers, seed)
    sampler = make_sampler(codes, folds, seed) if smote else None
    n_rows = min(len(train) for train, _ in folds)
    candidates = list(ParameterGrid(FAMILIES[family].search_space(features.shape[1], n_rows)))
    pipeline = build_pipeline(family, seed)
    logits = held_out_logits(pipeline, candidates, features.to_numpy(), codes, folds, n_jobs, sampler)
    hits = [scores.argmax(axis=1) == codes for scores in logits]
    accuracies = [float(np.mean([hit[held_out].mean() for _, held_out in folds])) for hit in hits]
    best = int(np.argmax(accuracies))
    # Not Pipeline.fit: what is between the scaler and the model acts in training only.
    rows, targets = pipeline[:-1].fit_transform(features), codes
    if sampler is not None:
        rows, targets = sampler.fit_resample(rows, targets)
    pipeline[-1].set_params(**candidates[best]).fit(rows, targets)
    config = {
        "model_type": MODEL_TYPE,
        "family": family,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "feature_groups": list(groups),
        "features_version": FEATURES_VERSION,
        "sample_rate": SAMPLE_RATE,
        "smote": smote,
        "logits": "pairwise" if isinstance(pipeline[-1], SVC) else "probabilities",
        **_calibration(logits[best], codes, folds),
        "parameters": candidates[best],
        "cross_validation_accuracy": accuracies[best],
    }
    return ClassicalModel(pipeline, config)


def _calibration(logits: np.ndarray, labels: np.ndarray, folds: list[Fold]) -> dict[str, float]:
    """Temperature and confidence threshold, chosen on held-out clips whose label was in the training part."""
    known = np.zeros(len(labels), dtype=bool)
    for train, held_out in folds:
        known[held_out] = np.isin(labels[held_out], labels[train])
    if not known.any():
        return {"temperature": 1.0}
    temperature = fit_temperature(logits[known], labels[known])
    threshold = confidence_threshold(softmax(logits[known] / temperature), labels[known])
    return {"temperature": temperature, "answer_threshold": threshold}


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
        features, labels: of clips that the model was not trained on, one row per clip; labels by name.
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


def save_classical(model: ClassicalModel, folder: str | Path) -> Path:
    """Write ``pipeline.skops`` and ``config.json`` into a folder, and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    imputer = copy.copy(model.pipeline[0])
    for name in IMPUTER_DTYPES:
        delattr(imputer, name)
    stored = Pipeline([("impute", imputer), *model.pipeline.steps[1:]])
    with replacing(folder / PIPELINE) as part:
        # zlib's usual level takes three times as long for three per cent.
        skops.io.dump(stored, part, compression=zipfile.ZIP_DEFLATED, compresslevel=3)
    write_json(folder / CONFIG, model.config)
    return folder


def load_classical(folder: str | Path) -> ClassicalModel:
    """Load a model folder that `save_classical` wrote.

    Raises:
        ModelError: a file is missing or damaged, the pipeline has types that are not scikit-learn's own or is not one
            of `FAMILIES`, or it does not fit its labels or the features of this version.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        names, labels = feature_names(config["feature_groups"]), config["id2label"]
        are_words = all(isinstance(labels[str(index)], str) for index in range(len(labels)))
    except (ImportError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG} does not describe a classical model of this version: {error}") from None
    if not are_words or len(labels) < 2:
        raise ModelError(f"{folder / CONFIG}: id2label must number two labels or more, not {labels!r:.200}")
    model = ClassicalModel(_load_pipeline(folder / PIPELINE), config)
    fitted = list(getattr(model.pipeline[0], "feature_names_in_", []))
    if config.get("features_version") != FEATURES_VERSION or fitted != names:
        raise ModelError(f"{folder}: it was fitted on other features than this version computes: train it again")
    if isinstance(model.pipeline[-1], SVC) and config.get("logits") != "pairwise":
        raise ModelError(f"{folder}: its temperature is not for the logits of this version: train it again")
    try:
        # Missing values, so that every step uses all that it holds.
        scores = model.predict_features(pd.DataFrame([[np.nan] * len(names)], columns=names, dtype=np.float32))
    except Exception as error:  # whatever a forged file may lead to
        raise ModelError(f"{folder} cannot be used: {error}") from None
    if scores.shape != (1, len(labels)) or not np.isfinite(scores).all() or config["temperature"] < 0:
        raise ModelError(f"{folder} does not predict a probability for each of its {len(labels)} labels")
    return model


def _load_pipeline(path: Path) -> Pipeline:
    """Load nothing but an imputer, a scaler and a known classifier, all of scikit-learn's own types."""
    try:
        loaded: Any = skops.io.load(path, trusted=TRUSTED)  # it loads nothing if there are other types
    except Exception as error:  # a damaged file raises errors of several libraries
        raise ModelError(f"{path} cannot be loaded: {error}") from None
    kinds = [type(step) for _, step in loaded.steps] if type(loaded) is Pipeline else [type(loaded)]
    known = {type(family.estimator) for family in FAMILIES.values()}
    if kinds[:2] != [SimpleImputer, StandardScaler] or len(kinds) != 3 or kinds[2] not in known:
        held = ", ".join(kind.__name__ for kind in kinds)
        raise ModelError(f"{path} does not hold an imputer, a scaler and a classifier that is known here, but {held}")
    for name in IMPUTER_DTYPES:
        setattr(loaded[0], name, np.dtype(np.float32))
    return loaded
