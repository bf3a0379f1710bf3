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
from ser_hf.models import ModelError
from ser_hf.models.networks import (
    CnnConfig,
    CnnForAudioClassification,
    LstmConfig,
    LstmForAudioClassification,
    SpectrumExtractor,
)
from ser_hf.utils.names import unknown_name

# Their default hidden size, number of layers and dropout.
ARCHITECTURES = {"lstm": (128, 2, 0.3), "cnn": (192, 3, 0.3), "cnn-lstm": (192, 3, 0.3), "vit": (192, 6, 0.1)}
LSTM_SIZE = 96  # of the CNN-LSTM
PATCH, BANDS = 16, 64  # of the vision transformer

for _config, _model in ((LstmConfig, LstmForAudioClassification), (CnnConfig, CnnForAudioClassification)):
    AutoConfig.register(_config.model_type, _config)
    AutoModelForAudioClassification.register(_config, _model)
    AutoFeatureExtractor.register(_config, SpectrumExtractor)


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
    given = zip((hidden_size, num_layers, dropout), ARCHITECTURES[architecture], strict=True)
    width, layers, dropped = (default if value is None else value for value, default in given)
    if layers < 1:
        raise ModelError(f"a model has 1 layer at least, not --num_layers {layers}")
    # For whole attention heads, or whole channels in every stage.
    multiple = {"vit": 64, "lstm": 1}.get(architecture, 4 * 2 ** (layers - 1))
    if width < 1 or width % multiple:
        raise ModelError(
            f"--hidden_size of {architecture} with {layers} layers must be a multiple of {multiple}, not {width}"
        )
    options: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "hidden_size": width,
        "num_hidden_layers": layers,
    }
    if architecture == "vit":  # an Audio Spectrogram Transformer (Gong et al. 2021), 1/50 of the published ones' size
        max_length = round(window * 100)
        config = ASTConfig(
            num_attention_heads=width // 64,
            intermediate_size=2 * width,
            hidden_dropout_prob=dropped,
            attention_probs_dropout_prob=dropped,
            patch_size=PATCH,
            frequency_stride=PATCH,
            time_stride=PATCH,
            num_mel_bins=BANDS,
            max_length=max_length,
            attn_implementation="eager",
            **options,
        )
        return ASTForAudioClassification(config), ASTFeatureExtractor(num_mel_bins=BANDS, max_length=max_length)
    options |= {"dropout": dropped, "window_seconds": window}
    if architecture == "lstm":
        return LstmForAudioClassification(LstmConfig(**options)), SpectrumExtractor(feature_size=40, num_bands=64)
    options |= {"lstm_size": LSTM_SIZE} if architecture == "cnn-lstm" else {}
    return CnnForAudioClassification(CnnConfig(**options)), SpectrumExtractor()
