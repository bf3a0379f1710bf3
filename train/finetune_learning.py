"""What a fold's model hears in training, as sound or as what its frozen layers give, and how it learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset as Table
from torch.utils.data import Dataset, Subset
from tqdm import tqdm
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainingArguments
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import SAMPLE_RATE
from ser_hf.augment import augmented_copies
from ser_hf.files import write_json
from ser_hf.labels import LABELS
from ser_hf.models.building import create_model, freeze_lower, masks_itself
from ser_hf.models.deviation import prepare_deviations
from ser_hf.models.extractors import window_seconds
from ser_hf.models.frozen import (
    AS_THEY_ARE,
    FrozenStates,
    StatesCollator,
    StatesDataset,
    check_states_can_be_kept,
    keep_states,
)
from ser_hf.models.head import fit_head, pooled_features
from ser_hf.models.precision import bfloat16_pays
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.training import (
    Augment,
    ClipDataset,
    Collator,
    EmotionTrainer,
    EpochCallback,
    balanced_weights,
    compute_metrics,
    last_whole_checkpoint,
    unchanged,
)
from ser_hf.splits import Fold
from ser_hf.statistics import speaker_ids
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

PREPARED_BY = 8  # of so many clips, one measures the units of deviation layers: 50 frames a second are many


@dataclass(frozen=True)
class Sound:
    """Clips of a table as a model with a window hears them.

    Attributes:
        clips: float32 mono waveforms at 16 kHz, all of the table.
        emotions: int (clips,), the label of each.
        speakers: who speaks in each.
        model, extractor: who hears them; the window is theirs.
        seed: what all changes follow from.
    """

    clips: Sequence[np.ndarray]
    emotions: np.ndarray
    speakers: np.ndarray
    model: PreTrainedModel
    extractor: FeatureExtractionMixin
    seed: int

    def of(self, indices: np.ndarray, augmentation: AugmentationArguments | None = None) -> ClipDataset:
        """Rows of the table, as they are or changed (see `ClipDataset`)."""
        heard, labels, voices = [self.clips[i] for i in indices], self.emotions[indices], self.speakers[indices]
        window = int(window_seconds(self.model, self.extractor) * SAMPLE_RATE)
        if augmentation is None:
            return ClipDataset(heard, labels.tolist(), window, seed=self.seed)
        change: Augment = augmentation.augmentation()
        copies = augmentation.copies
        if copies:
            heard, change = augmented_copies(heard, change, copies, self.seed), unchanged
        return ClipDataset(
            heard,
            np.tile(labels, 1 + copies).tolist(),
            window,
            change,
            seed=self.seed,
            no_speech=augmentation.no_speech,
            join_probability=augmentation.join_probability,
            speakers=voices.tolist(),
        )


@dataclass(frozen=True)
class Lessons:
    """What one fold's model learns from.

    Attributes:
        train: what each epoch hears.
        labels: int (clips,), the label of each clip that it hears a version of.
        heads: what the head is fitted on before, one after the other: the clips as they are and changed versions.
        validation: who is asked after each epoch; may be empty.
        collator: makes batches of them, without mixing, masking and smoothing.
        spec_augment: what the collator is to mask in training.
    """

    train: Dataset
    labels: np.ndarray
    heads: Sequence[Dataset]
    validation: Dataset
    collator: Collator
    spec_augment: float


def lessons_of_sound(sound: Sound, fold: Fold, augmentation: AugmentationArguments) -> Lessons:
    """Sound, changed anew in each epoch, through all layers."""
    return Lessons(
        train=sound.of(fold.train, augmentation),
        labels=sound.emotions[fold.train],
        heads=[sound.of(fold.train), sound.of(fold.train, dataclasses.replace(augmentation, copies=0, no_speech=0.0))],
        validation=sound.of(fold.validation),
        collator=Collator(sound.extractor, num_labels=len(LABELS)),
        spec_augment=0.0 if masks_itself(sound.model) else augmentation.spec_augment,
    )


def lessons_of_states(states: FrozenStates, fold: Fold, extractor: FeatureExtractionMixin, seed: int) -> Lessons:
    """What frozen layers gave for a number of changed versions, in turns, through the layers above."""
    heads = [StatesDataset(states, fold.train)]
    for version in range(states.versions):
        heads.append(StatesDataset(states, fold.train, seed))
        heads[-1].epoch = version
    return Lessons(
        train=StatesDataset(states, fold.train, seed),
        labels=states.read(AS_THEY_ARE)[1][fold.train].argmax(axis=1),
        heads=heads,
        validation=StatesDataset(states, fold.validation),
        collator=StatesCollator(extractor, num_labels=len(LABELS)),
        spec_augment=0.0,
    )


def learn(
    model: PreTrainedModel,
    lessons: Lessons,
    folder: Path,
    model_arguments: ModelArguments,
    augmentation: AugmentationArguments,
    args: FinetuneTrainingArguments,
) -> bool:
    """Fit the head of a model, then train it, and write ``log.json``.

    Returns:
        Whether it went on from a checkpoint.
    """
    decay, head_factor = model_arguments.layer_decay, model_arguments.head_factor
    assert decay is not None, "arguments are resolved"
    assert head_factor is not None, "arguments are resolved"
    # Deviation layers stay as they are fitted.
    freeze_lower(model, model_arguments.frozen_layers + len(model_arguments.heard_layers))
    if model_arguments.heard_layers:
        few = [Subset(one, range(0, len(one), PREPARED_BY)) for one in lessons.heads]
        prepare_deviations(model, lambda: [frozen_features(model, lessons.collator, one, args) for one in few])
    if model_arguments.fit_head_first:
        heard = [frozen_features(model, lessons.collator, one, args) for one in lessons.heads]
        features, labels = (np.concatenate(parts) for parts in zip(*heard, strict=True))
        balanced, shrinkage = model_arguments.balance_labels, model_arguments.head_shrinkage
        fit_head(model, features, labels, balanced=balanced, shrinkage=shrinkage)
    collator = dataclasses.replace(
        lessons.collator,
        label_smoothing=args.label_smoothing_factor,
        mixup_alpha=augmentation.mixup_alpha,
        mixup_probability=augmentation.mixup_probability,
        spec_augment=lessons.spec_augment,
    )
    callbacks = [EpochCallback(lessons.train)]
    if args.early_stopping_patience and len(lessons.validation):
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    trainer = EmotionTrainer(
        model=model,
        args=args,
        train_dataset=lessons.train,
        eval_dataset=lessons.validation if len(lessons.validation) else None,
        data_collator=collator,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
        layer_decay=decay,
        head_factor=head_factor,
        label_weights=balanced_weights(lessons.labels, len(LABELS)) if model_arguments.balance_labels else None,
    )
    with args.main_process_first(local=False, desc="what a kill left"):
        last = last_whole_checkpoint(folder) if args.resume_from_checkpoint else None
    trainer.train(resume_from_checkpoint=last)
    model.eval()
    if trainer.is_world_process_zero():
        write_json(folder / "log.json", trainer.state.log_history)
    return last is not None


def make_model(arguments: ModelArguments, spec_augment: float) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    """The model that a fold starts from: a pretrained encoder with a new head, or random weights."""
    if arguments.architecture:
        return create_from_scratch(
            arguments.architecture,
            window=arguments.window_seconds,
            hidden_size=arguments.hidden_size,
            num_layers=arguments.num_layers,
            dropout=arguments.dropout,
        )
    assert arguments.base_model is not None, "arguments are resolved"
    return create_model(
        arguments.base_model,
        num_layers=arguments.num_layers,
        window=arguments.window_seconds,
        weighted_layer_sum=arguments.weighted_layer_sum,
        spec_augment=spec_augment,
        deviations_above=arguments.heard_layers,
    )


def fold_training_arguments(
    training: FinetuneTrainingArguments, folder: Path, has_validation: bool
) -> FinetuneTrainingArguments:
    """The arguments of one fold: its own folder, this machine's arithmetic, no evaluation where nobody is held out."""
    bfloat16 = bfloat16_pays() if training.precision == "auto" else training.precision == "bfloat16"
    changes: dict[str, Any] = {"output_dir": str(folder), "bf16": bfloat16, "use_cpu": not torch.cuda.is_available()}
    changes["push_to_hub"] = False  # the finished model is, with its card, and not each checkpoint of each fold
    if not has_validation:
        changes |= {"eval_strategy": "no", "load_best_model_at_end": False}
    return dataclasses.replace(training, **changes)


