"""Models: classical scikit-learn pipelines, and neural checkpoints of the stock ``transformers`` architectures."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ser_hf.audio import SAMPLE_RATE
from ser_hf.errors import SerHfError
from ser_hf.utils.threads import survive_forks

DEFAULT_WINDOW_SECONDS = 5.0

survive_forks()


class ModelError(SerHfError):
    """A model folder or Hub id that cannot be used; the message says why and what to do."""


def output_labels(id2label: dict[int, str], label2id: dict[str, int], source: object) -> list[str]:
    """The label of each output of a neural model, as its ``config.json`` numbers them.

    Raises:
        ModelError: a label is not a word, occurs twice, or has two numbers.
    """
    labels = [id2label.get(index, "") for index in range(len(id2label))]
    words = {label for label in labels if isinstance(label, str) and label.strip() and not label.startswith("LABEL_")}
    if len(words) < len(labels) or any(str(label2id.get(label, i)) != str(i) for i, label in enumerate(labels)):
        raise ModelError(
            f"{source} does not say what its outputs mean: 'id2label' in config.json must number labels from 0, each a "
            "word of its own, and 'label2id' agree with it"
        )
    return labels


def check_network(network: Any, config: Any, source: object) -> None:
    """Try a network on a second of noise.

    Args:
        network: `NeuralModel` or `OnnxModel`.
        config: of the network, as transformers reads it.
        source: its folder, for the message.

    Raises:
        ModelError: its outputs are no probabilities of one label each, or do not fit its labels, its extractor takes
            another sampling rate, or its weights do not fit its extractor.
    """
    labels = output_labels(config.id2label, config.label2id or {}, source)
    check_sampling_rate(network.feature_extractor, source)
    if config.problem_type not in (None, "single_label_classification"):
        raise ModelError(
            f"{source}: its config.json has the problem_type {config.problem_type!r}; only models that predict one "
            "label of several (single_label_classification) can be used"
        )
    noise = np.random.default_rng(0).normal(scale=0.1, size=SAMPLE_RATE).astype(np.float32)
    try:
        rows, seconds = network.predict_proba([noise]), network.window_seconds
    except Exception as error:  # of torch, onnxruntime, transformers or their extractors
        raise ModelError(f"{source}: its weights do not fit its config.json and extractor: {error}") from error
    if rows.shape != (1, len(labels)) or not np.isfinite(rows).all():
        raise ModelError(f"{source} does not predict a probability for each of its {len(labels)} labels")
    if not 0 < seconds < float("inf"):
        raise ModelError(f"{source}: its window is {seconds} seconds; set a length above 0")


def check_sampling_rate(feature_extractor: Any, source: object) -> None:
    """Raises `ModelError` unless an extractor takes waveforms at 16 kHz."""
    rate = getattr(feature_extractor, "sampling_rate", None)
    if rate != SAMPLE_RATE:
        raise ModelError(
            f"{source} takes audio at {rate} Hz, by its preprocessor_config.json; only models for {SAMPLE_RATE} Hz can "
            "be used"
        )


def has_fixed_length(feature_extractor: Any) -> bool:
    """Whether the extractor pads or cuts each clip to one length (Whisper, AST) or keeps its own (wav2vec2)."""
    return _takes(feature_extractor, "chunk_length") or _takes(feature_extractor, "max_length")


def window_seconds(model: Any, feature_extractor: Any) -> float:
    """The longest window, in seconds, that a model takes: its extractor's, else that of ``model.config``."""
    if _takes(feature_extractor, "chunk_length"):
        return float(feature_extractor.chunk_length)
    if _takes(feature_extractor, "max_length"):  # AST: frames of 10 ms
        return feature_extractor.max_length / 100
    return float(getattr(model.config, "window_seconds", DEFAULT_WINDOW_SECONDS))


def _takes(feature_extractor: Any, name: str) -> bool:
    """Whether a setting is one of the extractor's class: from a preprocessor_config.json, an object gets any others."""
    return name in inspect.signature(type(feature_extractor)).parameters
