"""Training, calibrating and testing the model of one fold."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainingArguments, set_seed
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.trainer_utils import get_last_checkpoint

from ser_hf.audio import SAMPLE_RATE, AudioError
from ser_hf.augment import augmented_copies
from ser_hf.classifier import BATCH_SIZE, EmotionClassifier
from ser_hf.labels import LABEL2ID, LABELS
from ser_hf.metrics import answer_threshold, fit_temperature, probability_matrix
from ser_hf.models.building import create_model, fit_head, freeze_lower, masks_itself, pooled_features, scale_logits
from ser_hf.models.familiarity import FAMILIAR_LAYER, fit_familiarity, save_familiarity
from ser_hf.models.neural import NeuralModel, save_neural, window_seconds
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.training import (
    Augment,
    ClipDataset,
    Collator,
    EmotionTrainer,
    EpochCallback,
    bfloat16_pays,
    compute_metrics,
    unchanged,
)
from ser_hf.runs import PREDICTIONS, prediction_frame, read_predictions, read_run_json, write_json, write_predictions
from ser_hf.splits import Fold
from ser_hf.statistics import speaker_ids
from train.common import UsageError, milliseconds_per_clip
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

FOLD, VALIDATION = "fold.json", "validation.parquet"


@dataclass(frozen=True)
class Calibration:
    """How a model's answers become as sure as they are right.

    Attributes:
        temperature: what its logits are divided by.
        threshold: how sure an answer must be to count as one (`ser_hf.metrics.answer_threshold`); None if not known.
    """

    temperature: float = 1.0
    threshold: float | None = None


def run_fold(
    table: Dataset,
    clips: list[np.ndarray],
    fold: Fold,
    folder: Path,
    model_arguments: ModelArguments,
    augmentation: AugmentationArguments,
    training: FinetuneTrainingArguments,
    calibration: Calibration,
) -> None:
    """Train one fold; writes its model, the predictions of its validation and test clips, and last ``fold.json``.

    Args:
        calibration: of a model that has no validation clips to find its own on.
    """
    started = time.perf_counter()
    args = fold_training_arguments(training, folder, has_validation=len(fold.validation) > 0)
    set_seed(args.seed)
    model, extractor = make_model(model_arguments, augmentation.spec_augment)
    window = int(window_seconds(model, extractor) * SAMPLE_RATE)
    emotions = np.array(table["emotion"])

    def dataset(
        indices: np.ndarray, augment: Augment | None = None, copies: int = 0, no_speech: float = 0.0
    ) -> ClipDataset:
        heard = [clips[i] for i in indices]
        if copies:
            heard, augment = augmented_copies(heard, augment, copies, args.seed), unchanged
        labels = np.tile(emotions[indices], 1 + copies).tolist()
        return ClipDataset(heard, labels, window, augment, seed=args.seed, no_speech=no_speech)

    augment = augmentation.augmentation()
    plain = Collator(extractor, num_labels=len(LABELS))
    if model_arguments.fit_head_first:
        fit_head(model, *frozen_features(model, plain, dataset(fold.train, augment), args))
    freeze_lower(model, model_arguments.frozen_layers)
    collator = dataclasses.replace(
        plain,
        label_smoothing=args.label_smoothing_factor,
        mixup_alpha=augmentation.mixup_alpha,
        mixup_probability=augmentation.mixup_probability,
        spec_augment=0.0 if masks_itself(model) else augmentation.spec_augment,
    )
    train_set = dataset(fold.train, augment, augmentation.copies, augmentation.no_speech)
    callbacks = [EpochCallback(train_set)]
    if training.early_stopping_patience and len(fold.validation):
        callbacks.append(EarlyStoppingCallback(training.early_stopping_patience))
    trainer = EmotionTrainer(
        model=model,
        args=args,
        train_dataset=train_set,
        eval_dataset=dataset(fold.validation) if len(fold.validation) else None,
        data_collator=collator,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
        layer_decay=model_arguments.layer_decay,
        head_factor=model_arguments.head_factor,
    )
    last = get_last_checkpoint(str(folder)) if training.resume_from_checkpoint and folder.exists() else None
    trainer.train(resume_from_checkpoint=last)
    model = trainer.model.eval()
    write_json(folder / "log.json", trainer.state.log_history)
    temperature, threshold = calibration.temperature, calibration.threshold
    if model_arguments.calibrate:
        if len(fold.validation):
            temperature = find_temperature(model, extractor, table, fold, folder)
        scale_logits(model, temperature)
    classifier = EmotionClassifier.from_pretrained(save_neural(model, extractor, folder / "model"))
    for indices, name in ((fold.validation, VALIDATION), (fold.test, PREDICTIONS)):
        if len(indices):
            write_predictions(folder, predict_rows(classifier, table, indices, fold.index), name)
    if model_arguments.calibrate and len(fold.validation):
        threshold = answer_threshold(probability_matrix(read_predictions(folder, VALIDATION))[0])
    if threshold is not None:
        model.config.answer_threshold = threshold
        save_neural(model, extractor, folder / "model")
    if model_arguments.familiarity:
        speakers = speaker_ids(table.select(fold.train).select_columns(["corpus", "speaker"]).to_pandas())
        heard = [dataset(fold.train), dataset(fold.train, augment)]
        learn_familiarity(model, extractor, heard, np.tile(speakers, len(heard)), folder / "model")
    # The weights are in the model folder now; optimiser states are three times their size.
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    seconds = round(time.perf_counter() - started, 1)
    # Of a resumed fold, these are the seconds since it was taken up again.
    record = {
        "index": fold.index,
        "temperature": temperature,
        "answer_threshold": threshold,
        "seconds": seconds,
        "resumed": last is not None,
        "n_parameters": model.num_parameters(),
        "model_bytes": (folder / "model" / "model.safetensors").stat().st_size,
    }
    if len(fold.test):
        tested = table.select(fold.test)["audio"]
        record["milliseconds_per_clip"] = milliseconds_per_clip(classifier.model, tested, classifier.window_seconds)
    write_json(folder / FOLD, record)


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
    return create_model(
        arguments.base_model,
        num_layers=arguments.num_layers,
        window=arguments.window_seconds,
        weighted_layer_sum=arguments.weighted_layer_sum,
        spec_augment=spec_augment,
    )


def fold_training_arguments(
    training: FinetuneTrainingArguments, folder: Path, has_validation: bool
) -> FinetuneTrainingArguments:
    """The arguments of one fold: its own folder, this machine's arithmetic, no evaluation where nobody is held out."""
    bfloat16 = bfloat16_pays() if training.precision == "auto" else training.precision == "bfloat16"
    changes = {"output_dir": str(folder), "bf16": bfloat16, "use_cpu": not torch.cuda.is_available()}
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


