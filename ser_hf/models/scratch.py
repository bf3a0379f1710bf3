"""Models that start from random weights: LSTM on MFCC; CNN, CNN-LSTM and vision transformer on log-mel spectrograms.

Importing this module makes ``transformers`` know the custom ones, so that ``pipeline("audio-classification")`` loads
their folders without ``trust_remote_code``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedModel,
)
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.cnn import CnnConfig, CnnForAudioClassification, CnnLstmConfig, CnnLstmForAudioClassification
from ser_hf.models.log_mel import LogMelExtractor, MfccExtractor
from ser_hf.models.lstm import LstmConfig, LstmForAudioClassification
from ser_hf.names import unknown_name

CUSTOM: dict[str, tuple[Any, Any, Any]] = {  # configuration, network, extractor
    "lstm": (LstmConfig, LstmForAudioClassification, MfccExtractor),
    "cnn": (CnnConfig, CnnForAudioClassification, LogMelExtractor),
    "cnn-lstm": (CnnLstmConfig, CnnLstmForAudioClassification, LogMelExtractor),
}
ARCHITECTURES = (*CUSTOM, "vit")

for _config, _model, _extractor in CUSTOM.values():
    AutoConfig.register(_config.model_type, _config)
    AutoModelForAudioClassification.register(_config, _model)
    AutoFeatureExtractor.register(_config, _extractor)


def create_from_scratch(
    architecture: str,
    labels: Sequence[str] = LABELS,
    window: float | None = None,
    hidden_size: int | None = None,
    num_layers: int | None = None,
    dropout: float | None = None,
) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """Make a classifier with random weights, of torch's generator, and its feature extractor.

    Args:
        architecture: one of `ARCHITECTURES`.
        labels: the names of the outputs.
        window: seconds that it is trained on at once (default: 5).
        hidden_size: units of a layer, or channels of the top one (default: the architecture's own).
        num_layers: layers or stages (default: the architecture's own).
        dropout: share of values that are dropped in training (default: the architecture's own).

    Raises:
        ModelError: there is no such architecture, or it cannot have these sizes.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(unknown_name("architecture", architecture, ARCHITECTURES))
    if window is not None and window <= 0:
        raise ModelError(f"the window must be longer than 0 seconds, not {window}")
    if num_layers is not None and num_layers < 1:
        raise ModelError(f"a model has 1 layer at least, not --num_layers {num_layers}")
    names: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    sizes = {"hidden_size": hidden_size, "num_hidden_layers": num_layers}
    given = names | {name: size for name, size in sizes.items() if size is not None}
    window = 5.0 if window is None else window
    if architecture == "vit":
        return _vision_transformer(given, window, dropout)
    config_class, model_class, extractor_class = CUSTOM[architecture]
    stages = given.get("num_hidden_layers", config_class.num_hidden_layers)
    multiple = 1 if architecture == "lstm" else 4 * 2 ** (stages - 1)  # for whole channels in every stage
    width = given.get("hidden_size", config_class.hidden_size)
    if width < 1 or width % multiple:
        raise ModelError(
            f"--hidden_size of {architecture} with {stages} layers must be a multiple of {multiple}, not {width}"
        )
    if dropout is not None:
        given["dropout"] = dropout
    extractor = extractor_class()
    config = config_class(num_features=extractor.feature_size, window_seconds=window, **given)
    return model_class(config), extractor


def _vision_transformer(
    given: dict, window: float, dropout: float | None
) -> tuple[ASTForAudioClassification, ASTFeatureExtractor]:
    """An Audio Spectrogram Transformer (Gong et al. 2021), a fiftieth as large as the published ones."""
    num_bands, patch = 64, 16
    max_length = round(window * 100)  # frames of 10 ms
    if max_length < patch:
        raise ModelError(f"the window of a vision transformer must be {patch / 100} seconds at least, not {window}")
    given = {"hidden_size": 192, "num_hidden_layers": 6} | given
    if given["hidden_size"] % 64:
        raise ModelError(f"--hidden_size of a vision transformer must be a multiple of 64, not {given['hidden_size']}")
    dropout = 0.1 if dropout is None else dropout
    config = ASTConfig(
        num_attention_heads=given["hidden_size"] // 64,
        intermediate_size=2 * given["hidden_size"],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        patch_size=patch,
        frequency_stride=patch,
        time_stride=patch,
        num_mel_bins=num_bands,
        max_length=max_length,
        attn_implementation="eager",
        **given,
    )
    return ASTForAudioClassification(config), ASTFeatureExtractor(num_mel_bins=num_bands, max_length=max_length)
