"""What an encoder's frozen layers give for each clip, computed once and kept, so that training need not ask them.

Frozen layers give the same for the same sound in every epoch, fold and seed. So a clip's changed versions are made
beforehand, as many as there are epochs or fewer, and only the layers above learn from what is kept of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from ser_hf.models import ModelError
from ser_hf.models.training import ClipDataset, Collator

AS_THEY_ARE = "plain"


def check_states_can_be_kept(model: PreTrainedModel, num_frozen: int) -> None:
    """Refuse models whose layers above cannot learn from kept states alone.

    Raises:
        ModelError: nothing is frozen, or the model is not known to allow it.
    """
    if model.config.model_type != "whisper":
        raise ModelError(f"what frozen layers give is kept for Whisper alone, not for {model.config.model_type!r}")
    if not 1 <= num_frozen <= model.config.num_hidden_layers:
        raise ModelError(f"1 to {model.config.num_hidden_layers} layers can be frozen and kept, not {num_frozen}")


class UpperEncoder(nn.Module):
    """An encoder that is given what its frozen layers gave, in place of a spectrogram.

    Args:
        encoder: a Whisper encoder, whose layers it shares, the frozen ones too, so that names and depths stay.
        num_frozen: layers that the input has behind it.
    """

    def __init__(self, encoder: nn.Module, num_frozen: int):
        super().__init__()
        self.layers, self.layer_norm, self.num_frozen = encoder.layers, encoder.layer_norm, num_frozen

    def forward(self, input_features: torch.Tensor, output_hidden_states: bool = False, **kwargs) -> BaseModelOutput:
        """Take states (clips, time, hidden size) through the layers above and the last norm.

        For a weighted sum, what lies below the input counts as zeros: `freeze_lower` leaves it out of the sum.
        """
        states = input_features
        below = torch.zeros_like(states)
        given = [below] * self.num_frozen
        for layer in self.layers[self.num_frozen :]:
            given.append(states)
            states = layer(states, None)
        states = self.layer_norm(states)
        hidden = (*given, states) if output_hidden_states else None
        return BaseModelOutput(last_hidden_state=states, hidden_states=hidden)


@contextlib.contextmanager
def above_frozen(model: PreTrainedModel, num_frozen: int) -> Iterator[None]:
    """Let a model take kept states as its input; what is learned meanwhile stays when it hears sound again."""
    encoder = model.encoder
    model.encoder = UpperEncoder(encoder, num_frozen)
    try:
        yield
    finally:
        model.encoder = encoder.to(model.device)  # its lower part was not there when the rest was moved


@contextlib.contextmanager
def lower_encoder(model: PreTrainedModel, num_layers: int) -> Iterator[nn.Module]:
    """The model's encoder, which ends behind its lowest layers, without a norm, for the time being."""
    encoder = model.encoder
    layers, norm = encoder.layers, encoder.layer_norm
    encoder.layers, encoder.layer_norm = layers[:num_layers], nn.Identity()
    try:
        yield encoder
    finally:
        encoder.layers, encoder.layer_norm = layers, norm


@dataclass(frozen=True)
class FrozenStates:
    """What frozen layers give for the clips of a table, in files of one version of all clips each.

    Attributes:
        folder: where ``NAME.npy``, float16 (clips, time, hidden size), and ``NAME-labels.npy``, float32 (clips,
            labels), lie; NAME is "plain" for the clips as they are, else the number of the version.
        versions: how many changed versions there are.
    """

    folder: Path
    versions: int

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """States, which stay on disk until they are asked for, and labels of one version of all clips."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r"), np.load(self.folder / f"{name}-labels.npy")


class StatesDataset(Dataset):
    """Kept states of some clips with their labels, for `StatesCollator`.

    Args:
        states: of all clips.
        indices: rows of the table.
        seed: for training, where each epoch hears the next version: first part of what mixup's randomness follows
            from. None for clips as they are.
    """

    def __init__(self, states: FrozenStates, indices: np.ndarray, seed: int | None = None):
        self.indices, self.seed, self.epoch = indices, seed, 0
        names = [AS_THEY_ARE] if seed is None else [str(version) for version in range(states.versions)]
        self.kept = [states.read(name) for name in names]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict:
        states, labels = self.kept[self.epoch % len(self.kept)]
        row = self.indices[index]
        mix_seed = None
        if self.seed is not None:
            mix_seed = int(np.random.default_rng((self.seed, self.epoch, index)).integers(2**32))
        return {"samples": states[row], "label": labels[row], "mix_seed": mix_seed}


class StatesCollator(Collator):
    """Makes batches of kept states; labels, smoothing and mixup are as with sound."""

    def inputs(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return {self.feature_extractor.model_input_names[0]: torch.from_numpy(np.stack(clips)).float()}


def keep_states(
    model: PreTrainedModel,
    num_frozen: int,
    clips: ClipDataset,
    collator: Collator,
    file: Path,
    batch_size: int = 32,
    bfloat16: bool = False,
    workers: int = 0,
) -> None:
    """Write what a model's lowest layers give for clips, and their labels, unless that was done before.

    Args:
        model: as pretrained.
        num_frozen: layers to go through.
        clips: in the order that they are kept in.
        collator: makes their batches; what it hides of them stays hidden, and it must not mix them.
        file: ``NAME.npy`` of `FrozenStates`. It appears when it is whole, with ``NAME-labels.npy`` beside it.
        batch_size, bfloat16, workers: how it is computed.
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    model.eval()
    loader = DataLoader(clips, batch_size, collate_fn=collator, num_workers=workers)
    partial = file.with_suffix(".partial")
    kept, labels, done = None, [], 0
    with lower_encoder(model, num_frozen) as encoder, torch.inference_mode():
        for batch in tqdm(loader, desc=f"Frozen layers, {file.stem}", unit="batch", leave=False):
            labels.append(batch.pop("labels").numpy())
            inputs = {name: value.to(model.device) for name, value in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
                states = encoder(**inputs).last_hidden_state.to("cpu", torch.float16).numpy()
            if kept is None:
                kept = np.lib.format.open_memmap(partial, "w+", np.float16, (len(clips), *states.shape[1:]))
            kept[done : done + len(states)] = states
            done += len(states)
    if kept is None:
        raise ValueError(f"{file.stem}: there are no clips to go through the frozen layers")
    kept.flush()
    np.save(file.with_name(f"{file.stem}-labels.npy"), np.concatenate(labels))
    os.replace(partial, file)