def learn_familiarity(
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    heard: Sequence[ClipDataset],
    speakers: np.ndarray,
    folder: Path,
) -> None:
    """Write into the model folder what the training clips are like, as they are and as they were varied."""
    layer = min(FAMILIAR_LAYER, model.config.num_hidden_layers)
    clips = [clips[i]["samples"] for clips in heard for i in range(len(clips))]
    asked = NeuralModel(model, extractor)
    starts = tqdm(range(0, len(clips), BATCH_SIZE), desc="Learning what is familiar", unit="batch", leave=False)
    states = [asked.mean_states(clips[start : start + BATCH_SIZE], layer) for start in starts]
    familiarity = fit_familiarity(np.concatenate(states), speakers, layer)
    if familiarity is not None:
        save_familiarity(familiarity, folder)


def find_temperature(
    model: PreTrainedModel, extractor: FeatureExtractionMixin, table: Dataset, fold: Fold, folder: Path
) -> float:
    """The temperature that calibrates a fold's model on its validation speakers."""
    classifier = EmotionClassifier.from_pretrained(save_neural(model, extractor, folder / "model"))
    frame = predict_rows(classifier, table, fold.validation, fold.index)
    probabilities = probability_matrix(frame)[0]
    # The logarithm of a softmax is its logits but for a constant that the next softmax takes out again.
    return fit_temperature(np.log(np.clip(probabilities, 1e-12, None)), frame["emotion"].map(LABEL2ID).to_numpy())


def earlier_calibration(reference_run: str, protocol: str, fold: int) -> Calibration:
    """What an earlier run found on speakers that it held out of training.

    That of the same fold, if the protocol is the same: other folds held out speakers that this one tests. Else the
    geometric mean of the temperatures of all folds, and the mean of their thresholds.
    """
    facts = read_run_json(reference_run)
    records = facts.get("folds", [])
    if facts.get("protocol") == protocol:
        records = [record for record in records if record["index"] == fold]
    if not records:
        raise UsageError(f"--reference_run {reference_run} is no finished run of train.finetune that has fold {fold}")
    temperature = float(np.exp(np.mean(np.log([record["temperature"] for record in records]))))
    thresholds = [record.get("answer_threshold") for record in records]
    return Calibration(temperature, None if None in thresholds else round(float(np.mean(thresholds)), 4))


def predict_rows(classifier: EmotionClassifier, table: Dataset, indices: np.ndarray, fold: int) -> pd.DataFrame:
    """Predictions of some rows of a clip table, through the same classifier that users call."""
    rows = table.select(indices)
    answers = tqdm(classifier.predict_many(rows["audio"]), total=len(rows), desc="Predicting", unit="clip", leave=False)
    probabilities = []
    for answer in answers:
        if isinstance(answer, AudioError):
            raise answer
        probabilities.append([answer.scores[label] for label in LABELS])
    return prediction_frame(table, indices, fold, np.array(probabilities))
