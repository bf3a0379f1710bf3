"""Adapting a classifier to one speaker by a few of their unlabelled recordings, without training.

A voice moves all of its log-probabilities by about the same amounts. The shift of a speaker is the mean of their
log-probabilities less the mean over other speakers; half of it is taken with each recording compared to others that got
the same label, so that it follows less what the speaker happened to express. It is shrunk by n / (n + 5).
`experiments/adaptation.py` measures what it gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LEAST = 2  # recordings; of a neutral reference, one
SHRINKAGE = 5  # recordings of other speakers that the shift of one is weighed against
NEUTRAL_SHARE = 0.4  # of the shift seen in neutral recordings: one emotion says less than a mix
FLOOR = 1e-6  # of a probability, so that its logarithm is finite

Reference = dict[str, Any]


def make_reference(
    probabilities: np.ndarray, speakers: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> Reference:
    """What recordings of other speakers look like to a model, as ``config.json`` keeps it.

    Args:
        probabilities: (clips, labels), of clips of speakers that the model was not trained on.
        speakers: (clips,).
        labels: int (clips,), the true ones.
        names: of the labels, in the order of the columns.

    Returns:
        ``labels``, the names; ``mean`` (labels,): mean log-probabilities, each speaker weighing the same; ``by_label``
        (labels, labels): of the clips that got each label; ``neutral`` (labels,): of neutral clips, if there are any.
    """
    logs, predicted = log_probabilities(probabilities), probabilities.argmax(axis=1)
    mean = _mean_of_speakers(logs, speakers)
    of_label = [predicted == index for index in range(len(names))]
    reference: dict[str, Any] = {
        "mean": mean,
        "by_label": [logs[rows].mean(axis=0) if rows.any() else mean for rows in of_label],
    }
    is_neutral = np.array(names)[labels] == "neutral"
    if is_neutral.any():
        reference["neutral"] = _mean_of_speakers(logs[is_neutral], speakers[is_neutral])
    return {"labels": list(names), **{name: np.round(values, 4).tolist() for name, values in reference.items()}}


def in_label_order(reference: Reference | None, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """A reference as arrays whose columns are in the order of some labels; empty where it is of others."""
    if not reference or sorted(reference["labels"]) != sorted(labels):
        return {}
    order = [reference["labels"].index(label) for label in labels]
    arrays = {name: np.array(values)[..., order] for name, values in reference.items() if name != "labels"}
    return arrays | {"by_label": arrays["by_label"][order]}


def speaker_shift(probabilities: np.ndarray, reference: Mapping[str, np.ndarray], neutral: bool = False) -> np.ndarray:
    """What to subtract from the log-probabilities of a speaker.

    Args:
        probabilities: (recordings, labels) of the speaker.
        reference: see `in_label_order`.
        neutral: the recordings are neutral; else they are a mix of what the speaker expresses.

    Returns:
        (labels,)
    """
    logs = log_probabilities(probabilities)
    if neutral:
        return NEUTRAL_SHARE * (logs.mean(axis=0) - reference["neutral"])
    of_mix = logs.mean(axis=0) - reference["mean"]
    within_labels = (logs - reference["by_label"][logs.argmax(axis=1)]).mean(axis=0)
    return (of_mix + within_labels) / 2 * len(logs) / (len(logs) + SHRINKAGE)


def shifted(probabilities: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Probabilities (recordings, labels) with a shift subtracted from their logarithms, each row summing to 1."""
    moved = np.exp(log_probabilities(probabilities) - shift)
    return moved / moved.sum(axis=1, keepdims=True)


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Their logarithms, of no less than `FLOOR`."""
    return np.log(np.clip(np.asarray(probabilities, dtype=float), FLOOR, 1))


def _mean_of_speakers(logs: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    return np.mean([logs[speakers == speaker].mean(axis=0) for speaker in np.unique(speakers)], axis=0)
