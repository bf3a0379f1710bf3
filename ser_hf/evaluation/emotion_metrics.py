"""The figures of `ser_hf.evaluation.metrics.score` as an `evaluate.Metric` that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from ser_hf.evaluation.metrics import score
from ser_hf.labels import LABELS


class EmotionMetrics(evaluate.Metric):
    """`evaluate.Metric` for emotion classification; ``evaluate.load`` would fetch code, this does not.

    ``compute(predictions=..., references=..., probabilities=None)`` returns what `evaluation.metrics.score` does.

    Args:
        labels: the class names, in the order of the class indices.
    """

    def __init__(self, labels: Sequence[str] = LABELS, **kwargs: Any) -> None:
        self.class_names = list(labels)
        # In memory, because evaluate's default is a locked file in the user's cache folder.
        kwargs.setdefault("keep_in_memory", True)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, balanced accuracy, macro F1, per-class figures, confusion matrix and calibration.",
            citation="",
            inputs_description="Class indices, and optionally `probabilities`: (n, k), rows that sum to 1.",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(
        self, predictions: list[int], references: list[int], probabilities: np.ndarray | None = None
    ) -> dict[str, Any]:
        if probabilities is not None and np.shape(probabilities) != (len(references), len(self.class_names)):
            raise ValueError(
                f"probabilities must be {len(references)} rows of {len(self.class_names)}, "
                f"not of shape {np.shape(probabilities)}"
            )
        return score(np.asarray(references), np.asarray(predictions), self.class_names, probabilities)
