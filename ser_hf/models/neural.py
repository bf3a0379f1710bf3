"""Trained audio-classification checkpoints: strict loading, prediction and saving.

They load in ``pipeline("audio-classification")`` without this package: pretrained ones are stock ``transformers``
architectures, those of `ser_hf.models.scratch` carry their code and need ``trust_remote_code=True`` there.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.initialization import no_init_weights

import ser_hf.models.scratch  # noqa: F401 (makes transformers know the custom architectures)
from ser_hf.audio import SAMPLE_RATE
from ser_hf.models import ModelError, check_network, has_fixed_length, window_seconds
from ser_hf.models.familiarity import Familiarity, load_familiarity

WEIGHTS, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"


@dataclass
class NeuralModel:
    """A fine-tuned checkpoint with its feature extractor.

    Attributes:
        model: an ``...ForAudioClassification`` in evaluation mode.
        feature_extractor: what turns waveforms into its input.
        familiarity: distribution of the training clips, for the out-of-domain score; None where the folder has none.
    """

    model: PreTrainedModel
    feature_extractor: FeatureExtractionMixin
    familiarity: Familiarity | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the weights, since neither weight-normalised layers nor the hooks of transformers can be pickled."""
        parts = type(self.model), self.model.config, self.model.state_dict(), self.feature_extractor, self.familiarity
        return _restored, parts

    @property
    def labels(self) -> list[str]:
        """The label of each output, in the order of the outputs."""
        return [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]

    @property
    def window_seconds(self) -> float:
        """The longest window, in seconds, that the model takes."""
        return window_seconds(self.model, self.feature_extractor)

    def predict_proba(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities, float32 (clips, labels), of float32 mono waveforms at 16 kHz within ``window_seconds``."""
        return self._forward(clips)[0]

    def predict_with_distance(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """As `predict_proba`, and the out-of-domain score of each clip: float64 (clips,)."""
        assert self.familiarity is not None, "the model has an out-of-domain score"
        rows, states = self._forward(clips, self.familiarity.layer)
        return rows, self.familiarity.distances(states)

    def mean_states(self, clips: Sequence[np.ndarray], layer: int) -> np.ndarray:
        """Mean over time of a layer's output, float32 (clips, hidden size); layer 0 is the input of the first."""
        return self._forward(clips, layer)[1]

    def embeddings(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """What the head sees of each clip: the encoder's output pooled over time, float32 (clips, hidden size)."""
        return self._encoder._forward(clips)[0]

    def embeddings_and_states(self, clips: Sequence[np.ndarray], layer: int) -> tuple[np.ndarray, np.ndarray]:
        """`embeddings` and `mean_states` in one go."""
        return self._encoder._forward(clips, layer)

    @cached_property
    def _encoder(self) -> NeuralModel:
        model = copy.deepcopy(self.model)
        remove_head(model)
        return _Encoder(model, self.feature_extractor)

    def _outputs(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits.float(), dim=-1)

    def _forward(self, clips: Sequence[np.ndarray], layer: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities, and the mean over time of a layer's output; clips are split among threads."""
        threads = torch.get_num_threads() if self.model.device.type == "cpu" else 1
        # Models without a fixed window take padding for sound, and the stock pipeline never pads: one clip at a time.
        size = max(1, math.ceil(len(clips) / threads)) if has_fixed_length(self.feature_extractor) else 1
        parts = [clips[start : start + size] for start in range(0, len(clips), size)]
        run = _single_threads(threads, os.getpid()).map if threads > 1 and len(parts) > 1 else map
        rows, states = zip(*run(partial(self._forward_batch, layer=layer), parts), strict=True)
        return np.concatenate(rows), np.concatenate(states)

    @torch.inference_mode()
    def _forward_batch(self, clips: Sequence[np.ndarray], layer: int | None) -> tuple[np.ndarray, np.ndarray]:
        """As `_forward`, in one batch; without a layer, states have size 0."""
        inputs = self.feature_extractor(list(clips), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        options = {} if layer is None else {"output_hidden_states": True}  # custom architectures have none
        output = self.model(**inputs.to(self.model.device), **options)
        rows = self._outputs(output.logits).cpu().numpy()
        states = output.logits[:, :0] if layer is None else output.hidden_states[layer].float().mean(dim=1)
        return rows, states.cpu().numpy()


class _Encoder(NeuralModel):
    """A network without its head: its outputs are embeddings."""

    def _outputs(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.float()


def _restored(
    kind: type[PreTrainedModel],
    config: PreTrainedConfig,
    weights: dict[str, torch.Tensor],
    feature_extractor: FeatureExtractionMixin,
    familiarity: Familiarity | None,
) -> NeuralModel:
    """The model that was pickled."""
    with no_init_weights():
        model = kind(config)
    model.load_state_dict(weights, assign=True)
    model.eval().to(model.device)
    if any(tensor.dtype == torch.bfloat16 for tensor in weights.values()):
        use_bfloat16(model)
    return NeuralModel(model, feature_extractor, familiarity)


@cache
def _single_threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads that run their operations alone: a batch is then faster than with all threads in every operation.

    Args:
        process: this process, because a forked child has none of its parent's threads.
    """
    started = threading.Barrier(count)

    def alone(_: int) -> None:
        torch.get_num_threads()  # otherwise the first operation of a thread resets what is set here
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(count, "forward")
    list(pool.map(alone, range(count)))
    torch.set_num_threads(count)  # the last call counts for all new threads
    return pool


def torch_device(device: int | str | torch.device | None = None) -> torch.device:
    """Find a device: "auto" is the GPU (CUDA, MPS or another accelerator) where there is one, a number is that GPU.

    Args:
        device: "cpu" (default), "auto", "cuda", "cuda:1", "mps", a number (-1 is the CPU) or a `torch.device`.

    Raises:
        ModelError: this machine has no such device, or this build of PyTorch cannot use it.
    """
    gpu = torch.accelerator.current_accelerator(check_available=True)
    gpus = [] if gpu is None else [f"{gpu.type}:{index}" for index in range(torch.accelerator.device_count())]
    name = "cpu" if device in (None, -1) else str(device)
    if name == "auto":
        return torch.device(gpus[0] if gpus else "cpu")
    if name.isdecimal() and int(name) < len(gpus):
        return torch.device(gpus[int(name)])
    if name in ("cpu", *gpus) or (gpus and name == gpu.type):
        return torch.device(name)
    raise ModelError(f"there is no device {name!r} here; there are: {', '.join(['auto', 'cpu', *gpus])}")


def load_neural(
    source: Path, device: int | str | torch.device | None = None, precision: str = "float32"
) -> NeuralModel:
    """Load a fine-tuned checkpoint from a folder, and refuse one with missing weights.

    Args:
        source: the folder.
        device: where it runs (see `torch_device`).
        precision: "float32", "bfloat16", or "auto" for bfloat16 where that pays and the model can.

    Raises:
        ModelError: nothing is there, weights are missing, unexpected or of another shape, labels have no names,
            `familiarity.safetensors` is of another model, it cannot have that precision, there is no such device, or
            it cannot be used (see `check_network`).
    """
    place = torch_device(device)
    _check_files(source)
    try:
        model, info = AutoModelForAudioClassification.from_pretrained(
            source, output_loading_info=True, use_safetensors=True, dtype=torch.float32, trust_remote_code=False
        )
        extractor = AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # what a config can make transformers raise has no common root
        raise ModelError(f"{source} cannot be loaded as an audio-classification model: {error}") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            names = ", ".join(sorted(str(name) for name in info[problem])[:4])
            raise ModelError(
                f"{source} has {problem.replace('_', ' ')} ({names}), so it would answer at random: it is not a "
                "fine-tuned model, or another program saved it; fine-tune it first"
            )
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
        raise ModelError(f"{source} has weights that are NaN or infinite")
    n_layers, size = (getattr(model.config, name, 0) for name in ("num_hidden_layers", "hidden_size"))
    model.eval().to(place)
    if precision == "bfloat16":
        use_bfloat16(model)
    elif precision == "auto" and bfloat16_pays(model.device):
        with contextlib.suppress(ModelError):
            use_bfloat16(model)
    loaded = NeuralModel(model, extractor, load_familiarity(source, n_layers, size))
    check_network(loaded, model.config, source)
    return loaded


def _check_files(folder: Path) -> None:
    """Refuse what transformers would follow out of the folder, or read as something other than safetensors."""
    if (folder / ADAPTER).exists():
        raise ModelError(f"{folder} holds an adapter ({ADAPTER}) to another model; merge the two and save them as one")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        index = json.loads((folder / INDEX).read_text(encoding="utf-8")) if (folder / INDEX).exists() else {}
        files = sorted({str(name) for name in index.get("weight_map", {}).values()})
        attention = [str(config.get(key)) for key in ("attn_implementation", "_attn_implementation")]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder} cannot be loaded as an audio-classification model: {error}") from error
    if not files and not (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} has no {WEIGHTS}. Weights that are only in pytorch_model.bin, a pickle, are not loaded: convert "
            "them by AutoModelForAudioClassification.from_pretrained(...).save_pretrained(...) of transformers, or at "
            "https://huggingface.co/spaces/safetensors/convert"
        )
    for name in files:
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ModelError(f"{folder}: {INDEX} names {name!r}, which is no safetensors file in this folder")
    if any("/" in name for name in attention):
        raise ModelError(f"{folder}: its config.json requires code from the Hub ({', '.join(attention)}); not loaded")


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """The last linear layer, whose outputs are the logits."""
    return [module for module in model.classifier.modules() if isinstance(module, nn.Linear)][-1]


def remove_head(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Take the linear layers out and return them by name.

    The stock forward pass then returns the encoder's output, pooled over time, as its logits.
    """
    linear = {name: module for name, module in model.named_modules() if module is output_layer(model)}
    linear |= {"projector": model.projector} if hasattr(model, "projector") else {}
    for name in linear:
        model.set_submodule(name, nn.Identity())
    return linear


@contextlib.contextmanager
def without_head(model: PreTrainedModel) -> Iterator[None]:
    """Take the head out for a while (see `remove_head`)."""
    linear = remove_head(model)
    try:
        yield
    finally:
        for name, module in linear.items():
            model.set_submodule(name, module)


def save_neural(model: PreTrainedModel, feature_extractor: FeatureExtractionMixin, folder: str | Path) -> Path:
    """Save a model folder: float16 weights that load as float32, half the file at full-precision arithmetic."""
    folder = Path(folder)
    weights = {
        name: tensor.to(torch.float16) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    model.save_pretrained(folder, state_dict=weights)
    feature_extractor.save_pretrained(folder)
    return folder


def bfloat16_pays(device: str | torch.device | None = None) -> bool:
    """Whether a device (default: the GPU if any) is faster in bfloat16 than in float32 (AMX, AVX512-BF16, new GPUs)."""
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
    """Make the feed-forward networks of a model, two thirds of its work, infer in bfloat16, in place.

    Attention, the front end and the head stay float32: rounding there moves the probabilities further
    (`python -m experiments.speed --only exactness`).

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
