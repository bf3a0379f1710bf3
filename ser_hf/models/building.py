"""Making a trainable classifier of a pretrained encoder: number of layers, window, freezing and learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.hub import OLD_WEIGHTS, HubError, commit_of, model_folder, snapshot
from ser_hf.labels import LABELS
from ser_hf.models import ModelError, check_sampling_rate, has_fixed_length
from ser_hf.models.neural import encoder_layers

# Where the stock audio-classification models keep what is not the pretrained encoder.
HEAD_MODULES = ("projector", "classifier")
# What a configuration says of one trained model, and not of another that starts from it.
OF_ONE_MODEL = ("calibration_temperature", "answer_threshold", "trained_on", "speaker_reference")


def create_model(
    base_model: str | Path,
    labels: Sequence[str] = LABELS,
    num_layers: int | None = None,
    window: float | None = None,
    spec_augment: float = 0.0,
) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """Make a trainable classifier of a pretrained encoder; its head is new and must be fitted (``fit_head``).

    Args:
        base_model: folder or Hub id (``user/name[@revision]``) of any checkpoint with an audio-classification class
            (Whisper, wav2vec2, AST...).
        labels: the names of the outputs.
        num_layers: keep only this many encoder layers, from the bottom (default: all).
        window: seconds of the model's window (default: the checkpoint's own, 5 s where it has none).
        spec_augment: share of time frames and of frequency bins that SpecAugment masks in training (Park et al. 2019),
            where the model does it itself (`masks_itself`).

    Raises:
        ModelError: the checkpoint is not there, takes another sampling rate than 16 kHz, has no such layers, or lacks
            weights below its head.
    """
    changes = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": None,  # one label of several
        "use_weighted_layer_sum": False,
        "apply_spec_augment": spec_augment > 0,
        "mask_time_prob": spec_augment,
        "mask_feature_prob": spec_augment,
    }
    try:
        folder = pretrained_folder(base_model)
        config = AutoConfig.from_pretrained(folder, **changes)  # those that a configuration has not are left out
        extractor = AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"the base model {base_model} cannot be read: {error}") from error
    check_sampling_rate(extractor, base_model)
    forget_training(config)
    n_layers = config.num_hidden_layers
    if num_layers is not None:
        if not 1 <= num_layers <= n_layers:
            raise ModelError(f"{base_model} has {n_layers} layers, so --num_layers {num_layers} is out of range")
        config.num_hidden_layers = num_layers  # Whisper's configuration takes it as its encoder_layers
    if hasattr(config, "apply_spec_augment") and not hasattr(config, "mask_feature_min_masks"):
        config.mask_feature_min_masks = 0  # WavLM's code needs an option that its configuration lacks
    try:
        model, info = AutoModelForAudioClassification.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            # Over at most some hundred positions, plain attention trains a third faster on a CPU than the fused one.
            attn_implementation="eager",
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"the base model {base_model} cannot be loaded: {error}") from error
    new = [*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]
    random = [name for name in new if not name.startswith(HEAD_MODULES) and "masked_spec_embed" not in name]
    if random:
        raise ModelError(
            f"{base_model} lacks weights below the head ({', '.join(sorted(random)[:4])}): wrong checkpoint"
        )
    if hasattr(config, "apply_spec_augment") and not masks_itself(model):  # the config must not claim it
        model.config.apply_spec_augment = False
    if window is not None:
        extractor = _set_window(model, extractor, window)
    return model, extractor


def forget_training(config: PreTrainedConfig) -> None:
    """Delete what a configuration says of the training of its model."""
    for name in OF_ONE_MODEL:
        if hasattr(config, name):
            delattr(config, name)


def masks_itself(model: PreTrainedModel) -> bool:
    """Whether a model masks parts of its input in training by itself, as wav2vec2 and its like do when configured to.

    Whisper's config has the same options, but only its speech recogniser uses them, not its audio classifier.
    """
    return any(name.endswith("masked_spec_embed") for name, _ in model.named_parameters())


def pretrained_folder(base_model: str | Path) -> Path:
    """The folder of a pretrained checkpoint, downloaded if it is a Hub id; raises `ModelError` where that fails."""
    try:
        folder = model_folder(base_model)
        # Many old checkpoints have no safetensors on the Hub.
        is_old = commit_of(folder) and not any(folder.glob("*.safetensors"))
        return snapshot(str(base_model), OLD_WEIGHTS) if is_old else folder
    except HubError as error:
        raise ModelError(str(error)) from error


def _set_window(model: PreTrainedModel, extractor: FeatureExtractionMixin, window: float) -> FeatureExtractionMixin:
    """Shorten the window; the positional table is cut to the same length."""
    if not has_fixed_length(extractor):
        model.config.window_seconds = window
        return extractor
    if not hasattr(extractor, "chunk_length"):
        raise ModelError(f"the window of models of type {model.config.model_type!r} cannot be changed")
    if window != int(window) or not 1 <= window <= extractor.chunk_length:
        raise ModelError(f"the window must be whole seconds from 1 to {extractor.chunk_length}, not {window}")
    extractor = type(extractor).from_dict(extractor.to_dict() | {"chunk_length": int(window)})
    # Two frames of 10 ms make one position: the second convolution of Whisper's encoder has stride 2.
    positions = extractor.nb_max_frames // 2
    table = model.encoder.embed_positions.weight.data[:positions].clone()
    model.encoder.embed_positions = nn.Embedding(*table.shape, _weight=table)
    model.encoder.embed_positions.requires_grad_(False)
    model.encoder.max_source_positions = model.config.max_source_positions = positions
    return extractor


def freeze_lower(model: PreTrainedModel, num_frozen: int) -> None:
    """Keep the front end and the lowest ``num_frozen`` layers as they were pretrained; 0 freezes nothing."""
    if num_frozen == 0:
        return
    layers = encoder_layers(model)
    if num_frozen > len(layers):
        raise ModelError(f"the model has {len(layers)} layers, so {num_frozen} cannot be frozen")
    in_stack = {id(parameter) for parameter in layers.parameters()}
    for name, parameter in model.named_parameters():
        if not name.startswith(HEAD_MODULES) and id(parameter) not in in_stack and not _in_top_norm(name):
            parameter.requires_grad_(False)
    for layer in layers[:num_frozen]:
        layer.requires_grad_(False)


def _in_top_norm(parameter_name: str) -> bool:
    """Whether a parameter belongs to the final norm, which is trained with the top layer (Whisper, AST)."""
    return parameter_name.rpartition(".")[0].endswith(("encoder.layer_norm", "spectrogram_transformer.layernorm"))


def parameter_groups(
    model: PreTrainedModel, learning_rate: float, layer_decay: float, head_factor: float, weight_decay: float
) -> list[dict]:
    """Optimiser groups: rates fall by ``layer_decay`` per layer downward, the head's is ``head_factor`` times the rate.

    Biases and norms have no weight decay. Frozen parameters are left out.
    """
    # Where every layer has one rate it does not matter which layers there are.
    layers = [] if layer_decay == 1.0 else encoder_layers(model)
    depth = {id(p): index for index, layer in enumerate(layers) for p in layer.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(HEAD_MODULES):
            rate = learning_rate * head_factor
        elif id(parameter) in depth:
            rate = learning_rate * layer_decay ** (len(layers) - 1 - depth[id(parameter)])
        elif _in_top_norm(name):
            rate = learning_rate
        else:
            rate = learning_rate * layer_decay ** len(layers)
        groups.setdefault((rate, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]
