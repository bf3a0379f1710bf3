"""Pretrained-like checkpoints of every kind of encoder that ``--base_model`` takes, a few kilobytes each."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

WAVEFORM = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (20, 16),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 12,
    "vocab_size": 32,
}


def tiny_whisper_config(**changes: object) -> WhisperConfig:
    """A Whisper of 16 dimensions and one layer, but for ``changes``."""
    sizes = {"d_model": 16, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 32}
    return WhisperConfig(**{**sizes, "decoder_start_token_id": 1, **changes})


def save_tiny_base(kind: str, folder: Path, num_layers: int = 3) -> Path:
    """Save a random encoder without any classification head: whisper, of so many layers, or of three wav2vec2, hubert,
    wavlm or ast.
    """
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "whisper":
        config = tiny_whisper_config(encoder_layers=num_layers, classifier_proj_size=12)
        model, extractor = WhisperModel(config), WhisperFeatureExtractor()
    elif kind == "ast":
        config = ASTConfig(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_length=128,
            num_mel_bins=32,
        )
        model, extractor = ASTModel(config), ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    else:
        classes = {"wav2vec2": (Wav2Vec2Config, Wav2Vec2Model), "hubert": (HubertConfig, HubertModel)}
        classes["wavlm"] = (WavLMConfig, WavLMModel)
        config_class, model_class = classes[kind]
        model, extractor = model_class(config_class(**WAVEFORM)), Wav2Vec2FeatureExtractor()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder
