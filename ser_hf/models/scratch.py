"""Models with random weights: LSTM on MFCCs; CNN, CNN-LSTM and vision transformer on log-mel spectrograms.

Importing this module registers the custom ones, so that ``pipeline("audio-classification")`` loads their folders
without ``trust_remote_code``.
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
from ser_hf.models import ModelError, networks
from ser_hf.models.log_mel import LogMelExtractor, MfccExtractor
from ser_hf.utils.names import unknown_name

CUSTOM: dict[str, tuple[Any, Any, Any]] = {  # configuration, network, extractor
    "lstm": (networks.LstmConfig, networks.LstmForAudioClassification, MfccExtractor),
    "cnn": (networks.CnnConfig, networks.CnnForAudioClassification, LogMelExtractor),
    "cnn-lstm": (networks.CnnLstmConfig, networks.CnnLstmForAudioClassification, LogMelExtractor),
}
ARCHITECTURES = (*CUSTOM, "vit")
SIZES = {name: (config.hidden_size, config.num_hidden_layers) for name, (config, _, _) in CUSTOM.items()}
SIZES["vit"] = (192, 6)
PATCH, BANDS = 16, 64  # of the vision transformer

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
        window: seconds of a training example (default: 5).
        hidden_size: units of a layer, or channels of the top one (default: the architecture's own).
        num_layers: layers or stages (default: the architecture's own).
        dropout: share of values that are dropped in training (default: the architecture's own).

    Raises:
        ModelError: there is no such architecture, or it cannot have these sizes.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(unknown_name("architecture", architecture, ARCHITECTURES))
    window = 5.0 if window is None else window
    shortest = PATCH / 100 if architecture == "vit" else 0.01  # frames of 10 ms
    if window < shortest:
        raise ModelError(f"the window of {architecture} must be {shortest} seconds at least, not {window}")
    width, layers = SIZES[architecture]
    width, layers = (width if hidden_size is None else hidden_size), (layers if num_layers is None else num_layers)
    if layers < 1:
        raise ModelError(f"a model has 1 layer at least, not --num_layers {layers}")
    # For whole attention heads, or whole channels in every stage.
    multiple = {"vit": 64, "lstm": 1}.get(architecture, 4 * 2 ** (layers - 1))
    if width < 1 or width % multiple:
        raise ModelError(
            f"--hidden_size of {architecture} with {layers} layers must be a multiple of {multiple}, not {width}"
        )
    given: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "hidden_size": width,
        "num_hidden_layers": layers,
    }
    if architecture == "vit":
        return _vision_transformer(given, round(window * 100), 0.1 if dropout is None else dropout)
    config_class, model_class, extractor_class = CUSTOM[architecture]
    extractor = extractor_class()
    config = config_class(num_features=extractor.feature_size, window_seconds=window, **given)
    if dropout is not None:
        config.dropout = dropout
    return model_class(config), extractor


def _vision_transformer(
    given: dict[str, Any], max_length: int, dropout: float
) -> tuple[ASTForAudioClassification, ASTFeatureExtractor]:
    """An Audio Spectrogram Transformer (Gong et al. 2021), a fiftieth as large as the published ones."""
    config = ASTConfig(
        num_attention_heads=given["hidden_size"] // 64,
        intermediate_size=2 * given["hidden_size"],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        patch_size=PATCH,
        frequency_stride=PATCH,
        time_stride=PATCH,
        num_mel_bins=BANDS,
        max_length=max_length,
        attn_implementation="eager",
        **given,
    )
    return ASTForAudioClassification(config), ASTFeatureExtractor(num_mel_bins=BANDS, max_length=max_length)
