"""Arithmetic of a network that answers: float32 as everywhere, or bfloat16 where the machine multiplies it faster.

What is rounded anew for each frame averages out over a clip. So feed-forward networks, two thirds of the work of a
transformer layer, are given bfloat16, in all layers. Attention, the front end and the head stay float32: rounding there
moves the probabilities further.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from ser_hf.models import ModelError


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
    """Let the feed-forward networks of a model that only answers compute in bfloat16, in place.

    What is rounded was chosen by `python -m experiments.speed --only exactness`.

    Args:
        model: where it will run.

    Raises:
        ModelError: it has no such layers.
    """
    if not hasattr(model.config, "num_attention_heads"):
        raise ModelError(f"models of type {model.config.model_type!r} have no transformer layers to run in bfloat16")
    for layer in encoder_layers(model):
        for module in layer.modules():
            if isinstance(module, nn.Linear) and module.in_features != module.out_features:  # of the feed-forward part
                _round(module)


def _round(module: nn.Linear) -> None:
    """Let a linear layer multiply in bfloat16, and take and give what it took and gave before.

    Its bias, the same for every frame, would be rounded in the same direction everywhere, and stays as it is.
    """
    module.weight.data = module.weight.data.to(torch.bfloat16)  # once, and not for every batch

    def forward(states: torch.Tensor) -> torch.Tensor:
        product = nn.functional.linear(states.to(torch.bfloat16), module.weight).to(states.dtype)
        return product if module.bias is None else product + module.bias

    module.forward = forward
