"""Temperature and confidence threshold of a model: fitted on held-out predictions, then part of its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_hf.evaluation.metrics import confidence_threshold, fit_temperature, label_indices, probability_matrix, softmax
from ser_hf.evaluation.runs import read_predictions, read_run_json
from ser_hf.models.familiarity import save_familiarity
from ser_hf.models.head import scale_logits
from ser_hf.models.neural import load_neural, save_neural
from ser_hf.utils.files import replacing_folder, write_json
from train.common import require

FOLD = "fold.json"


@dataclass(frozen=True)
class Calibration:
    """Temperature scaling and the threshold of a confident prediction.

    Attributes:
        temperature: divides the logits.
        threshold: see `ser_hf.evaluation.metrics.confidence_threshold`; None if not known.
    """

    temperature: float = 1.0
    threshold: float | None = None


def fitted_calibration(frames: Sequence[pd.DataFrame]) -> Calibration:
    """Temperature and threshold that fit predictions on clips that the models were not trained on.

    Args:
        frames: uncalibrated predictions; each frame (a left-out fold) has the same weight.
    """
    rows = [probability_matrix(frame)[0] for frame in frames]
    labels = np.concatenate([label_indices(frame) for frame in frames])
    weights = np.concatenate([np.full(len(frame), 1 / len(frame)) for frame in frames])
    # Log-probabilities are logits up to a constant that the softmax takes out.
    logits = np.log(np.clip(np.concatenate(rows), 1e-12, None))
    temperature = fit_temperature(logits, labels, weights)
    return Calibration(temperature, confidence_threshold(softmax(logits / temperature), labels, weights))


def calibrated(frame: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """A table of predictions with its logits divided by a temperature, and whether each is confident."""
    rows, names = probability_matrix(frame)
    scaled = softmax(np.log(np.clip(rows, 1e-12, None)) / calibration.temperature).astype(np.float32)
    columns: dict[str, Any] = {f"p_{name}": scaled[:, index] for index, name in enumerate(names)}
    if calibration.threshold is not None:
        columns["confident"] = scaled.max(axis=1) >= calibration.threshold
    return frame.assign(**columns)


def apply_calibration(folder: Path, calibration: Calibration) -> dict[str, Any]:
    """Give the model of a fold a calibration, in place of the one that it has; returns the entries of ``fold.json``."""
    loaded = load_neural(folder / "model")
    model = loaded.model
    scale_logits(model, calibration.temperature / getattr(model.config, "calibration_temperature", 1.0))
    model.config.calibration_temperature = calibration.temperature
    if calibration.threshold is not None:
        model.config.answer_threshold = calibration.threshold
    with replacing_folder(folder / "model") as part:
        save_neural(model, loaded.feature_extractor, part)
        if loaded.familiarity is not None:
            save_familiarity(loaded.familiarity, part)
    return {"temperature": calibration.temperature, "answer_threshold": calibration.threshold}


def cross_fit(folders: Sequence[Path], usable: Sequence[bool]) -> None:
    """Calibrate the model of each fold on the test predictions of all other folds.

    Args:
        folders: of the folds, at least two.
        usable: whether the predictions of a fold may serve; False for a corpus that is for tests alone.
    """
    frames = {folder: read_predictions(folder) for folder in folders}
    for folder in folders:
        others = [frames[other] for other, may in zip(folders, usable, strict=True) if other != folder and may]
        record = json.loads((folder / FOLD).read_text(encoding="utf-8"))
        (folder / FOLD).unlink()  # a kill while the model is replaced must not leave a fold that counts as finished
        record |= apply_calibration(folder, fitted_calibration(others) if others else Calibration())
        write_json(folder / FOLD, record)


def earlier_calibration(reference_run: str, protocol: str, fold: int) -> Calibration:
    """The calibration that an earlier run found on clips that it held out of training.

    That of the same fold, if the protocol is the same: other folds held out speakers that this one tests. Else the
    geometric mean of the temperatures of all folds, and the mean of their thresholds.
    """
    facts = read_run_json(reference_run)
    records = facts.get("folds", [])
    if facts.get("protocol") == protocol:
        records = [record for record in records if record["index"] == fold]
    require(records, f"--reference_run {reference_run} is no finished run of train.finetune that has fold {fold}")
    temperature = float(np.exp(np.mean(np.log([record["temperature"] for record in records]))))
    thresholds = [record.get("answer_threshold") for record in records]
    return Calibration(temperature, None if None in thresholds else round(float(np.mean(thresholds)), 4))
