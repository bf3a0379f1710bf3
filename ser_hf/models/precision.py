"""bfloat16 inference for the feed-forward networks of a transformer's layers, two thirds of their work.

Attention, the front end and the head stay float32: rounding there moves the probabilities further
(`python -m experiments.speed --only exactness`).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel

from ser_hf.models import ModelError


def bfloat16_pays(device: str | torch.device | None = None) -> bool:
    """Whether this machine multiplies bfloat16 faster than float32 (AMX, AVX512-BF16 or a GPU that has it).

    Args:
        device: default: the GPU where there is one.
    """
    kind = torch.device(device).type if device else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        return torch.cuda.is_bf16_supported()
    return kind == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's stack of layers, bottom first; raises `ModelError` if there is none that is known here."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == getattr(model.config, "num_hidden_layers", None):
            return module
    raise ModelError(f"models of type {model.config.model_type!r} have no stack of layers that is known here")


def use_bfloat16(model: PreTrainedModel) -> None:
    """Make the feed-forward networks of a model compute in bfloat16, in place; for inference only.

    Args:
        model: on the device where it will run.

    Raises:
        ModelError: it has no transformer layers.
    """
    if not hasattr(model.config, "num_attention_heads"):
        raise ModelError(f"models of type {model.config.model_type!r} have no transformer layers to run in bfloat16")
    for layer in encoder_layers(model):
        for module in layer.modules():
            if isinstance(module, nn.Linear) and module.in_features != module.out_features:  # not of the attention
                module.weight.data = module.weight.data.to(torch.bfloat16)
                module.forward = partial(_rounded_forward, module)


def _rounded_forward(module: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    product = nn.functional.linear(states.to(torch.bfloat16), module.weight).to(states.dtype)
    # The bias stays float32: its rounding error would be the same in every frame, and not average out.
    return product if module.bias is None else product + module.bias
