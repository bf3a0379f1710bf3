"""Classical models: scikit-learn pipelines on engineered features, how they are tuned, and their model folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline

from ser_hf.audio import SAMPLE_RATE
from ser_hf.features import FEATURES_VERSION, MissingPackageError, extract, feature_names
from ser_hf.files import replacing, write_json
from ser_hf.labels import LABELS
from ser_hf.metrics import confidence_threshold, fit_temperature, softmax
from ser_hf.models import ModelError
from ser_hf.models.families import FAMILIES, build_pipeline, oversample, without_sampler
from ser_hf.models.pairwise import is_pairwise
from ser_hf.models.stored import dump_pipeline, load_pipeline
from ser_hf.models.tuning import Fold, held_out_logits, inner_folds, model_logits

MODEL_TYPE = "ser_hf-classical"
PIPELINE, CONFIG = "pipeline.skops", "config.json"


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

    def predict_features(self, features: pd.DataFrame, names: Sequence[str] | None = None) -> np.ndarray:
        """As `predict_proba`, from a table of `ser_hf.feature_table.extract_table`.

        Args:
            names: the labels of the columns that are returned, among them all of this model's; those that it has never
                met get the probability 0. None for this model's own.
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
    """Tune and fit a family on training clips, and calibrate it on what cross-validation answered.

    Args:
        family: a name out of `FAMILIES`.
        features: one row a clip, of `ser_hf.feature_table.extract_table`.
        labels: (n,) int indices into ``label_names``. The model answers those that occur.
        speakers: (n,) whose voice it is: cross-validation holds out whole speakers. None where clips of a test speaker
            may be trained on (protocol "random"); cross-validation is then stratified over clips.
        groups: the feature groups of ``features``.
        n_jobs: processes; -1 for one a core.
        smote: make the labels equally frequent by synthetic rows, anew in each part that is trained on, and only there.

    Raises:
        ModelError: fewer than two labels occur, or there are too few speakers or clips to hold any out.
    """
    met, codes = np.unique(np.asarray(labels), return_inverse=True)
    names = [label_names[index] for index in met]
    if len(names) < 2:
        raise ModelError(f"the training clips hold no two labels to tell apart, only: {', '.join(names) or 'none'}")
    features = features.astype(np.float32)
    folds = inner_folds(codes, speakers, seed)
    pipeline = build_pipeline(family, seed)
    if smote:
        parts = [codes, *(codes[train] for train, _ in folds)]
        pipeline = oversample(pipeline, min(np.unique(part, return_counts=True)[1].min() for part in parts), seed)
    n_rows = min(len(train) for train, _ in folds)
    candidates = list(ParameterGrid(FAMILIES[family].search_space(features.shape[1], n_rows)))
    answers = held_out_logits(pipeline, candidates, features.to_numpy(), codes, folds, n_jobs)
    accuracies = [_mean_accuracy(logits, codes, folds) for logits in answers]
    best = int(np.argmax(accuracies))
    fitted = pipeline.set_params(**{f"model__{name}": value for name, value in candidates[best].items()})
    fitted.fit(features, codes)
    config = {
        "model_type": MODEL_TYPE,
        "family": family,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "feature_groups": list(groups),
        "features_version": FEATURES_VERSION,
        "sample_rate": SAMPLE_RATE,
        "smote": smote,
        "logits": "pairwise" if is_pairwise(fitted) else "probabilities",
        **_calibration(answers[best], codes, folds),
        "parameters": candidates[best],
        "cross_validation_accuracy": accuracies[best],
    }
    return ClassicalModel(without_sampler(fitted), config)


def _mean_accuracy(logits: Sequence[np.ndarray], labels: np.ndarray, folds: list[Fold]) -> float:
    pairs = zip(logits, folds, strict=True)
    return float(np.mean([(part.argmax(axis=1) == labels[held_out]).mean() for part, (_, held_out) in pairs]))


def _calibration(logits: Sequence[np.ndarray], labels: np.ndarray, folds: list[Fold]) -> dict[str, float]:
    """Temperature and threshold of the held-out answers, but for clips whose label whoever answered had not met."""
    rows = [
        (part, labels[held], np.isin(labels[held], labels[train]))
        for part, (train, held) in zip(logits, folds, strict=True)
    ]
    kept = [(part[met], true[met]) for part, true, met in rows]
    if not any(len(true) for _, true in kept):
        return {"temperature": 1.0}
    held_out, true = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    temperature = fit_temperature(held_out, true)
    threshold = confidence_threshold(softmax(held_out / temperature), true)
    return {"temperature": temperature, "answer_threshold": threshold}


def save_classical(model: ClassicalModel, folder: str | Path) -> Path:
    """Write ``pipeline.skops`` and ``config.json`` into a folder, and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PIPELINE) as part:
        dump_pipeline(model.pipeline, part)
    write_json(folder / CONFIG, model.config)
    return folder


def load_classical(folder: str | Path) -> ClassicalModel:
    """Load a model folder that `save_classical` wrote.

    Raises:
        ModelError: a file is missing or damaged, the pipeline holds anything but what such a pipeline needs, or it does
            not fit its labels or the features that this version computes.
    """
    folder = Path(folder)
    for name in (CONFIG, PIPELINE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no classical model: it holds no {name}")
    config = _read_config(folder / CONFIG)
    try:
        names = feature_names(config["feature_groups"])
    except MissingPackageError as error:
        raise ModelError(f"{folder}: {error}") from None
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder}: {error}; the model was made by another version") from None
    if config["features_version"] != FEATURES_VERSION:
        raise ModelError(
            f"{folder}: the pipeline was fitted on other features (version {config['features_version']}) than are "
            f"computed here (version {FEATURES_VERSION}): train it again"
        )
    model = ClassicalModel(load_pipeline(folder / PIPELINE, names, len(config["id2label"])), config)
    if is_pairwise(model.pipeline) and config.get("logits") != "pairwise":
        raise ModelError(f"{folder}: its temperature is for decision values that are no longer used: train it again")
    try:
        # A value that is missing, so that every step is asked for all that it holds.
        answer = model.predict_features(pd.DataFrame([[np.nan] * len(names)], columns=names, dtype=np.float32))
    except Exception as error:  # whatever else a forged file may lead to
        raise ModelError(f"{folder / PIPELINE} cannot be loaded: {error}") from None
    if answer.shape != (1, len(model.labels)) or not np.isfinite(answer).all():
        raise ModelError(f"{folder} does not answer with a probability for each of its {len(model.labels)} labels")
    return model


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    keys = ("model_type", "id2label", "feature_groups", "features_version", "temperature")
    missing = [key for key in keys if key not in config] if isinstance(config, dict) else list(keys)
    if missing or config["model_type"] != MODEL_TYPE:
        raise ModelError(f"{path} does not describe a classical model ({missing or config['model_type']})")
    names, temperature = config["id2label"], config["temperature"]
    numbered = isinstance(names, dict) and set(names) == {str(index) for index in range(len(names))}
    if not numbered or len(names) < 2 or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(f"{path}: id2label must number two labels or more from 0 on, not {names!r:.200}")
    if type(temperature) not in (int, float) or not 0 < temperature < np.inf:
        raise ModelError(f"{path}: the temperature must be a positive number, not {temperature!r:.200}")
    return config
