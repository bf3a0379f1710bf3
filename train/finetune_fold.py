"""Training, calibrating and testing the model of one fold."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, set_seed
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import AudioError
from ser_hf.classifier import BATCH_SIZE, EmotionClassifier
from ser_hf.files import write_json
from ser_hf.labels import LABEL2ID, LABELS
from ser_hf.metrics import answer_threshold, fit_temperature, probability_matrix
from ser_hf.models.familiarity import FAMILIAR_LAYER, fit_familiarity, save_familiarity
from ser_hf.models.frozen import FrozenStates, above_frozen
from ser_hf.models.head import scale_logits
from ser_hf.models.neural import NeuralModel, save_neural
from ser_hf.models.training import ClipDataset
from ser_hf.runs import PREDICTIONS, prediction_frame, read_predictions, read_run_json, write_predictions
from ser_hf.splits import Fold
from train.common import UsageError, milliseconds_per_clip
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments
from train.finetune_learning import (
    Sound,
    fold_training_arguments,
    learn,
    lessons_of_sound,
    lessons_of_states,
    make_model,
    table_speakers,
)

FOLD, VALIDATION = "fold.json", "validation.parquet"
HELD_OUT = "held-out"  # in the folder of a fold: the model that found the temperature of the one that was refitted


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
    states: FrozenStates | None = None,
) -> None:
    """Train one fold; writes its model, the predictions of its validation and test clips, and last ``fold.json``.

    With ``--refit``, a first model, which leaves the validation clips out, calibrates the one that learns from them.

    Args:
        calibration: of a model that has no validation clips to find its own on.
        states: what the frozen layers give for all clips, where ``--frozen_versions`` keeps it.
    """
    started = time.perf_counter()
    first = folder / HELD_OUT
    refit = model_arguments.refit and len(fold.validation) > 0
    if refit:
        if not (first / FOLD).exists():
            alone = dataclasses.replace(model_arguments, refit=False, familiarity=False)
            untested = dataclasses.replace(fold, test=fold.test[:0])
            run_fold(table, clips, untested, first, alone, augmentation, training, Calibration(), states)
        record = json.loads((first / FOLD).read_text(encoding="utf-8"))
        calibration = Calibration(record["temperature"], record["answer_threshold"])
        fold = train_on_validation(fold)
    args = fold_training_arguments(training, folder, has_validation=len(fold.validation) > 0)
    set_seed(args.seed)
    model, extractor = make_model(model_arguments, augmentation.spec_augment)
    model.config.learned_from = list(dict.fromkeys(table.select(fold.train)["corpus"]))
    sound = Sound(clips, np.array(table["emotion"]), table_speakers(table), model, extractor, args.seed)
    learning: contextlib.AbstractContextManager[None]
    if states is None:
        lessons, learning = lessons_of_sound(sound, fold, augmentation), contextlib.nullcontext()
    else:
        lessons = lessons_of_states(states, fold, extractor, args.seed)
        learning = above_frozen(model, model_arguments.kept_layers)
    with learning:
        resumed = learn(model, lessons, folder, model_arguments, augmentation, args)
    # Of several processes, one concludes the fold, and the others wait for it.
    with args.main_process_first(local=False, desc="the conclusion of the fold"):
        if args.process_index == 0:
            if refit:
                shutil.copy(first / VALIDATION, folder / VALIDATION)
            conclude(table, fold, folder, sound, model_arguments, augmentation, calibration, started, resumed)


def train_on_validation(fold: Fold) -> Fold:
    """The fold with its validation clips among those to train on."""
    train = np.sort(np.concatenate([fold.train, fold.validation]))
    return dataclasses.replace(fold, train=train, validation=fold.validation[:0])


def conclude(
    table: Dataset,
    fold: Fold,
    folder: Path,
    sound: Sound,
    model_arguments: ModelArguments,
    augmentation: AugmentationArguments,
    calibration: Calibration,
    started: float,
    resumed: bool,
) -> None:
    """Calibrate and save the trained model of a fold, let it answer, and write ``fold.json``.

    Args:
        sound: whose model it is.
        calibration: of a model that has no validation clips to find its own on.
        started: when the fold was begun, by ``time.perf_counter``.
        resumed: whether its training went on from a checkpoint.
    """
    model, extractor = sound.model, sound.extractor
    shutil.rmtree(folder / "model", ignore_errors=True)  # half of one, if this was broken off before
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
        voices = dataclasses.replace(augmentation, copies=0, no_speech=0.0)
        heard = [sound.of(fold.train), sound.of(fold.train, voices)]
        learn_familiarity(model, extractor, heard, np.tile(sound.speakers[fold.train], len(heard)), folder / "model")
    # Of a resumed fold, these are the seconds since it was taken up again.
    record = {
        "index": fold.index,
        "temperature": temperature,
        "answer_threshold": threshold,
        "seconds": round(time.perf_counter() - started, 1),
        "resumed": resumed,
        "n_parameters": model.num_parameters(),
        "model_bytes": (folder / "model" / "model.safetensors").stat().st_size,
    }
    if len(fold.test):
        tested = table.select(fold.test)["audio"]
        record["milliseconds_per_clip"] = milliseconds_per_clip(classifier.model, tested, classifier.window_seconds)
    write_json(folder / FOLD, record)


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a fold whose ``fold.json`` is written: its weights are in its model folder.

    And with them the model that it was calibrated by, if it was refitted. Not before: of a checkpoint that is half
    deleted, no run that broke off can go on. Optimiser states make them three times as large as the weights.
    """
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    shutil.rmtree(folder / HELD_OUT, ignore_errors=True)


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
