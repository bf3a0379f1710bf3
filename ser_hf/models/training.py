"""Fine-tuning with ``transformers.Trainer``: clips in memory, augmentation and mixup on the fly, layer-wise rates.

Each random choice of a training example follows from (seed, epoch, clip) alone, so that two runs agree and a resumed
run goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer, TrainerCallback
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import SAFE_WEIGHTS_NAME

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment.join import join_utterances
from ser_hf.augment.sounds import make_sound
from ser_hf.metrics import EmotionMetrics, softmax
from ser_hf.models import ModelError
from ser_hf.models.building import parameter_groups
from ser_hf.models.extractors import frequency_first, has_fixed_length

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def unchanged(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave a training clip as it is: where it is cut and what it is mixed with are still drawn."""
    return samples


class ClipDataset(Dataset):
    """Waveforms in memory with their labels; with ``augment`` each epoch hears other versions of them.

    Args:
        clips: float32 mono waveforms at 16 kHz.
        labels: int label of each clip.
        window: longest stretch in samples; what is longer is cut at a random place (at the start without ``augment``).
        augment: change of a waveform, drawn from the generator that it is given.
        no_speech: share of what is heard, with ``augment``, in which nobody speaks: a made-up sound, whose label is
            None, takes the clip's place.
        join_probability: share of the voices, with ``augment``, that are joined with another utterance of the same
            speaker and label (`join_utterances`).
        speakers: who speaks in each clip; needed where voices are joined.
        seed: first part of what each clip's randomness follows from.
    """

    def __init__(
        self,
        clips: Sequence[np.ndarray],
        labels: Sequence[int],
        window: int,
        augment: Augment | None = None,
        seed: int = 0,
        no_speech: float = 0.0,
        join_probability: float = 0.0,
        speakers: Sequence | None = None,
    ):
        self.clips, self.labels, self.window, self.augment, self.seed = clips, labels, window, augment, seed
        self.no_speech, self.join_probability = no_speech, join_probability
        self.epoch = 0
        self.alike: dict[tuple, list[int]] = {}
        if join_probability:
            assert speakers is not None, "only utterances of one speaker are joined"
            self.voices = list(zip(speakers, labels, strict=True))
            for index, voice in enumerate(self.voices):
                self.alike.setdefault(voice, []).append(index)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        samples, label = self.clips[index], self.labels[index]
        start, mix_seed = 0, None
        told: int | None = label
        if self.augment is not None:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            if self.no_speech and rng.random() < self.no_speech:
                samples, told = make_sound(samples.size, rng), None
            elif self.join_probability and rng.random() < self.join_probability:
                other = self.clips[rng.choice(self.alike[self.voices[index]])]
                samples = join_utterances(samples, other, self.window, rng)
            samples = self.augment(samples, rng)
            start = int(rng.integers(max(1, samples.size - self.window + 1)))
            mix_seed = int(rng.integers(2**32))
        return {"samples": samples[start : start + self.window], "label": told, "mix_seed": mix_seed}


class EpochCallback(TrainerCallback):
    """Tells the training clips which epoch it is, so that augmentation differs from epoch to epoch."""

    def __init__(self, dataset: ClipDataset):
        self.dataset = dataset

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.dataset.epoch = int(state.epoch + 1e-6)


