"""Models: classical scikit-learn pipelines, and neural checkpoints of the stock ``transformers`` architectures."""

from __future__ import annotations

from typing import Any

from ser_hf.errors import SerHfError

DEFAULT_WINDOW_SECONDS = 5.0


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


def has_fixed_length(feature_extractor: Any) -> bool:
    """Whether the extractor pads or cuts each clip to one length (Whisper, AST) or keeps its own (wav2vec2)."""
    return hasattr(feature_extractor, "chunk_length") or hasattr(feature_extractor, "max_length")


def window_seconds(model: Any, feature_extractor: Any) -> float:
    """The longest window, in seconds, that a model takes: its extractor's, else that of ``model.config``."""
    if hasattr(feature_extractor, "chunk_length"):
        return float(feature_extractor.chunk_length)
    if hasattr(feature_extractor, "max_length"):  # AST: frames of 10 ms
        return feature_extractor.max_length / 100
    return float(getattr(model.config, "window_seconds", DEFAULT_WINDOW_SECONDS))
