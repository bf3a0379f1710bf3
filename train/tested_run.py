"""A run whose models are there to be asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser_hf.classifier import EmotionClassifier
from ser_hf.features import extract, feature_names
from ser_hf.models.classical import ClassicalModel
from ser_hf.runs import RunError, read_predictions


class FeatureMemory:
    """Engineered features of clips, group by group, so that several models may ask for the same ones.

    They take far longer than any classical model's answer, and there are tens of thousands of changed clips.
    """

    def __init__(self) -> None:
        self._groups: dict[bytes, dict[str, np.ndarray]] = {}

    def recall(self, samples: np.ndarray, groups: Sequence[str]) -> np.ndarray:
        """What `ser_hf.features.extract` returns."""
        known = self._groups.setdefault(hashlib.sha256(np.ascontiguousarray(samples).data).digest(), {})
        missing = [group for group in groups if group not in known]
        if missing:
            ends = np.cumsum([len(feature_names([group])) for group in missing])[:-1]
            known.update(zip(missing, np.split(extract(samples, missing), ends), strict=True))
        return np.concatenate([known[group] for group in groups])


class RecallingModel:
    """A classical model whose features come from a `FeatureMemory`; it answers as the model itself does."""

    def __init__(self, model: ClassicalModel, memory: FeatureMemory) -> None:
        self.model, self.memory, self.labels = model, memory, model.labels

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """As `ClassicalModel.predict_proba`."""
        groups = self.model.config["feature_groups"]
        rows = np.array([self.memory.recall(clip, groups) for clip in clips], dtype=np.float32)
        return self.model.predict_features(pd.DataFrame(rows, columns=feature_names(groups)))


class TestedRun:
    """A run with the model of each of its folds, to be asked again.

    Attributes:
        folder: the run folder.
        frame: its predictions, one row a test clip.
        classifiers: the model of each fold.

    Raises:
        RunError: a fold's model is gone.
    """

    def __init__(self, folder: Path, memory: FeatureMemory) -> None:
        self.folder, self.frame = folder, read_predictions(folder)
        self.classifiers = {fold: self._load(fold, memory) for fold in sorted(self.frame["fold"].unique())}

    def _load(self, fold: int, memory: FeatureMemory) -> EmotionClassifier:
        folder = self.folder / f"fold{fold}" / "model"
        if not folder.is_dir():
            raise RunError(f"{folder} is gone: the models of a run are needed to ask them again; run it anew")
        classifier = EmotionClassifier.from_pretrained(folder)
        if isinstance(classifier.model, ClassicalModel):
            classifier.model = RecallingModel(classifier.model, memory)
        return classifier
