"""Making a trainable classifier of a pretrained encoder: shortening, freezing, head fitting, rates and temperature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.hub import OLD_WEIGHTS, HubError, commit_of, model_folder, snapshot
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.extractors import has_fixed_length
from ser_hf.models.neural import output_layer
from ser_hf.models.precision import encoder_layers

# Where the stock audio-classification models keep what is not the pretrained encoder.
LEFT_OUT = -30.0  # a layer's weight before the softmax, in whose sum it then counts for nothing
FEW = float(np.log(0.1))  # the same, of a layer that counts about a tenth of one whose weight is still as it began
HEAD_MODULES = ("projector", "classifier", "layer_weights")
ABSENT_LOGIT = -10.0  # of a label that no training clip has


def create_model(
    base_model: str | Path,
    labels: Sequence[str] = LABELS,
    num_layers: int | None = None,
    window: float | None = None,
    weighted_layer_sum: bool = False,
    spec_augment: float = 0.0,
) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """Make a trainable classifier of a pretrained encoder; its head is new and must be fitted (``fit_head``).

    Args:
        base_model: folder or Hub id (``user/name[@revision]``) of any checkpoint with an audio-classification class
            (Whisper, wav2vec2, AST...).
        labels: the names of the outputs.
        num_layers: keep only this many encoder layers, from the bottom (default: all).
        window: seconds that the model sees at once (default: what the checkpoint has, 5 s where it has no bound).
        weighted_layer_sum: classify a learned mean of all layers instead of the last one.
        spec_augment: share of time frames and of frequency bins that SpecAugment masks in training (Park et al. 2019),
            where the model does it itself (`masks_itself`).

    Raises:
        ModelError: the checkpoint is not there, has no such layers, or lacks weights below its head.
    """
    try:
        folder = pretrained_folder(base_model)
        config = AutoConfig.from_pretrained(folder)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"the base model {base_model} cannot be read: {error}") from error
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if num_layers is not None:
        if not 1 <= num_layers <= config.num_hidden_layers:
            raise ModelError(f"{base_model} has {config.num_hidden_layers} layers, so --num_layers {num_layers} is out")
        config.num_hidden_layers = num_layers
        if hasattr(config, "encoder_layers"):
            config.encoder_layers = num_layers
    if hasattr(config, "use_weighted_layer_sum"):
        config.use_weighted_layer_sum = weighted_layer_sum
    elif weighted_layer_sum:
        raise ModelError(f"models of type {config.model_type!r} have no weighted layer sum")
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = spec_augment > 0
        config.mask_time_prob = config.mask_feature_prob = spec_augment
        if not hasattr(config, "mask_feature_min_masks"):  # WavLM's code asks for it, and its config forgot it
            config.mask_feature_min_masks = 0
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
    new = [
        name if isinstance(name, str) else name[0] for key in ("missing_keys", "mismatched_keys") for name in info[key]
    ]
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


def masks_itself(model: PreTrainedModel) -> bool:
    """Whether a model hides parts of its input in training by itself, as wav2vec2 and its like do when told to.

    Whisper's config can say so too, but only its speech recogniser heeds it, not its audio classifier.
    """
    return any(name.endswith("masked_spec_embed") for name, _ in model.named_parameters())


def pretrained_folder(base_model: str | Path) -> Path:
    """The folder of a pretrained checkpoint, fetched where it is a Hub id.

    Raises:
        ModelError: there is none, or it cannot be fetched.
    """
    try:
        folder = model_folder(base_model)
        # Many old checkpoints have no safetensors on the Hub.
        if commit_of(folder) and not any(folder.glob("*.safetensors")):
            folder = snapshot(str(base_model), OLD_WEIGHTS)
    except HubError as error:
        raise ModelError(str(error)) from error
    return folder


def _set_window(model: PreTrainedModel, extractor: FeatureExtractionMixin, window: float) -> FeatureExtractionMixin:
    """Shorten what the model sees at once; the positional table is cut to the same length."""
    if not has_fixed_length(extractor):
        model.config.window_seconds = window
        return extractor
    if not hasattr(extractor, "chunk_length"):
        raise ModelError(f"the window of models of type {model.config.model_type!r} cannot be changed")
    if window != int(window) or not 1 <= window <= extractor.chunk_length:
        raise ModelError(f"the window must be whole seconds from 1 to {extractor.chunk_length}, not {window}")
    derived = ("n_samples", "nb_max_frames", "feature_extractor_type", "processor_class")
    settings = {key: value for key, value in extractor.to_dict().items() if key not in derived}
    extractor = type(extractor)(**settings | {"chunk_length": int(window)})
    # Two frames of 10 ms make one position: the second convolution of Whisper's encoder has stride 2.
    positions = extractor.nb_max_frames // 2
    table = model.encoder.embed_positions.weight.data[:positions].clone()
    model.encoder.embed_positions = nn.Embedding(*table.shape, _weight=table)
    model.encoder.embed_positions.requires_grad_(False)
    model.encoder.max_source_positions = model.config.max_source_positions = positions
    return extractor


def freeze_lower(model: PreTrainedModel, num_frozen: int) -> None:
    """Keep the front end and the lowest ``num_frozen`` layers as they were pretrained; 0 freezes nothing.

    A weighted sum of layers then begins with the highest frozen one, and each layer above counts about a tenth of
    that: what they learn starts as a small correction of what the frozen ones say.
    """
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
    if getattr(model.config, "use_weighted_layer_sum", False):
        model.layer_weights.data[:num_frozen] = LEFT_OUT
        model.layer_weights.data[num_frozen + 1 :] = FEW


def _in_top_norm(parameter_name: str) -> bool:
    """Whether a parameter is of the norm behind the stack, which learns with the top layer (Whisper, AST)."""
    return parameter_name.rpartition(".")[0].endswith(("encoder.layer_norm", "spectrogram_transformer.layernorm"))


def parameter_groups(
    model: PreTrainedModel, learning_rate: float, layer_decay: float, head_factor: float, weight_decay: float
) -> list[dict]:
    """Optimiser groups whose rate falls by ``layer_decay`` a layer downward, with the head at ``head_factor`` times.

    Biases and norms are not decayed. Frozen parameters are left out.
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


