"""Outputs of an encoder's frozen lower layers, cached on disk, so that training runs the layers above alone.

Frozen layers give the same states for the same waveform in every epoch, fold, seed and protocol. Each clip is therefore
encoded once as it is and once for each augmented copy, and all runs with the same settings share the files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.modeling_outputs import BaseModelOutput

from ser_hf.audio import SAMPLE_RATE
from ser_hf.models import ModelError
from ser_hf.utils.files import replacing

FRAMES_PER_SECOND = 100  # of Whisper's spectrogram; the encoder makes one position of two


def check_states_can_be_cached(model: PreTrainedModel, num_frozen: int) -> None:
    """Raise `ModelError` for what is no Whisper encoder, or where no layer is left above the frozen ones."""
    if model.config.model_type != "whisper":
        raise ModelError(f"--frozen_layers with --copies works with Whisper, not with {model.config.model_type!r}")
    if not 1 <= num_frozen < model.config.num_hidden_layers:
        raise ModelError(f"--frozen_layers must be 1 to {model.config.num_hidden_layers - 1} here, not {num_frozen}")


class UpperEncoder(nn.Module):
    """The layers of a Whisper encoder above its frozen ones; takes cached states in place of a spectrogram."""

    def __init__(self, encoder: nn.Module, num_frozen: int):
        super().__init__()
        # The frozen layers too, so that parameter names stay.
        self.layers, self.layer_norm, self.num_frozen = encoder.layers, encoder.layer_norm, num_frozen

    def forward(self, input_features: torch.Tensor, **kwargs) -> BaseModelOutput:
        """Take states (clips, positions, hidden size) through the upper layers and the final norm."""
        states = input_features
        for layer in self.layers[self.num_frozen :]:
            states = layer(states, None)
        return BaseModelOutput(last_hidden_state=self.layer_norm(states))


@contextlib.contextmanager
def upper_layers(model: PreTrainedModel, num_frozen: int) -> Iterator[None]:
    """Let a model take cached states as its input; what is trained meanwhile stays when the context ends."""
    encoder = model.encoder
    model.encoder = UpperEncoder(encoder, num_frozen)
    try:
        yield
    finally:
        model.encoder = encoder.to(model.device)  # its lower part was not there when the rest was moved


@torch.inference_mode()
def lower_states(model: PreTrainedModel, num_frozen: int, features: torch.Tensor) -> torch.Tensor:
    """Output (clips, frames / 2, hidden size) of the lowest layers for spectrograms (clips, mel bins, frames)."""
    encoder = model.encoder
    states = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(features)))).permute(0, 2, 1)
    states = states + encoder.embed_positions.weight[: states.shape[1]]
    for layer in encoder.layers[:num_frozen]:
        states = layer(states, None)
    return states


def cached_states(
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    num_frozen: int,
    clips: Dataset,
    file: Path,
    batch_size: int = 16,
    bfloat16: bool = False,
    workers: int = 0,
) -> list[np.ndarray]:
    """Read the states of one version of some clips from a file, or compute and write them first.

    Args:
        clips: items with ``samples`` (float32 mono at 16 kHz) and ``seconds`` (of the window; None: the model's own).
        file: ``NAME.npy``; it appears when it is complete, after ``NAME-lengths.npy``.

    Returns:
        float16 (positions, hidden size) of each clip, memory-mapped.
    """
    lengths_file = file.with_name(f"{file.stem}-lengths.npy")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        states: list[np.ndarray] = [np.zeros(0)] * len(clips)
        for rows, features in _batches(extractor, clips, batch_size, workers, f"Encoding clips ({file.stem})"):
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
                encoded = lower_states(model, num_frozen, features.to(model.device)).to("cpu", torch.float16).numpy()
            for row, one in zip(rows, encoded, strict=True):
                states[row] = one
        np.save(lengths_file, np.array([len(one) for one in states]))
        with replacing(file, shared=True) as part, open(part, "wb") as stream:
            np.save(stream, np.concatenate(states))
    flat, ends = np.load(file, mmap_mode="r"), np.cumsum(np.load(lengths_file))
    return [flat[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _batches(
    extractor, clips: Dataset, size: int, workers: int, words: str
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Rows and spectrograms of clips whose windows have the same length."""
    waiting: dict[int, list[tuple[int, torch.Tensor]]] = {}
    loader = DataLoader(clips, batch_size=None, num_workers=workers, collate_fn=partial(_spectrogram, extractor))
    for row, spectrogram in enumerate(tqdm(loader, desc=words, unit="clip", leave=False)):
        group = waiting.setdefault(spectrogram.shape[1], [])
        group.append((row, spectrogram))
        if len(group) == size:
            yield [row for row, _ in group], torch.stack([one for _, one in group])
            group.clear()
    for group in filter(None, waiting.values()):
        yield [row for row, _ in group], torch.stack([one for _, one in group])


def _spectrogram(extractor: FeatureExtractionMixin, item: dict) -> torch.Tensor:
    spectrogram = extractor([item["samples"]], sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_features"][0]
    seconds = item["seconds"]
    return spectrogram if seconds is None else spectrogram[:, : round(seconds * FRAMES_PER_SECOND)]
