"""Training, calibrating and testing the model of one fold."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, set_seed
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import SAMPLE_RATE, AudioError, trim_silence
from ser_hf.classifier import BATCH_SIZE, EmotionClassifier
from ser_hf.corpora import corpus_facts, corpus_fingerprint
from ser_hf.feature_table import default_cache_dir
from ser_hf.files import replacing, replacing_folder, write_json
from ser_hf.labels import LABEL2ID, LABELS
from ser_hf.metrics import confidence_threshold, fit_temperature, probability_matrix, softmax
from ser_hf.models.building import create_model, freeze_lower, masks_itself
from ser_hf.models.extractors import window_seconds
from ser_hf.models.familiarity import FAMILIAR_LAYER, Familiarity, fit_familiarity, save_familiarity
from ser_hf.models.head import fit_head, pooled_features, scale_logits
from ser_hf.models.neural import NeuralModel, load_neural, save_neural
from ser_hf.models.precision import bfloat16_pays
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.states import cached_states, check_states_can_be_cached, upper_layers
from ser_hf.models.training import (
    AverageWeights,
    ClipDataset,
    Collator,
    EmotionTrainer,
    StatesCollator,
    StatesDataset,
    WeightedSampler,
    compute_metrics,
    last_whole_checkpoint,
)
from ser_hf.runs import PREDICTIONS, prediction_frame, read_predictions, read_run_json, write_predictions
from ser_hf.splits import Fold
from ser_hf.statistics import speaker_ids
from train.common import UsageError, milliseconds_per_clip
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

FOLD, VALIDATION = "fold.json", "validation.parquet"
CACHE_VERSION = 1  # of what is cached: augmentation, spectrograms, frozen layers


@dataclass(frozen=True)
class Calibration:
    """What makes the confidence of a model that of its accuracy.

    Attributes:
        temperature: divides the logits.
        threshold: of a confident prediction (`ser_hf.metrics.confidence_threshold`); None if not known.
    """

    temperature: float = 1.0
    threshold: float | None = None


@dataclass
class Experiment:
    """The clips of a table and how a model of any fold is trained on them.

    Attributes:
        table: a clip table.
        clips: float32 mono waveforms at 16 kHz, one per row.
        model, augmentation, training: the arguments, resolved.
    """

    table: Dataset
    clips: Sequence[np.ndarray]
    model: ModelArguments
    augmentation: AugmentationArguments
    training: FinetuneTrainingArguments

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array(self.table["emotion"])

    @cached_property
    def corpora(self) -> np.ndarray:
        return np.array(self.table["corpus"])

    @cached_property
    def speakers(self) -> np.ndarray:
        return speaker_ids(self.table.select_columns(["corpus", "speaker"]).to_pandas())

    @cached_property
    def masked(self) -> np.ndarray:
        """Labels that a clip says nothing about: what is neutral may be calm in a corpus that has no calm."""
        masked = np.zeros((len(self.labels), len(LABELS)), dtype=bool)
        without = [name for name in np.unique(self.corpora) if not corpus_facts(name).has_calm]
        masked[np.isin(self.corpora, without) & (self.labels == LABEL2ID["neutral"]), LABEL2ID["calm"]] = True
        return masked

    @property
    def caches(self) -> bool:
        """Whether the states behind the frozen layers are cached."""
        return bool(self.model.frozen_layers and self.augmentation.copies)

    def create(self) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
        """The model that every fold starts from, and its feature extractor."""
        model = self.model
        if model.architecture:
            return create_from_scratch(
                model.architecture,
                window=model.window_seconds,
                hidden_size=model.hidden_size,
                num_layers=model.num_layers,
                dropout=model.dropout,
            )
        assert model.base_model is not None, "arguments are resolved"
        return create_model(
            model.base_model,
            num_layers=model.num_layers,
            window=model.window_seconds,
            spec_augment=self.augmentation.spec_augment,
        )

    def fold_arguments(self, folder: Path, has_validation: bool) -> FinetuneTrainingArguments:
        """The training arguments of one fold: its own folder, this machine's arithmetic."""
        training = self.training
        bfloat16 = bfloat16_pays() if training.precision == "auto" else training.precision == "bfloat16"
        changes: dict[str, Any] = {"output_dir": str(folder), "bf16": bfloat16, "push_to_hub": False}
        changes["use_cpu"] = not torch.cuda.is_available()
        if not has_validation:
            changes |= {"eval_strategy": "no", "load_best_model_at_end": False}
        return dataclasses.replace(training, **changes)

    def sound(self, rows: np.ndarray, window: float, augmented: bool = False, **options: Any) -> ClipDataset:
        """Rows of the table as waveforms, trimmed as for a prediction or augmented in each epoch; window in seconds."""
        changes: dict[str, Any] = {}
        if augmented:
            changes = {
                "augment": self.augmentation.augmentation(),
                "join_probability": self.augmentation.join_probability,
            }
        return ClipDataset(
            [self.clips[row] if augmented else trim_silence(self.clips[row]) for row in rows],
            self.labels[rows].tolist(),
            int(window * SAMPLE_RATE),
            speakers=self.speakers[rows].tolist(),
            masked=self.masked[rows],
            seed=self.training.seed,
            **changes,
            **options,
        )

    @cached_property
    def state_files(self) -> dict[tuple[int, str], Path]:
        """Where the states of each copy (0: the clips as they are) of each corpus are cached."""
        model, extractor = self.create()
        lower = ("encoder.conv", "encoder.embed", *(f"encoder.layers.{i}." for i in range(self.model.frozen_layers)))
        settings = {**dataclasses.asdict(self.augmentation.augmentation()), "join": self.augmentation.join_probability}
        bfloat16 = self.fold_arguments(Path(self.training.output_dir), False).bf16
        common = [CACHE_VERSION, weights_digest(model, lower), window_seconds(model, extractor), bfloat16]
        files = {}
        for corpus in dict.fromkeys(self.corpora.tolist()):
            fingerprint = corpus_fingerprint(self.table.select(np.flatnonzero(self.corpora == corpus)))
            for copy in range(self.augmentation.copies + 1):
                key = json.dumps([*common, fingerprint, *([copy, settings] if copy else ["trimmed"])], sort_keys=True)
                digest = hashlib.sha256(key.encode()).hexdigest()[:16]
                files[copy, corpus] = default_cache_dir().with_name("states") / f"{corpus}-{copy}-{digest}.npy"
        return files

    @cached_property
    def states(self) -> list[list[np.ndarray]]:
        """States of the whole table behind the frozen layers: of the clips as they are, then of each copy.

        Raises:
            ModelError: the model does not allow it.
        """
        model, extractor = self.create()
        check_states_can_be_cached(model, self.model.frozen_layers)
        args, window = self.fold_arguments(Path(self.training.output_dir), False), window_seconds(model, extractor)
        model.eval().to(args.device)
        versions = [[np.zeros(0)] * len(self.table) for _ in range(self.augmentation.copies + 1)]
        for (copy, corpus), file in self.state_files.items():
            rows = np.flatnonzero(self.corpora == corpus)
            sound = self.sound(rows, window)
            if copy:
                sound = self.sound(rows, window, augmented=True, short_windows=True, epoch=copy)
                sound.seed = 0  # the same copies for every seed of a training
            with args.main_process_first(desc="cached states"):
                how = {"bfloat16": args.bf16, "workers": args.dataloader_num_workers}
                of_corpus = cached_states(model, extractor, self.model.frozen_layers, sound, file, **how)
            for row, one in zip(rows, of_corpus, strict=True):
                versions[copy][row] = one
        return versions

    @cached_property
    def probed_states(self) -> np.ndarray:
        """Output of the encoder as pretrained, pooled over time: float32 (versions, clips, hidden size); cached too."""
        model, extractor = self.create()
        args = self.fold_arguments(Path(self.training.output_dir), False)
        collator = StatesCollator(extractor, len(LABELS))
        digest = weights_digest(model, ("encoder.layers", "encoder.layer_norm"))
        features = np.zeros((len(self.states), len(self.table), model.config.hidden_size), np.float32)
        with upper_layers(model, self.model.frozen_layers):
            for (copy, corpus), states in self.state_files.items():
                file = states.with_name(f"{states.stem}-pooled-{digest}.npy")
                rows = np.flatnonzero(self.corpora == corpus)
                with args.main_process_first(desc="cached features"):
                    if not file.exists():
                        dataset = StatesDataset([self.states[copy]], rows, self.labels)
                        with replacing(file) as part, part.open("wb") as opened:
                            np.save(opened, _pooled(model, collator, dataset, args)[0])
                features[copy, rows] = np.load(file)
        return features

    @cached_property
    def mean_states(self) -> np.ndarray:
        """States of the clips as they are, averaged over time: float32 (clips, hidden size)."""
        return np.stack([one.mean(axis=0, dtype=np.float32) for one in self.states[0]])

    def corpus_means(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which corpus each row of the table is of, and the mean states of each corpus among ``rows``.

        The labels of a corpus have the same weight in its mean, so that it is that of voice, room and microphone.

        Returns:
            int (clips of the table,), and float32 (corpora, hidden size).
        """
        names, means = np.unique(self.corpora[rows]), []
        for name in names:
            own = rows[self.corpora[rows] == name]
            by_label = [self.mean_states[own[self.labels[own] == label]] for label in np.unique(self.labels[own])]
            means.append(np.mean([states.mean(axis=0) for states in by_label], axis=0))
        return np.searchsorted(names, self.corpora), np.stack(means)

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        """How often each row is drawn in training, by --corpus_weights; None: each once an epoch."""
        if self.training.corpus_weights is None:
            return None
        corpora, labels = self.corpora[rows], self.labels[rows]
        shares = corpus_shares(self.training.corpus_weights, corpora)
        weights = np.zeros(len(rows))
        for corpus, share in shares.items():
            own = corpora == corpus
            counts = np.bincount(labels[own], minlength=len(LABELS))
            weights[own] = share / np.count_nonzero(counts) / counts[labels[own]]
        return weights


def weights_digest(model: PreTrainedModel, names: tuple[str, ...]) -> str:
    """16 hexadecimal digits of the weights whose names begin so."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if name.startswith(names):
            digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def corpus_shares(words: str, corpora: np.ndarray) -> dict[str, float]:
    """Each corpus's share of the training examples; see --corpus_weights.

    Args:
        words: as in "ravdess=0.35,emodb=0.1"; names of corpora that are not there are ignored.
        corpora: of each training clip.

    Raises:
        UsageError: words that are not NAME=SHARE with shares above 0 whose sum is at most 1.
    """
    try:
        named = {name.strip(): float(share) for name, share in (part.split("=") for part in words.split(","))}
    except ValueError:
        raise UsageError(f"--corpus_weights takes NAME=SHARE, as in ravdess=0.35, not {words!r}") from None
    names, counts = np.unique(corpora, return_counts=True)
    if min(named.values()) <= 0 or sum(named.values()) > 1:
        raise UsageError(f"--corpus_weights {words}: shares must be above 0, and their sum at most 1")
    named = {name: share for name, share in named.items() if name in names}
    others = {name: count**0.5 for name, count in zip(names.tolist(), counts, strict=True) if name not in named}
    if others and sum(named.values()) == 1:
        raise UsageError(f"--corpus_weights {words} leaves nothing for {', '.join(others)}")
    rest = 1 - sum(named.values())
    shares = named | {name: rest * root / sum(others.values()) for name, root in others.items()}
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def run_fold(experiment: Experiment, fold: Fold, folder: Path, calibration: Calibration) -> None:
    """Train one fold; writes its model, the predictions of its validation and test clips, and last ``fold.json``.

    Args:
        calibration: of a model that has no validation clips to be calibrated on.
    """
    started = time.perf_counter()
    args = experiment.fold_arguments(folder, has_validation=len(fold.validation) > 0)
    set_seed(args.seed)
    model, extractor = experiment.create()
    model.config.trained_on = list(dict.fromkeys(experiment.corpora[fold.train].tolist()))
    resumed = train(model, extractor, experiment, fold, args)
    # Of several processes, one concludes the fold, and the others wait for it.
    with args.main_process_first(local=False, desc="the conclusion of the fold"):
        if args.process_index == 0:
            conclude(model, extractor, experiment, fold, folder, calibration, started, resumed)


def train(
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    experiment: Experiment,
    fold: Fold,
    args: FinetuneTrainingArguments,
) -> bool:
    """Fit the head, then fine-tune, and write ``log.json``; returns whether training was resumed."""
    arguments, augmentation, folder = experiment.model, experiment.augmentation, Path(args.output_dir)
    assert arguments.layer_decay is not None, "arguments are resolved"
    assert arguments.head_factor is not None, "arguments are resolved"
    freeze_lower(model, arguments.frozen_layers)
    weights, sampler, lengths = experiment.weights(fold.train), None, None
    training: Any
    validation: Any
    collator: Collator
    if experiment.caches:
        collator, of_table = StatesCollator(extractor, len(LABELS)), (experiment.labels, experiment.masked)
        training = StatesDataset(
            experiment.states, fold.train, *of_table, seed=args.seed, keep=augmentation.keep_positions
        )
        if augmentation.corpus_shift:
            training.groups, training.means = experiment.corpus_means(fold.train)
        validation = StatesDataset(experiment.states[:1], fold.validation, *of_table)
        lengths = training.lengths()
    else:
        collator, window = Collator(extractor, len(LABELS)), window_seconds(model, extractor)
        training = experiment.sound(fold.train, window, augmented=True)
        validation = experiment.sound(fold.validation, window)
    if weights is not None:
        weights = np.tile(weights, len(training) // len(weights))
        sampler = WeightedSampler(weights, args.train_batch_size * args.world_size, len(fold.train), args.seed, lengths)
    with upper_layers(model, arguments.frozen_layers) if experiment.caches else contextlib.nullcontext():
        if arguments.fit_head_first:
            if experiment.caches:  # the same in every fold, since nothing is trained yet
                features = experiment.probed_states[:, fold.train].reshape(len(training), -1)
                labels = np.tile(experiment.labels[fold.train], len(experiment.states))
            else:
                found = [
                    _pooled(model, collator, one, args)
                    for one in (dataclasses.replace(training, augment=None), training)
                ]
                features, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
            tiled = None if weights is None else np.tile(weights, len(labels) // len(weights))
            fit_head(model, features, labels, tiled)
        with args.main_process_first(local=False, desc="what a kill left"):
            averaged = arguments.ema_decay > 0
            last = last_whole_checkpoint(folder, averaged) if args.resume_from_checkpoint else None
        trainer = EmotionTrainer(
            model=model,
            args=args,
            train_dataset=training,
            eval_dataset=validation if len(validation) else None,
            data_collator=dataclasses.replace(
                collator,
                label_smoothing=args.label_smoothing_factor,
                mixup_alpha=augmentation.mixup_alpha,
                mixup_probability=augmentation.mixup_probability,
                spec_augment=0.0 if experiment.caches or masks_itself(model) else augmentation.spec_augment,
            ),
            compute_metrics=compute_metrics,
            callbacks=[AverageWeights(arguments.ema_decay, last)] if averaged else [],
            layer_decay=arguments.layer_decay,
            head_factor=arguments.head_factor,
            sampler=sampler,
        )
        trainer.train(resume_from_checkpoint=last)
    model.eval()
    if trainer.is_world_process_zero():
        write_json(folder / "log.json", trainer.state.log_history)
    return last is not None


def _pooled(model: PreTrainedModel, collator: Collator, dataset: Any, args: FinetuneTrainingArguments):
    """Pooled features and labels of a dataset's clips, in their order, from the encoder before any training."""
    model.to(args.device)
    lengths = dataset.lengths() if isinstance(dataset, StatesDataset) else np.zeros(len(dataset))
    order = np.argsort(lengths, kind="stable")
    # A batch holds clips of one length, since a batch of states is cut to its shortest.
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    size = args.per_device_eval_batch_size
    parts = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    batches = (collator([dataset[i] for i in part]) for part in tqdm(parts, desc="Fitting the head", leave=False))
    features, labels = pooled_features(model, batches, bfloat16=args.bf16)
    back = np.argsort(order)
    return features[back], labels[back]


def conclude(
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    experiment: Experiment,
    fold: Fold,
    folder: Path,
    calibration: Calibration,
    started: float,
    resumed: bool,
) -> None:
    """Calibrate and save the trained model of a fold, predict its test clips, and write ``fold.json``.

    Args:
        calibration: of a model that has no validation clips to be calibrated on.
        started: when the fold began, by ``time.perf_counter``.
        resumed: whether its training was resumed from a checkpoint.
    """
    shutil.rmtree(folder / "model", ignore_errors=True)  # half of one, after a kill
    save_neural(model, extractor, folder / "model")
    if experiment.model.familiarity:
        familiarity = training_distribution(model, extractor, experiment, fold.train)
        if familiarity is not None:
            save_familiarity(familiarity, folder / "model")
    classifier = EmotionClassifier.from_pretrained(folder / "model")
    for indices, name in ((fold.validation, VALIDATION), (fold.test, PREDICTIONS)):
        if len(indices):
            write_predictions(folder, predict_rows(classifier, experiment.table, indices, fold.index), name)
    record = {
        "index": fold.index,
        "name": fold.name,
        "temperature": 1.0,
        "answer_threshold": None,
        "seconds": round(time.perf_counter() - started, 1),  # of a resumed fold, since it was resumed
        "resumed": resumed,
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
    write_json(folder / FOLD, record)


def fitted_calibration(frames: Sequence[pd.DataFrame]) -> Calibration:
    """Temperature and threshold that fit predictions on clips that the models were not trained on.

    Args:
        frames: uncalibrated predictions; each frame (a left-out fold) has the same weight.
    """
    rows = [probability_matrix(frame)[0] for frame in frames]
    labels = np.concatenate([frame["emotion"].map(LABEL2ID).to_numpy() for frame in frames])
    weights = np.concatenate([np.full(len(frame), 1 / len(frame)) for frame in frames])
    # Log-probabilities are logits up to a constant that the softmax takes out.
    logits = np.log(np.clip(np.concatenate(rows), 1e-12, None))
    temperature = fit_temperature(logits, labels, weights)
    return Calibration(temperature, confidence_threshold(softmax(logits / temperature), labels, weights))


def calibrated(frame: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """A table of predictions with its logits divided by a temperature, and whether each is confident."""
    rows, names = probability_matrix(frame)
    scaled = softmax(np.log(np.clip(rows, 1e-12, None)) / calibration.temperature).astype(np.float32)
    columns: dict[str, Any] = {f"p_{name}": scaled[:, index] for index, name in enumerate(names)}
    if calibration.threshold is not None:
        columns["confident"] = scaled.max(axis=1) >= calibration.threshold
    return frame.assign(**columns)


def apply_calibration(folder: Path, calibration: Calibration) -> dict[str, Any]:
    """Give the model of a fold a calibration, in place of the one that it has; returns the entries of ``fold.json``."""
    asked = load_neural(folder / "model")
    model = asked.model
    scale_logits(model, calibration.temperature / getattr(model.config, "calibration_temperature", 1.0))
    model.config.calibration_temperature = calibration.temperature
    if calibration.threshold is not None:
        model.config.answer_threshold = calibration.threshold
    with replacing_folder(folder / "model") as part:
        save_neural(model, asked.feature_extractor, part)
        if asked.familiarity is not None:
            save_familiarity(asked.familiarity, part)
    return {"temperature": calibration.temperature, "answer_threshold": calibration.threshold}


def cross_fit(folders: Sequence[Path], usable: Sequence[bool]) -> None:
    """Calibrate the model of each fold on the test predictions of all other folds.

    Args:
        folders: of the folds, at least two.
        usable: whether the predictions of a fold may serve; False for a corpus that is for tests alone.
    """
    frames = [read_predictions(folder) for folder in folders]
    for position, folder in enumerate(folders):
        others = [frames[other] for other in range(len(frames)) if other != position and usable[other]]
        record = json.loads((folder / FOLD).read_text(encoding="utf-8"))
        (folder / FOLD).unlink()  # a kill while the model is replaced must not leave a fold that counts as finished
        record |= apply_calibration(folder, fitted_calibration(others) if others else Calibration())
        write_json(folder / FOLD, record)


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a fold whose ``fold.json`` is written: its weights are in its model folder.

    Not before: a run cannot be resumed from a checkpoint that is half deleted.
    """
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


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
    asked = NeuralModel(model, extractor)
    starts = tqdm(range(0, len(clips), BATCH_SIZE), desc="Training distribution", unit="batch", leave=False)
    states = np.concatenate([asked.mean_states(clips[start : start + BATCH_SIZE], layer) for start in starts])
    return fit_familiarity(states, np.tile(experiment.speakers[rows], 2), layer)


def earlier_calibration(reference_run: str, protocol: str, fold: int) -> Calibration:
    """The calibration that an earlier run found on clips that it held out of training.

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
    found = tqdm(classifier.predict_many(rows["audio"]), total=len(rows), desc="Predicting", unit="clip", leave=False)
    probabilities, distances = [], []
    for prediction in found:
        if isinstance(prediction, AudioError):
            raise prediction
        probabilities.append([prediction.scores[label] for label in LABELS])
        distances.append(prediction.distance)
    frame = prediction_frame(table, indices, fold, np.array(probabilities))
    return frame if None in distances else frame.assign(distance=np.array(distances, dtype=np.float32))
