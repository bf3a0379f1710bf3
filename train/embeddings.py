"""Embeddings of a network as features, and a classifier of them as the head of that network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from ser_hf.classifier import EmotionClassifier
from ser_hf.hub.evidence import read_json
from ser_hf.models.building import forget_training
from ser_hf.models.classical import ClassicalModel
from ser_hf.models.familiarity import FARTHEST_SHARE, save_familiarity
from ser_hf.models.head import set_head
from ser_hf.models.neural import NeuralModel, output_layer, save_neural
from ser_hf.utils.files import write_json
from train.common import require

EMBEDDINGS = "embeddings"
FAMILY = "logistic"


def load_network(base_model: str) -> EmotionClassifier:
    """The network whose embeddings are the features.

    Raises:
        UsageError: it is no network.
        ModelError: see `EmotionClassifier.from_pretrained`.
    """
    network = EmotionClassifier.from_pretrained(base_model, runtime="torch")
    require(isinstance(network.model, NeuralModel), f"--base_model {base_model} is no network, and has no embeddings")
    return network


def embedding_table(network: EmotionClassifier, audio: Sequence[Any]) -> tuple[pd.DataFrame, np.ndarray]:
    """One float32 row per clip, what the head of the network sees; and its out-of-domain scores, none without one."""
    base: Any = network.model
    known = base.familiarity

    def encode(clips: list[np.ndarray]) -> np.ndarray:
        if known is None:
            return base.embeddings(clips)
        rows, states = base.embeddings_and_states(clips, known.layer)
        return np.column_stack([rows, known.distances(states)])

    found = network.mean_over_windows(audio, encode)
    table = np.stack(list(tqdm(found, total=len(audio), desc="Encoding clips", unit="clip", leave=False)))
    rows, distances = (table, table[:0, 0]) if known is None else (table[:, :-1], table[:, -1])
    return pd.DataFrame(rows.astype(np.float32), columns=[f"e{index}" for index in range(rows.shape[1])]), distances


def save_with_head(
    model: ClassicalModel, network: EmotionClassifier, folder: str | Path, distances: np.ndarray
) -> Path:
    """Save a network whose head is a fitted logistic regression of its embeddings, calibrated; returns the folder.

    Args:
        model: of family "logistic", fitted on `embedding_table`.
        distances: the out-of-domain scores of its clips. They are in domain: where one in a hundred is farther than 1,
            all scores become smaller.
    """
    folder, base = Path(folder), network.model
    assert isinstance(base, NeuralModel), "load_network has refused anything else"
    scaler, regression = model.pipeline["scale"], model.pipeline["model"]
    rows, intercepts = regression.coef_, regression.intercept_
    if len(model.labels) == 2:  # one row stands for both
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    weight = rows / scaler.scale_
    bias = intercepts - weight @ scaler.mean_
    stored = copy.deepcopy(base.model)
    old = output_layer(stored)
    (name,) = (name for name, module in stored.named_modules() if module is old)
    stored.set_submodule(name, nn.Linear(old.in_features, len(model.labels)))
    forget_training(stored.config)
    stored.config.id2label = dict(enumerate(model.labels))
    stored.config.label2id = {label: index for index, label in enumerate(model.labels)}
    set_head(stored, weight / model.config["temperature"], bias / model.config["temperature"])
    save_neural(stored, base.feature_extractor, folder)
    if (known := base.familiarity) is not None:
        farthest = max(1, float(np.quantile(distances, 1 - FARTHEST_SHARE)))
        save_familiarity(replace(known, whitening=known.whitening / np.float32(farthest)), folder)
    kept = {key: model.config[key] for key in ("answer_threshold", "trained_on") if key in model.config}
    learned = list(dict.fromkeys([*network.trained_on, *kept.get("trained_on", [])]))
    write_json(folder / "config.json", read_json(folder / "config.json") | kept | {"trained_on": learned})
    return folder
