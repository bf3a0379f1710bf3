"""Arithmetic of a network that answers: float32 as everywhere, or bfloat16 where the machine multiplies it faster.

Only transformer layers, which take most of the time, are given bfloat16, and not the lowest of them: what is rounded
there spreads through all that follow. The front end, which hears the sound, the deviation layers
(`ser_hf.models.deviation`), which write logits, what is above them, which must leave the logits alone, and the head,
which answers, stay float32, too: rounding there moves the probabilities several times as far.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from ser_hf.models import ModelError

EXACT_LAYERS = 3  # chosen by `python -m benchmarks.exactness`


def bfloat16_pays(device: str | torch.device | None = None) -> bool:
    """Whether this machine multiplies bfloat16 faster than float32 (AMX, AVX512-BF16 or a GPU that has it).

    Args:
        device: which part of it (default: the GPU where there is one).
    """
    kind = torch.device(device).type if device else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        return torch.cuda.is_bf16_supported()
    return kind == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's stack of layers, bottom first.

    Raises:
        ModelError: there is none that is known here.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == getattr(model.config, "num_hidden_layers", None):
            return module
    raise ModelError(f"models of type {model.config.model_type!r} have no stack of layers that is known here")


def use_bfloat16(model: PreTrainedModel) -> None:
    """Let the upper transformer layers of a model that only answers compute in bfloat16, in place.

    Args:
        model: where it will run.

    Raises:
        ModelError: it has no such layers.
    """
    if not hasattr(model.config, "num_attention_heads"):
        raise ModelError(f"models of type {model.config.model_type!r} have no transformer layers to run in bfloat16")
    layers = encoder_layers(model)
    for layer in layers[EXACT_LAYERS : min(getattr(model.config, "deviation_layers", ()), default=len(layers))]:
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)  # once, where autocast would round the weights for every batch
        layer.forward = torch.autocast(model.device.type, torch.bfloat16)(layer.forward)