@dataclass
class Collator:
    """Makes a batch of model inputs and soft labels of clips.

    Attributes:
        feature_extractor: the model's own.
        num_labels: width of the soft labels.
        label_smoothing: share of each training label that is spread over all labels (Szegedy et al. 2016).
        mixup_alpha: shape of the Beta distribution of mixup's weight (Zhang et al. 2018); 0 turns it off.
        mixup_probability: share of training batches that are mixed.
        spec_augment: share of time frames and of frequency bins of each training spectrogram that two masks each may
            hide (Park et al. 2019); leave it at 0 for models that hide parts themselves.
    """

    feature_extractor: FeatureExtractionMixin
    num_labels: int
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    mixup_probability: float = 0.5
    spec_augment: float = 0.0

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        batch = self.inputs([item["samples"] for item in items])
        labels = torch.stack([self._soft(item["label"]) for item in items])
        if items[0]["mix_seed"] is not None:
            labels = labels * (1 - self.label_smoothing) + self.label_smoothing / self.num_labels
            rng = np.random.default_rng([item["mix_seed"] for item in items])
            name = self.feature_extractor.model_input_names[0]
            if self.spec_augment:
                lengths = batch["attention_mask"].sum(dim=1).tolist() if "attention_mask" in batch else None
                spectrograms = batch[name].mT if frequency_first(self.feature_extractor) else batch[name]
                mask_spectrograms(spectrograms, self.spec_augment, rng, lengths)
            if self.mixup_alpha and rng.random() < self.mixup_probability:
                weight = float(rng.beta(self.mixup_alpha, self.mixup_alpha))
                partner = torch.as_tensor(rng.permutation(len(items)))
                batch[name] = weight * batch[name] + (1 - weight) * batch[name][partner]
                if "attention_mask" in batch:  # a mixed clip lasts as long as the longer of the two
                    batch["attention_mask"] = torch.maximum(batch["attention_mask"], batch["attention_mask"][partner])
                labels = weight * labels + (1 - weight) * labels[partner]
        batch["labels"] = labels
        return batch

    def inputs(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """What the model is given of waveforms, as a batch of its own to write into."""
        # Whisper and AST always pad to their own window; wav2vec2 and its like to the longest of the batch.
        padding = "max_length" if has_fixed_length(self.feature_extractor) else True
        return dict(self.feature_extractor(clips, sampling_rate=SAMPLE_RATE, padding=padding, return_tensors="pt"))

    def _soft(self, label: int | np.ndarray | None) -> torch.Tensor:
        """All on one label, or, where nobody speaks, the same on each; what is soft already stays as it is."""
        if isinstance(label, np.ndarray):
            return torch.from_numpy(label.copy())
        if label is None:
            return torch.full((self.num_labels,), 1 / self.num_labels)
        return torch.eye(self.num_labels)[label]


def mask_spectrograms(
    spectrograms: torch.Tensor, share: float, rng: np.random.Generator, lengths: Sequence[int] | None = None
) -> None:
    """Hide stretches of time and bands of frequency of each spectrogram, in place: SpecAugment (Park et al. 2019).

    Args:
        spectrograms: (clips, time, frequency); what is hidden becomes the clip's own mean.
        share: the two masks along each axis hide this share of it together at most.
        rng: where the masks are drawn from.
        lengths: frames of each clip that are no padding (default: all).
    """
    frames, bins = spectrograms.shape[1:]
    for spectrogram, length in zip(spectrograms, lengths or [frames] * len(spectrograms), strict=True):
        mean = spectrogram[:length].mean()
        for part, size in ((spectrogram[:length], length), (spectrogram[:length].T, bins)) * 2:
            width = int(rng.integers(int(size * share / 2) + 1))
            start = int(rng.integers(size - width + 1))
            part[start : start + width] = mean


class EmotionTrainer(Trainer):
    """Trainer with soft labels and a learning rate that falls layer by layer.

    Args:
        layer_decay: factor of the rate for each layer further down.
        head_factor: factor of the rate for the head.
        label_weights: (labels,), how much a clip of each label counts; a clip of several counts as its share of each
            (default: all the same).
    """

    loss_is_scaled_for_ga = False
    optimizer: torch.optim.Optimizer | None

    def __init__(
        self,
        *args,
        layer_decay: float = 1.0,
        head_factor: float = 1.0,
        label_weights: np.ndarray | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.layer_decay, self.head_factor, self.label_weights = layer_decay, head_factor, label_weights

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(
                self.model if model is None else model,
                self.args.learning_rate,
                self.layer_decay,
                self.head_factor,
                self.args.weight_decay,
            )
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = optimizer_class(groups, **options)
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        losses = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="none")
        if self.label_weights is not None:
            losses = losses * (labels @ torch.as_tensor(self.label_weights, dtype=labels.dtype, device=labels.device))
        loss = losses.mean()
        if model.training and not torch.isfinite(loss):
            raise ModelError(
                f"the loss is no number any more, after {self.state.global_step} steps: the rates are too high "
                f"(--learning_rate {self.args.learning_rate:g}). Checkpoints from before are kept"
            )
        inputs["labels"] = labels
        return (loss, outputs) if return_outputs else loss


def last_whole_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint in a folder, without those on top that a kill left half written or half deleted.

    These are deleted: no run ends the same that goes on from them. None if there is no whole one. Whole is what
    `Trainer` writes where each process has the whole model (not FSDP or DeepSpeed, nor ``save_only_model``).
    """
    folder = Path(folder)
    while folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        if _is_whole(Path(last)):
            return last
        shutil.rmtree(last)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """``Trainer`` writes its state last, and so with a state that can be read all other files were whole once."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    needed = (SAFE_WEIGHTS_NAME, OPTIMIZER_NAME, SCHEDULER_NAME)
    return all((checkpoint / name).is_file() for name in needed) and any(checkpoint.glob("rng_state*.pth"))


def balanced_weights(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Weights that make every label count the same, and a clip 1 on average.

    Args:
        labels: int (clips,), those of the training clips.
        num_labels: how many there are; one without clips gets 0.

    Returns:
        float32 (num_labels,).
    """
    counts = np.bincount(labels, minlength=num_labels)
    weights = len(labels) / np.maximum(counts, 1) / np.count_nonzero(counts)
    return np.where(counts, weights, 0.0).astype(np.float32)


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1, ECE and NLL of one evaluation, as ``Trainer`` wants them."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    references = prediction.label_ids.argmax(-1)
    results = EmotionMetrics().compute(
        predictions=logits.argmax(-1), references=references, probabilities=softmax(logits)
    )
    return {name: float(value) for name, value in results.items() if isinstance(value, (int, float))}
