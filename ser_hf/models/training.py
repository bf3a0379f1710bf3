"""Fine-tuning with ``transformers.Trainer``: augmentation, mixup, weighted sampling, layer-wise rates, weight averages.

Each random choice of a training example follows from (seed, epoch, clip) alone, so that two runs agree and a resumed
run ends like an unbroken one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, Trainer, TrainerCallback, WhisperFeatureExtractor
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment import Augmentation
from ser_hf.augment.join import join_utterances
from ser_hf.evaluation.emotion_metrics import EmotionMetrics
from ser_hf.evaluation.metrics import softmax
from ser_hf.models import ModelError, has_fixed_length
from ser_hf.utils.files import replacing

AVERAGED = "averaged.safetensors"  # in a checkpoint: the moving average of the weights
FULL_WINDOW = 0.2  # share of cached copies that are padded to the whole window, as the stock pipeline pads
LOGIT_OF_MASKED = -1e4
MIN_POSITIONS = 25  # of a cached clip that are always kept: half a second


@dataclass
class ClipDataset(Dataset):
    """Waveforms in memory with their labels; with ``augment`` each epoch gets another augmented version of them.

    Attributes:
        clips: float32 mono waveforms at 16 kHz.
        window: longest stretch in samples; a longer clip is cut at a random place (at the start without ``augment``).
        join_probability: share of the clips, with ``augment``, that are joined with another utterance of the same
            speaker and label (`join_utterances`).
        speakers: of each clip; needed where clips are joined.
        masked: bool (clips, labels): labels that the loss of a clip leaves out (`Collator`).
        short_windows: give ``seconds``, the length of a window that may end at the next half second after the clip.
    """

    clips: Sequence[np.ndarray]
    labels: Sequence[int]
    window: int
    augment: Augmentation | None = None
    seed: int = 0
    join_probability: float = 0.0
    speakers: Sequence | None = None
    masked: np.ndarray | None = None
    short_windows: bool = False
    epoch: int = 0

    def __post_init__(self) -> None:
        self.partners: dict[tuple, list[int]] = defaultdict(list)
        for index, key in enumerate(zip(self.speakers or (), self.labels, strict=False)):
            self.partners[key].append(index)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        samples, start, seconds, mix_seed = self.clips[index], 0, None, None
        if self.augment is not None:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            if self.join_probability and rng.random() < self.join_probability:
                assert self.speakers is not None, "only utterances of one speaker are joined"
                other = self.clips[rng.choice(self.partners[self.speakers[index], self.labels[index]])]
                samples = join_utterances(samples, other, self.window, rng)
            samples = self.augment(samples, rng)
            start = int(rng.integers(max(1, samples.size - self.window + 1)))
            mix_seed = int(rng.integers(2**32))
            if self.short_windows and rng.random() >= FULL_WINDOW:
                seconds = min(np.ceil(2 * samples.size / SAMPLE_RATE) / 2, self.window / SAMPLE_RATE)
        return {
            "samples": samples[start : start + self.window],
            "seconds": seconds,
            "label": self.labels[index],
            "mix_seed": mix_seed,
            "masked": None if self.masked is None else self.masked[index],
        }


@dataclass
class StatesDataset(Dataset):
    """Cached states of some clips, in one version or several, for `StatesCollator`.

    Attributes:
        versions: of all clips of a table, the float16 (positions, hidden size) states of each.
        rows: of the table; item ``version * len(rows) + i`` is row i in that version.
        labels, masked: of the clips of the table, as in `ClipDataset`.
        seed: None for evaluation, which has no randomness.
        keep: share of the positions that a training step sees, drawn for each item (PatchDropout, Liu et al. 2023,
            arXiv 2208.07220): neighbours have much in common, and a step takes as much less time.
        groups, means: the group (corpus) of each clip of the table, and (groups, hidden size) means of their states.
            An item is shifted by a random part of the difference between the mean of a random group and that of its
            own: what MixStyle (Zhou et al. 2021, arXiv 2104.02008) does with single clips. None: no shift.
    """

    versions: Sequence[Sequence[np.ndarray]]
    rows: np.ndarray
    labels: np.ndarray
    masked: np.ndarray | None = None
    seed: int | None = None
    keep: float = 1.0
    groups: np.ndarray | None = None
    means: np.ndarray | None = None
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.versions) * len(self.rows)

    def __getitem__(self, index: int) -> dict:
        version, place = divmod(index, len(self.rows))
        row = self.rows[place]
        states, label, mix_seed = self.versions[version][row], int(self.labels[row]), None
        if self.seed is not None:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            mix_seed = int(rng.integers(2**32))
            if self.keep < 1:
                n_kept = min(len(states), max(MIN_POSITIONS, round(self.keep * len(states))))
                states = states[rng.permutation(len(states))[:n_kept]]  # the layers above do not know their order
            if self.means is not None and self.groups is not None:
                other = self.means[rng.integers(len(self.means))]
                states = states + rng.random(dtype=np.float32) * (other - self.means[self.groups[row]])
        masked = None if self.masked is None else self.masked[row]
        return {"samples": states, "label": label, "mix_seed": mix_seed, "masked": masked}

    def lengths(self) -> np.ndarray:
        """Positions of each item: int (items,)."""
        return np.array([len(version[row]) for version in self.versions for row in self.rows])


class WeightedSampler(Sampler):
    """Draw ``n_drawn`` items, rounded up to whole batches, with replacement by weight; lengths in a batch are alike."""

    def __init__(
        self, weights: np.ndarray, batch_size: int, n_drawn: int, seed: int, lengths: np.ndarray | None = None
    ):
        self.shares, self.batch_size, self.seed, self.epoch = weights / weights.sum(), batch_size, seed, 0
        self.n_batches = -(-n_drawn // batch_size)
        self.lengths = np.zeros(len(weights)) if lengths is None else lengths

    def __len__(self) -> int:
        return self.n_batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        drawn = rng.choice(len(self.shares), size=len(self), p=self.shares)
        by_length = drawn[np.argsort(self.lengths[drawn], kind="stable")].reshape(self.n_batches, self.batch_size)
        return iter(rng.permutation(by_length).ravel().tolist())


@dataclass
class Collator:
    """Makes a batch of model inputs and soft labels of clips.

    Attributes:
        label_smoothing: share of each training label that is spread over all labels (Szegedy et al. 2016).
        mixup_alpha: shape of the Beta distribution of mixup's weight (Zhang et al. 2018); 0 turns it off.
        mixup_probability: share of training batches that are mixed.
        spec_augment: share of time frames and of frequency bins of each training spectrogram that two masks each may
            hide (Park et al. 2019); leave it at 0 for models that mask by themselves.
    """

    feature_extractor: FeatureExtractionMixin
    num_labels: int
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    mixup_probability: float = 0.5
    spec_augment: float = 0.0

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Returns the model's inputs, ``labels`` float (clips, labels) and, where any clip has it, ``masked``: bool of
        the same shape, outputs that the loss leaves out of the softmax (a corpus whose actors never played that label).
        """
        batch = self.inputs([item["samples"] for item in items])
        labels = torch.eye(self.num_labels)[[item["label"] for item in items]]
        masked = torch.zeros(labels.shape, dtype=torch.bool)
        if items[0].get("masked") is not None:
            masked = torch.from_numpy(np.stack([item["masked"] for item in items]))
        if items[0]["mix_seed"] is not None:
            labels = labels * (1 - self.label_smoothing) + self.label_smoothing / self.num_labels
            labels = labels.masked_fill(masked, 0.0)
            labels = labels / labels.sum(dim=1, keepdim=True)
            rng = np.random.default_rng([item["mix_seed"] for item in items])
            name = self.feature_extractor.model_input_names[0]
            if self.spec_augment:
                lengths = batch["attention_mask"].sum(dim=1).tolist() if "attention_mask" in batch else None
                is_whisper = isinstance(self.feature_extractor, WhisperFeatureExtractor)  # frequency comes first
                spectrograms = batch[name].mT if is_whisper else batch[name]
                mask_spectrograms(spectrograms, self.spec_augment, rng, lengths)
            if self.mixup_alpha and rng.random() < self.mixup_probability:
                weight = float(rng.beta(self.mixup_alpha, self.mixup_alpha))
                partner = torch.as_tensor(rng.permutation(len(items)))
                batch[name] = weight * batch[name] + (1 - weight) * batch[name][partner]
                if "attention_mask" in batch:  # a mixed clip lasts as long as the longer of the two
                    batch["attention_mask"] = torch.maximum(batch["attention_mask"], batch["attention_mask"][partner])
                labels = weight * labels + (1 - weight) * labels[partner]
                masked = masked & masked[partner]
        batch["labels"] = labels
        if masked.any():
            batch["masked"] = masked
        return batch

    def inputs(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """The model's inputs for waveforms, as a batch of its own to write into."""
        # Whisper and AST always pad to their own window; wav2vec2 and its like to the longest of the batch.
        padding = "max_length" if has_fixed_length(self.feature_extractor) else True
        return dict(self.feature_extractor(clips, sampling_rate=SAMPLE_RATE, padding=padding, return_tensors="pt"))


class StatesCollator(Collator):
    """Makes batches of cached states, cut to the shortest of the batch; mixup and labels are as for waveforms."""

    def inputs(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        length = min(map(len, clips))
        states = np.stack([one[:length] for one in clips])
        return {self.feature_extractor.model_input_names[0]: torch.from_numpy(states).float()}


def mask_spectrograms(
    spectrograms: torch.Tensor, share: float, rng: np.random.Generator, lengths: Sequence[int] | None = None
) -> None:
    """Mask stretches of time and bands of frequency of each spectrogram, in place: SpecAugment (Park et al. 2019).

    Args:
        spectrograms: (clips, time, frequency); what is masked becomes the clip's own mean.
        share: the two masks along each axis cover this share of it together at most.
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
    """Trainer with soft labels, masked outputs and another sampler of the training items (default: each once an epoch).

    Raises:
        ModelError: the loss is NaN or infinite.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, *args, sampler: Sampler | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.sampler = sampler
        self.add_callback(SetEpoch(self.train_dataset, sampler))

    def _get_train_sampler(self, train_dataset=None):
        return self.sampler or super()._get_train_sampler(train_dataset)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels, masked = inputs.pop("labels"), inputs.pop("masked", None)
        outputs = model(**inputs)
        logits = outputs.logits.float()
        if masked is not None:
            logits = logits.masked_fill(masked, LOGIT_OF_MASKED)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        if model.training and not torch.isfinite(loss):
            raise ModelError(
                f"loss is NaN or infinite after {self.state.global_step} steps; try a lower --learning_rate than "
                f"{self.args.learning_rate:g}. Checkpoints from before are kept"
            )
        inputs["labels"] = labels
        return (loss, outputs) if return_outputs else loss


class SetEpoch(TrainerCallback):
    """Set the epoch of datasets and samplers, which accelerate misses in a resumed epoch and on two processes."""

    def __init__(self, *parts):
        self.parts = parts

    def on_epoch_begin(self, args, state, control, **kwargs):
        for part in self.parts:
            if hasattr(part, "epoch"):
                part.epoch = int(state.epoch + 1e-6)


class AverageWeights(TrainerCallback):
    """Exponential moving average of the weights, which replaces them at the end of training (Polyak & Juditsky 1992).

    One step keeps the share ``decay`` of it, in (0, 1); ``checkpoint`` has the average to resume with.
    """

    def __init__(self, decay: float, checkpoint: str | None = None):
        self.decay, self.checkpoint = decay, checkpoint

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.decay))
        self.average.update_parameters(model)  # the first update copies the weights
        if self.checkpoint is not None:
            self.average.module.load_state_dict(load_file(Path(self.checkpoint, AVERAGED)))

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.average.update_parameters(model)

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
            with replacing(folder / AVERAGED) as part:
                save_file(self.average.module.state_dict(), part)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        model.load_state_dict(self.average.module.state_dict())


def last_whole_checkpoint(folder: str | Path, averaged: bool = False) -> str | None:
    """The newest complete checkpoint in a folder, or None; incomplete newer ones, which a kill left, are deleted."""
    while Path(folder).is_dir() and (last := get_last_checkpoint(str(folder))):
        with contextlib.suppress(OSError, ValueError):
            # Trainer writes its state after its other files, and `AverageWeights` the average after that.
            json.loads(Path(last, TRAINER_STATE_NAME).read_text(encoding="utf-8"))
            if not averaged or Path(last, AVERAGED).is_file():
                return last
        shutil.rmtree(last)
    return None


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1, ECE and NLL of one evaluation, as ``Trainer`` wants them."""
    logits, references = prediction.predictions, prediction.label_ids.argmax(-1)
    results = EmotionMetrics().compute(
        predictions=logits.argmax(-1), references=references, probabilities=softmax(logits)
    )
    return {name: float(value) for name, value in results.items() if isinstance(value, (int, float))}
