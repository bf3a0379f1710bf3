"""Layers by which a stock classifier hears several layers of an encoder at once, and how much each varies over a clip.

A classifier that averages the last layer's states over time cannot tell a lively voice from an even one of the same
mean; mean and deviation together do (x-vectors: Snyder et al. 2018), and so do several layers side by side. No stock
architecture pools either. But a mean of squares is a deviation, and the feed-forward part of a transformer layer can
square: with GELU, ``gelu(z) + gelu(-z)`` is close to ``z ** 2`` for small z and to ``|z|`` for large z, while
``gelu(z) - gelu(-z)`` is z itself. So a *deviation layer* is one more layer of the stock kind. Its attention is silent;
its feed-forward part holds two units for each dimension of the states below, and adds what a linear classifier says
of them for a label to the states, along the one direction that is set aside for this label. These are directions in
which the states of speech hardly vary. All layers above leave them alone, so that what was added arrives at the end,
where it is averaged over time as ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from ser_hf.models import ModelError

# What a logit comes to in the direction of its label, as a share of the spread of a state's dimensions: well above what
# varies there by itself and what bfloat16 rounds away, and little beside the norm, also of a single frame, whose logits
# are many times those of a clip's mean. With 0.5, the answers of a network and of its classifier correlated at 0.95.
LOGIT = 0.05


@torch.no_grad()
def insert_deviation_layers(model: PreTrainedModel, above: Sequence[int]) -> None:
    """Put deviation layers into an encoder; until they are fitted, they change nothing.

    Args:
        model: a Whisper classifier, changed in place, its config too: ``deviation_layers`` says where they are.
        above: the layers that they hear, counted from 1, ascending.

    Raises:
        ModelError: another architecture, other layers, or too narrow a feed-forward part.
    """
    config = model.config
    if config.model_type != "whisper" or config.activation_function != "gelu":
        raise ModelError(f"deviation layers are made for Whisper with GELU, not for {config.model_type!r}")
    if config.use_weighted_layer_sum:
        raise ModelError("deviation layers and a weighted sum of layers do not go together: leave one of the two out")
    top = config.encoder_layers
    if not above or above[-1] > top or above[0] < 1 or any(one >= other for one, other in pairwise(above)):
        raise ModelError(
            f"deviation layers go above layers 1 to {top}, ascending; not above {', '.join(map(str, above))}"
        )
    if config.encoder_ffn_dim < 2 * config.d_model:
        raise ModelError("deviation layers need a feed-forward part twice as wide as the states")
    stack: list[nn.Module] = []
    for number, pretrained in enumerate(model.encoder.layers, start=1):
        stack.append(pretrained)
        if number in above:
            layer = type(pretrained)(config)
            for linear in (layer.self_attn.out_proj, layer.fc1, layer.fc2):
                linear.weight.zero_()
                linear.bias.zero_()
            stack.append(layer)
    model.encoder.layers = nn.ModuleList(stack)
    config.encoder_layers = config.num_hidden_layers = len(stack)
    config.deviation_layers = [number + place for place, number in enumerate(above)]
    # What it was trained to scale are states of other layers.
    model.encoder.layer_norm = nn.LayerNorm(config.d_model)


def deviation_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The deviation layers of a model, bottom first."""
    return [model.encoder.layers[place] for place in getattr(model.config, "deviation_layers", [])]


class SilentAttention(nn.Module):
    """In place of an attention that writes nothing: no looking, the same answer."""

    def forward(self, hidden_states: torch.Tensor, **_: object) -> tuple[torch.Tensor, None]:
        """Zeros, as Whisper's layers expect them, and no weights."""
        return torch.zeros_like(hidden_states), None


@torch.no_grad()
def leave_out_idle(model: PreTrainedModel) -> None:
    """Take out of the deviation layers, in place, what computes nothing: attention, and units that nobody hears.

    For a model that only answers, with the same answers: what is saved would not fit its config.
    """
    for layer in deviation_layers(model):
        if not any(parameter.any() for parameter in layer.self_attn.out_proj.parameters()):
            layer.self_attn = SilentAttention()
        heard = layer.fc2.weight.any(dim=0)
        if heard.any():
            layer.fc1.weight, layer.fc1.bias = (nn.Parameter(one[heard]) for one in layer.fc1.parameters())
            layer.fc2.weight = nn.Parameter(layer.fc2.weight[:, heard])