@torch.inference_mode()
def pooled_features(
    model: PreTrainedModel, batches: Iterable[dict], bfloat16: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What the frozen model's output layer sees: the encoder's output, pooled over time by the model's own code.

    Returns:
        float32 (clips, hidden size) features and int (clips,) labels of the batches, in their order, without those
        clips in which nobody speaks (their label is the same for all).
    """
    model.eval()
    # With the linear layers taken out, the stock forward pass returns the pooled hidden states as its logits.
    output = output_layer(model)
    owner = next(module for module in model.modules() if any(child is output for child in module.children()))
    name = next(name for name, child in owner.named_children() if child is output)
    projector = getattr(model, "projector", None)
    setattr(owner, name, nn.Identity())
    if projector is not None:
        model.projector = nn.Identity()
    try:
        features, labels = [], []
        for batch in batches:
            batch = dict(batch)
            soft = batch.pop("labels")
            speech = (soft.amax(-1) > soft.amin(-1)).numpy()
            labels.append(soft.argmax(-1).numpy()[speech])
            inputs = {key: value.to(model.device) for key, value in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
                features.append(model(**inputs).logits.float().cpu().numpy()[speech])
    finally:
        setattr(owner, name, output)
        if projector is not None:
            model.projector = projector
    return np.concatenate(features), np.concatenate(labels)


@torch.no_grad()
def fit_head(
    model: PreTrainedModel,
    features: np.ndarray,
    labels: np.ndarray,
    regularisation: float = 10.0,
    balanced: bool = False,
) -> None:
    """Set the head to logistic regression on frozen pooled features, so that fine-tuning starts from a good answer.

    Args:
        model: changed in place.
        features: (clips, hidden size), from ``pooled_features``.
        labels: int (clips,); two labels at least. One that does not occur is never answered until it is learned.
        regularisation: scikit-learn's ``C`` on standardised features, times the number of clips.
        balanced: give each label the same weight, however many clips it has.
    """
    scaler = StandardScaler().fit(features)
    output = output_layer(model)
    present = np.unique(labels)
    if len(present) < 2:
        raise ModelError(f"the training clips hold {len(present)} of {output.out_features} labels; two are needed")
    class_weight = "balanced" if balanced else None
    regression = LogisticRegression(C=regularisation / len(features), max_iter=1000, class_weight=class_weight)
    regression.fit(scaler.transform(features), labels)
    rows, intercepts = regression.coef_, regression.intercept_
    if len(present) == 2:  # one row stands for both
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((output.out_features, features.shape[1]))
    bias = np.full(output.out_features, ABSENT_LOGIT)
    weight[present] = rows / scaler.scale_
    bias[present] = intercepts - weight[present] @ scaler.mean_
    projector = getattr(model, "projector", None)
    if projector is not None:
        # The product of the two linear layers is the regression: its singular vectors fill the first rows of the
        # projector; the other rows keep their random start and count for nothing until they have learned.
        left, singular, right = np.linalg.svd(weight, full_matrices=False)
        rank, root = len(singular), np.sqrt(singular)
        projector.weight[:rank] = torch.as_tensor(root[:, None] * right, dtype=torch.float32)
        projector.bias.zero_()
        output.weight.zero_()
        output.weight[:, :rank] = torch.as_tensor(left * root, dtype=torch.float32)
    else:
        output.weight.copy_(torch.as_tensor(weight, dtype=torch.float32))
    output.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))


@torch.no_grad()
def scale_logits(model: PreTrainedModel, temperature: float) -> None:
    """Divide all logits by ``temperature`` inside the weights, so that every program sees it (Guo et al. 2017)."""
    output = output_layer(model)
    output.weight.div_(temperature)
    output.bias.div_(temperature)