def frozen_features(model, collator: Collator, dataset: ClipDataset, args: TrainingArguments):
    """Pooled features and labels of the training clips as they are, from the encoder before any training."""
    model.to(args.device)
    size = args.per_device_eval_batch_size
    starts = tqdm(range(0, len(dataset), size), desc="Fitting the head", unit="batch", leave=False)
    batches = (collator([dataset[i] for i in range(start, min(start + size, len(dataset)))]) for start in starts)
    return pooled_features(model, batches, bfloat16=args.bf16)


def table_speakers(table: Table) -> np.ndarray:
    """Who speaks in each clip of a table: int (clips,), one number a speaker of a corpus."""
    return speaker_ids(table.select_columns(["corpus", "speaker"]).to_pandas())


def keep_all_states(
    table: Table,
    clips: Sequence[np.ndarray],
    folder: Path,
    model_arguments: ModelArguments,
    augmentation: AugmentationArguments,
    training: FinetuneTrainingArguments,
) -> FrozenStates:
    """Write what the frozen layers give for all clips of a table, as they are and changed, unless that is done.

    Raises:
        ModelError: the model does not allow it.
    """
    args = fold_training_arguments(training, folder, has_validation=False)
    model, extractor = make_model(model_arguments, augmentation.spec_augment)
    check_states_can_be_kept(model, model_arguments.kept_layers)
    model.to(args.device)
    sound = Sound(clips, np.array(table["emotion"]), table_speakers(table), model, extractor, args.seed)
    everything = np.arange(len(clips))
    changed = sound.of(everything, augmentation)
    plain = Collator(extractor, num_labels=len(LABELS))
    masked = dataclasses.replace(plain, spec_augment=augmentation.spec_augment)
    how = {"bfloat16": args.bf16, "workers": args.dataloader_num_workers}
    keep_states(model, model_arguments.kept_layers, sound.of(everything), plain, folder / f"{AS_THEY_ARE}.npy", **how)
    for version in range(model_arguments.frozen_versions):
        changed.epoch = version
        keep_states(model, model_arguments.kept_layers, changed, masked, folder / f"{version}.npy", **how)
    return FrozenStates(folder, model_arguments.frozen_versions)
