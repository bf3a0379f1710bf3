"""Embeddings of a network as features, and a classifier of them as the head of that network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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


def embedding_table(network: EmotionClassifier, audio: Sequence[Any]) -> pd.DataFrame:
    """One float32 row per clip: what the head of the network sees."""
    rows = tqdm(network.embed_many(audio), total=len(audio), desc="Encoding clips", unit="clip", leave=False)
    table = np.stack(list(rows))
    return pd.DataFrame(table, columns=[f"e{index}" for index in range(table.shape[1])])


def save_with_head(model: ClassicalModel, network: EmotionClassifier, folder: str | Path) -> Path:
    """Save a network whose head is a fitted logistic regression of its embeddings, calibrated; returns the folder.

    Args:
        model: of family "logistic", fitted on `embedding_table`.
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
    kept = {key: model.config[key] for key in ("answer_threshold", "trained_on") if key in model.config}
    learned = list(dict.fromkeys([*network.trained_on, *kept.get("trained_on", [])]))
    write_json(folder / "config.json", read_json(folder / "config.json") | kept | {"trained_on": learned})
    return folder