@torch.no_grad()
def prepare_deviations(model: PreTrainedModel, hear: Callable[[], object]) -> None:
    """Let each deviation layer measure in the units of what it is given, and set a direction aside for each label.

    Each dimension is measured from its mean, in its standard deviation over all frames. Set aside are the directions in
    which there is least below the deviation layers and at the top together, at right angles to each other
    (`label_directions`); the lowest deviation layer takes out what they hold.

    Args:
        model: changed in place.
        hear: takes clips through the model, as training hears them.
    """
    layers, width = deviation_layers(model), model.config.d_model
    measured = _measure([*layers, model.encoder.layer_norm], hear)
    shares = [of.products / np.trace(of.products) for of in measured]
    # A norm takes out what all dimensions have in common: nothing arrives that is written there.
    common = np.full((width, width), 1 / width)
    _, directions = np.linalg.eigh(np.sum(shares, axis=0) + common)
    own = directions[:, : model.config.num_labels].T
    aside = own.T @ own
    layers[0].register_buffer("label_directions", torch.as_tensor(own, dtype=torch.float32), persistent=False)
    for layer, of in zip(layers, measured[:-1], strict=True):
        heard = np.eye(width) if layer is layers[0] else np.eye(width) - aside
        both = np.concatenate([heard, -heard]) / np.tile(of.deviation, 2)[:, None]
        layer.fc1.weight[: 2 * width] = torch.as_tensor(both, dtype=torch.float32)
        layer.fc1.bias[: 2 * width] = torch.as_tensor(-both @ of.mean, dtype=torch.float32)
    # The difference of two units is what they measure: taken times its unit and the spread, it is the state itself.
    of = measured[0]
    held = aside * (of.deviation * of.spread)
    layers[0].fc2.weight.zero_()
    layers[0].fc2.weight[:, : 2 * width] = torch.as_tensor(np.hstack([-held, held]), dtype=torch.float32)
    layers[0].fc2.bias.copy_(torch.as_tensor(-aside @ of.mean * of.spread, dtype=torch.float32))
    _leave_alone(model, layers[0].fc1.weight.new_tensor(aside))


def label_directions(model: PreTrainedModel) -> np.ndarray:
    """The directions that `prepare_deviations` set aside, until the model is saved: float64 (labels, hidden size)."""
    return deviation_layers(model)[0].label_directions.double().cpu().numpy()


@dataclass(frozen=True)
class Measured:
    """What comes to a module, over all frames of all clips that it was measured on.

    Attributes:
        mean, deviation: float64 (hidden size,), of each dimension behind a norm.
        products: float64 (hidden size, hidden size), the mean of the products of each two dimensions behind it.
        spread: mean of what it divides by.
    """

    mean: np.ndarray
    deviation: np.ndarray
    products: np.ndarray
    spread: float


