"""Train, calibrate and test the model of one fold."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedModel, set_seed
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.classifier import BATCH_SIZE, EmotionClassifier
from ser_hf.evaluation.runs import PREDICTIONS, read_predictions, write_predictions
from ser_hf.hub import trained_on
from ser_hf.models import window_seconds
from ser_hf.models.building import freeze_lower, masks_itself, parameter_groups
from ser_hf.models.familiarity import FAMILIAR_LAYER, Familiarity, fit_familiarity, save_familiarity
from ser_hf.models.head import fit_head
from ser_hf.models.neural import NeuralModel, save_neural
from ser_hf.models.states import upper_layers
from ser_hf.models.training import (
    AverageWeights,
    EmotionTrainer,
    WeightedSampler,
    compute_metrics,
    last_whole_checkpoint,
)
from ser_hf.protocols.folds import Fold
from ser_hf.utils.files import write_json
from train.calibration import FOLD, Calibration, apply_calibration, fitted_calibration
from train.common import milliseconds_per_clip, predict_clips
from train.finetune_data import Experiment

VALIDATION = "validation.parquet"


def run_fold(experiment: Experiment, fold: Fold, folder: Path, calibration: Calibration) -> None:
    """Train one fold; writes its model, the predictions of its validation and test clips, and last ``fold.json``.

    Args:
        calibration: used where there are no validation clips.
    """
    started = time.perf_counter()
    set_seed(experiment.training.seed)
    model, extractor = experiment.create()
    base = experiment.model.base_model
    earlier = (trained_on(base) if base else None) or []
    model.config.trained_on = list(dict.fromkeys([*earlier, *experiment.corpora[fold.train].tolist()]))
    resumed = train(model, extractor, experiment, fold, folder)
    # Of several processes, one concludes the fold, and the others wait for it.
    with experiment.training.main_process_first(local=False):
        if experiment.training.process_index == 0:
            record = conclude(model, extractor, experiment, fold, folder, calibration)
            # Of a resumed fold, the seconds are those since it was resumed.
            record |= {"seconds": round(time.perf_counter() - started, 1), "resumed": resumed}
            write_json(folder / FOLD, record)


def train(
    model: PreTrainedModel, extractor: FeatureExtractionMixin, experiment: Experiment, fold: Fold, folder: Path
) -> bool:
    """Fit the head, then fine-tune, and write ``log.json``; returns whether training was resumed."""
    arguments, augmentation, caches = experiment.model, experiment.augmentation, experiment.caches
    changes: dict[str, Any] = {"output_dir": str(folder), "push_to_hub": False}
    if not len(fold.validation):
        changes |= {"eval_strategy": "no", "load_best_model_at_end": False}
    args = dataclasses.replace(experiment.training, **changes)
    freeze_lower(model, arguments.frozen_layers)
    training, validation, collator = experiment.datasets(fold, model, extractor)
    sampler, weights = None, experiment.weights(fold.train)
    if weights is not None:
        of_items, lengths = np.resize(weights, len(training)), training.lengths() if caches else None
        batch_size = args.train_batch_size * args.world_size
        sampler = WeightedSampler(of_items, batch_size, len(fold.train), args.seed, lengths)
    with upper_layers(model, arguments.frozen_layers) if caches else contextlib.nullcontext():
        if arguments.fit_head_first:  # linear probing, then fine-tuning (LP-FT, Kumar et al. 2022)
            features, labels = experiment.head_examples(fold, model, collator, training)
            fit_head(model, features, labels, None if weights is None else np.resize(weights, len(labels)))
        averaged = arguments.ema_decay > 0
        with args.main_process_first(local=False):  # it deletes what a kill left
            last = last_whole_checkpoint(folder, averaged) if args.resume_from_checkpoint else None
        groups = parameter_groups(
            model, args.learning_rate, arguments.layer_decay, arguments.head_factor, args.weight_decay
        )
        optimizer_class, options = EmotionTrainer.get_optimizer_cls_and_kwargs(args)
        trainer = EmotionTrainer(
            model=model,
            args=args,
            train_dataset=training,
            eval_dataset=validation if len(validation) else None,
            data_collator=dataclasses.replace(
                collator,
                label_smoothing=args.label_smoothing_factor,
                mixup_alpha=augmentation.mixup_alpha,
                spec_augment=0.0 if caches or masks_itself(model) else augmentation.spec_augment,
            ),
            compute_metrics=compute_metrics,
            callbacks=[AverageWeights(arguments.ema_decay, last)] if averaged else [],
            optimizers=(optimizer_class(groups, **options), None),
            sampler=sampler,
        )
        trainer.train(resume_from_checkpoint=last)
    model.eval()
    if trainer.is_world_process_zero():
        write_json(folder / "log.json", trainer.state.log_history)
    return last is not None


def conclude(
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    experiment: Experiment,
    fold: Fold,
    folder: Path,
    calibration: Calibration,
) -> dict[str, Any]:
    """Save and calibrate the trained model of a fold and predict its clips; returns entries of ``fold.json``."""
    shutil.rmtree(folder / "model", ignore_errors=True)  # half of one, after a kill
    save_neural(model, extractor, folder / "model")
    if experiment.model.architecture is None:
        familiarity = training_distribution(model, extractor, experiment, fold.train)
        if familiarity is not None:
            save_familiarity(familiarity, folder / "model")
    classifier = EmotionClassifier.from_pretrained(folder / "model")
    for indices, name in ((fold.validation, VALIDATION), (fold.test, PREDICTIONS)):
        if len(indices):
            frame, failed = predict_clips(classifier, experiment.table, indices, fold.index)
            for error in failed.values():
                raise error
            write_predictions(folder, frame, name)
    record = {
        "index": fold.index,
        "name": fold.name,
        "temperature": 1.0,
        "answer_threshold": None,
        "n_parameters": model.num_parameters(),
        "model_bytes": (folder / "model" / "model.safetensors").stat().st_size,
    }
    if len(fold.test):
        tested = experiment.table.select(fold.test)["audio"]
        record["milliseconds_per_clip"] = milliseconds_per_clip(classifier.model, tested, classifier.window_seconds)
    if experiment.model.calibrate:
        if len(fold.validation):
            calibration = fitted_calibration([read_predictions(folder, VALIDATION)])
        record |= apply_calibration(folder, calibration)
    return record


def training_distribution(
    model: PreTrainedModel, extractor: FeatureExtractionMixin, experiment: Experiment, rows: np.ndarray
) -> Familiarity | None:
    """Distribution of the training clips, as they are and augmented, for the out-of-domain score."""
    layer = min(FAMILIAR_LAYER, model.config.num_hidden_layers)
    window = window_seconds(model, extractor)
    if experiment.caches and layer == experiment.model.frozen_layers:
        # Copies in a shorter window have other means over time than those that are scored later.
        full = max(len(experiment.states[0][row]) for row in rows)
        kept = [(row, one[row]) for one in experiment.states for row in rows if len(one[row]) == full]
        states = np.stack([one.mean(axis=0, dtype=np.float32) for _, one in kept])
        return fit_familiarity(states, experiment.speakers[[row for row, _ in kept]], layer)
    sounds = [experiment.sound(rows, window, augmented=augmented) for augmented in (False, True)]
    clips = [sound[i]["samples"] for sound in sounds for i in range(len(sound))]
    network = NeuralModel(model, extractor)
    starts = tqdm(range(0, len(clips), BATCH_SIZE), desc="Training distribution", unit="batch", leave=False)
    states = np.concatenate([network.mean_states(clips[start : start + BATCH_SIZE], layer) for start in starts])
    return fit_familiarity(states, np.tile(experiment.speakers[rows], 2), layer)
