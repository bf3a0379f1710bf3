"""Properties of a feature extractor; needs no torch."""

from __future__ import annotations

from typing import Any

from transformers import WhisperFeatureExtractor
from transformers.feature_extraction_utils import FeatureExtractionMixin

DEFAULT_WINDOW_SECONDS = 5.0


def has_fixed_length(feature_extractor: FeatureExtractionMixin) -> bool:
    """Whether the extractor pads or cuts each clip to one length (Whisper, AST) or keeps its own (wav2vec2)."""
    return hasattr(feature_extractor, "chunk_length") or hasattr(feature_extractor, "max_length")


def frequency_first(feature_extractor: FeatureExtractionMixin) -> bool:
    """Whether the extractor's spectrograms are (frequency, time), as Whisper's are, and not (time, frequency)."""
    return isinstance(feature_extractor, WhisperFeatureExtractor)


def window_seconds(model: Any, feature_extractor: FeatureExtractionMixin) -> float:
    """The longest window, in seconds, that a model takes: its extractor's, else that of ``model.config``."""
    if hasattr(feature_extractor, "chunk_length"):
        return float(feature_extractor.chunk_length)
    if hasattr(feature_extractor, "max_length"):  # AST: frames of 10 ms
        return feature_extractor.max_length / 100
    return float(getattr(model.config, "window_seconds", DEFAULT_WINDOW_SECONDS))