def _measure(modules: Sequence[nn.Module], hear: Callable[[], object]) -> list[Measured]:
    """Measure what comes to each of some modules of an encoder while clips are taken through the model."""
    sums: dict[nn.Module, np.ndarray] = {}

    def add(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        states = inputs[0].float().flatten(0, 1)
        spreads = states.std(dim=1, keepdim=True, correction=0)
        # The dimensions, a one behind them, and the spread: of these, sums of the products of each two.
        columns = torch.cat([layer_norm(states, states.shape[1:]), torch.ones_like(spreads), spreads], dim=1)
        sums[module] = sums.get(module, 0) + (columns.T @ columns).double().cpu().numpy()

    hooks = [module.register_forward_pre_hook(add) for module in modules]
    try:
        hear()
    finally:
        for hook in hooks:
            hook.remove()
    measured = []
    for module in modules:
        width = len(sums[module]) - 2
        products = sums[module] / sums[module][width, width]
        mean, spread = products[:width, width], float(products[width, width + 1])
        products = products[:width, :width]
        # A dimension that hardly varies is not measured in units so small that float16 cannot store them.
        deviation = np.sqrt(np.maximum(np.diag(products) - mean**2, 1e-6))
        measured.append(Measured(mean, deviation, products, spread))
    return measured


def _leave_alone(model: PreTrainedModel, aside: torch.Tensor) -> None:
    """Let the pretrained layers above the lowest deviation layer neither hear some directions nor add to them.

    Args:
        model: changed in place. What a norm multiplies and adds moves into the weights behind it, for a direction of
            the states is none behind a norm that weighs its dimensions.
        aside: float32 (hidden size, hidden size), the projection on these directions.
    """
    places = model.config.deviation_layers
    for place, layer in enumerate(model.encoder.layers):
        if place > places[0] and place not in places:
            attention = layer.self_attn
            for norm, linears in (
                (layer.self_attn_layer_norm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.final_layer_norm, (layer.fc1,)),
            ):
                for linear in linears:
                    if linear.bias is not None:  # keys have none, and attention is the same for any
                        linear.bias += linear.weight @ norm.bias
                    weighed = linear.weight * norm.weight
                    linear.weight.copy_(weighed - weighed @ aside)
                norm.weight.fill_(1)
                norm.bias.zero_()
            for linear in (attention.out_proj, layer.fc2):
                linear.weight -= aside @ linear.weight
                linear.bias -= aside @ linear.bias


def _below_top(model: PreTrainedModel) -> int:
    """How many deviation layers have another layer above them, so that the head does not hear what they hear."""
    return sum(place < len(model.encoder.layers) - 1 for place in model.config.deviation_layers)


@contextlib.contextmanager
def recorded_deviations(model: PreTrainedModel) -> Iterator[list[np.ndarray]]:
    """While it lasts, each forward pass adds to the list what the deviation layers hear in its clips.

    That is float32 (clips, columns): the mean over time of what each dimension deviates, a layer after the other; the
    mean of the dimensions themselves for each layer but one at the top, which the head hears anyway; and last a column
    of ones. All in the scale that the norm behind the top layer will give to what is written into the states.
    """
    width, below_top = model.config.d_model, _below_top(model)
    units: list[torch.Tensor] = []
    recorded: list[np.ndarray] = []

    def keep(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        units.append(inputs[0])

    def scale(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        scales = 1 / inputs[0].float().std(dim=-1, unbiased=False).unsqueeze(1)
        means = [torch.bmm(scales, one.float()).squeeze(1) / scales.shape[-1] for one in units]
        units.clear()
        columns = [one[:, :width] + one[:, width : 2 * width] for one in means]
        columns += [one[:, :width] - one[:, width : 2 * width] for one in means[:below_top]]
        recorded.append(torch.cat([*columns, scales.mean(dim=-1)], dim=1).cpu().numpy())

    hooks = [layer.fc2.register_forward_pre_hook(keep) for layer in deviation_layers(model)]
    hooks.append(model.encoder.layer_norm.register_forward_pre_hook(scale))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def write_deviations(model: PreTrainedModel, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Let the deviation layers add, along each label's direction, what a linear classifier says of what they hear.

    Args:
        model: changed in place, once after `prepare_deviations`.
        weights: (labels, columns) of the linear classifier, for the columns of `recorded_deviations` without the ones.
        means: (columns + 1,), the mean of each column, with that of the ones: what is added is zero on average.

    Returns:
        float64 (labels, hidden size): what the head must multiply the pooled states by, besides what it does.
    """
    layers, width, directions = deviation_layers(model), model.config.d_model, label_directions(model)
    logit = LOGIT / means[-1]
    rows = logit * weights.reshape(len(weights), -1, width)
    offsets = (means[:-1] / means[-1]).reshape(-1, width)
    for place, layer in enumerate(layers):
        of_deviation, of_mean = rows[:, place], np.zeros((len(rows), width))
        bias = -of_deviation @ offsets[place]
        if place < _below_top(model):
            of_mean = rows[:, len(layers) + place]
            bias -= of_mean @ offsets[len(layers) + place]
        both = np.concatenate([of_deviation + of_mean, of_deviation - of_mean], axis=1)
        layer.fc2.weight[:, : 2 * width] += layer.fc2.weight.new_tensor(directions.T @ both)
        layer.fc2.bias += layer.fc2.bias.new_tensor(directions.T @ bias)
    return directions / logit
