"""Figures out of a ``metrics.json`` that may be anybody's: what is there in the shape expected, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

Metrics = dict[str, Any]


def percent(value: float) -> str:
    """A share in [0, 1] to a tenth of a per cent."""
    return f"{100 * value:.1f} %"


def share(value: Any) -> float | None:
    """The value if it is a number in [0, 1], as all that is shown here as a figure must be."""
    return value if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def count(value: Any) -> int:
    """The value if it is a number of things, else 0."""
    return value if isinstance(value, int) and value > 0 else 0


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def interval(metrics: Metrics, key: str) -> str:
    """The 95 % interval of a figure in words, or nothing."""
    shares = [share(bound) for bound in as_list(as_dict(metrics.get("intervals")).get(key))]
    bounds = [100 * bound for bound in shares if bound is not None]
    return f"{bounds[0]:.1f} to {bounds[1]:.1f}" if len(bounds) == len(shares) == 2 else ""


def groups(metrics: Metrics, key: str) -> dict[str, dict[str, Any]]:
    """Those of ``per_speaker``, ``per_gender`` and the like that have an accuracy, by their names."""
    named = {str(name): as_dict(group) for name, group in as_dict(metrics.get(key)).items()}
    return {name: group for name, group in named.items() if share(group.get("accuracy")) is not None}


def confusion_counts(metrics: Metrics) -> tuple[list[str], np.ndarray]:
    """Labels and confusion matrix, (k, k), rows true; no labels where the matrix cannot be shown."""
    labels = [str(label) for label in as_list(metrics.get("labels"))]
    try:
        counts = np.array(metrics.get("confusion_matrix"), dtype=float)
    except (TypeError, ValueError):
        return [], np.zeros((0, 0))
    fits = counts.shape == (len(labels),) * 2 and np.isfinite(counts).all() and (counts >= 0).all() and counts.any()
    return (labels if fits else []), counts


def calibration_bins(metrics: Metrics) -> list[dict[str, Any]]:
    """The bins of the reliability diagram, each with ``n``, ``confidence`` and ``accuracy``."""
    return [
        {"n": group["n"], "confidence": group["confidence"], "accuracy": group["accuracy"]}
        for group in map(as_dict, as_list(metrics.get("calibration")))
        if count(group.get("n"))
        if share(group.get("confidence")) is not None and share(group.get("accuracy")) is not None
    ]
