"""What a fine-tuning run trains on: waveforms or cached states, their labels, and how often each clip is drawn."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import READING_VERSION, SAMPLE_RATE, trim_silence
from ser_hf.corpora import CORPORA, corpus_facts, corpus_fingerprint
from ser_hf.evaluation.statistics import speaker_ids
from ser_hf.features.table import default_cache_dir
from ser_hf.models import window_seconds
from ser_hf.models.building import create_model
from ser_hf.models.head import pooled_features
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.states import cached_states, check_states_can_be_cached, upper_layers
from ser_hf.models.training import ClipDataset, Collator, StatesCollator, StatesDataset
from ser_hf.protocols.folds import Fold
from ser_hf.utils.files import replacing
from train.common import UsageError, require
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

CACHE_VERSION = 1  # of what is cached: augmentation, spectrograms, frozen layers


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
        return np.array(self.table["emotion"][:])

    @property
    def names(self) -> list[str]:
        """The labels that are trained."""
        return self.table.features["emotion"].names

    @cached_property
    def corpora(self) -> np.ndarray:
        return np.array(self.table["corpus"][:])

    @cached_property
    def speakers(self) -> np.ndarray:
        return speaker_ids(self.table.select_columns(["corpus", "speaker"]).to_pandas())

    @cached_property
    def masked(self) -> np.ndarray:
        """Labels that a clip may have, too: what is neutral may be calm in a corpus that has no calm."""
        masked = np.zeros((len(self.labels), len(self.names)), dtype=bool)
        if {"calm", "neutral"} <= set(self.names):
            without = [name for name in np.unique(self.corpora) if name in CORPORA and not corpus_facts(name).has_calm]
            is_neutral = self.labels == self.names.index("neutral")
            masked[:, self.names.index("calm")] = np.isin(self.corpora, without) & is_neutral
        return masked

    @property
    def caches(self) -> bool:
        """Whether the states behind the frozen layers are cached."""
        return bool(self.model.frozen_layers and self.augmentation.copies)

    def check(self, fold: Fold) -> None:
        """Refuse a fold whose corpora cannot have their weights, or whose cached copies would hold tested clips."""
        self.weights(fold.train)
        if self.augmentation.copies and self.augmentation.join_probability:
            held_out = self.speakers[np.concatenate([fold.test, fold.validation])]
            require(
                not np.isin(held_out, self.speakers[fold.train]).any(),
                "cached copies with --join_probability may hold tested clips where a speaker is in training and test: "
                "take --join_probability 0",
            )

    def create(self) -> tuple[PreTrainedModel, FeatureExtractionMixin]:
        """The model that every fold starts from, and its feature extractor."""
        model = self.model
        if model.architecture:
            return create_from_scratch(
                model.architecture, self.names, model.window_seconds, model.hidden_size, model.num_layers, model.dropout
            )
        spec_augment = self.augmentation.spec_augment
        return create_model(model.base_model, self.names, model.num_layers, model.window_seconds, spec_augment)

    def datasets(
        self, fold: Fold, model: PreTrainedModel, extractor: FeatureExtractionMixin
    ) -> tuple[ClipDataset | StatesDataset, ClipDataset | StatesDataset, Collator]:
        """The training and validation examples of a fold, and a collator without mixup and SpecAugment."""
        if not self.caches:
            window = window_seconds(model, extractor)
            training = self.sound(fold.train, window, augmented=True)
            return training, self.sound(fold.validation, window), Collator(extractor, len(self.names))
        of_table, keep = (self.labels, self.masked), self.augmentation.keep_positions
        states = StatesDataset(self.states, fold.train, *of_table, seed=self.training.seed, keep=keep)
        if self.augmentation.corpus_shift:
            states.groups, states.means = self.corpus_means(fold.train)
        validation = StatesDataset(self.states[:1], fold.validation, *of_table)
        return states, validation, StatesCollator(extractor, len(self.names))

    def sound(self, rows: np.ndarray, window: float, augmented: bool = False, **options: Any) -> ClipDataset:
        """Rows of the table as waveforms, trimmed as for a prediction or augmented in each epoch; window in seconds."""
        if augmented:
            join = self.augmentation.join_probability
            options |= {"augment": self.augmentation.augmentation(), "join_probability": join}
        return ClipDataset(
            [self.clips[row] if augmented else trim_silence(self.clips[row]) for row in rows],
            self.labels[rows].tolist(),
            int(window * SAMPLE_RATE),
            speakers=self.speakers[rows].tolist(),
            masked=self.masked[rows],
            **{"seed": self.training.seed} | options,
        )

    def head_examples(
        self, fold: Fold, model: PreTrainedModel, collator: Collator, training: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pooled features, and labels, that the head of a fold is fitted on: of its clips as they are and augmented."""
        if self.caches:  # the same in every fold, since nothing is trained yet
            features = self.probed_states[:, fold.train].reshape(len(training), -1)
            return features, np.tile(self.labels[fold.train], len(self.states))
        plain, plain_labels = self.pooled(model, collator, dataclasses.replace(training, augment=None))
        augmented, labels = self.pooled(model, collator, training)
        return np.concatenate([plain, augmented]), np.concatenate([plain_labels, labels])

    def pooled(self, model: PreTrainedModel, collator: Collator, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        """Pooled features and labels of a dataset's items (see `pooled_features`)."""
        args = self.training
        return pooled_features(model.to(args.device), collator, dataset, args.per_device_eval_batch_size, args.bf16)

    @cached_property
    def state_files(self) -> dict[tuple[int, str], Path]:
        """Where the states of each copy (0: the clips as they are) of each corpus are cached."""
        model, extractor = self.create()
        lower = ("encoder.conv", "encoder.embed", *(f"encoder.layers.{i}." for i in range(self.model.frozen_layers)))
        settings = {**dataclasses.asdict(self.augmentation.augmentation()), "join": self.augmentation.join_probability}
        window = window_seconds(model, extractor)
        common = [READING_VERSION, CACHE_VERSION, weights_digest(model, lower), window, self.training.bf16]
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
        """States of the whole table behind the frozen layers: of the clips as they are, then of each copy."""
        model, extractor = self.create()
        check_states_can_be_cached(model, self.model.frozen_layers)
        args, window = self.training, window_seconds(model, extractor)
        model.eval().to(args.device)
        versions = [[np.zeros(0)] * len(self.table) for _ in range(self.augmentation.copies + 1)]
        for (copy, corpus), file in self.state_files.items():
            rows = np.flatnonzero(self.corpora == corpus)
            # The same copies for every seed of a training.
            how: dict[str, Any] = {"augmented": True, "short_windows": True, "epoch": copy, "seed": 0} if copy else {}
            sound = self.sound(rows, window, **how)
            with args.main_process_first(desc="cached states"):
                options = {"bfloat16": args.bf16, "workers": args.dataloader_num_workers}
                of_corpus = cached_states(model, extractor, self.model.frozen_layers, sound, file, **options)
            for row, one in zip(rows, of_corpus, strict=True):
                versions[copy][row] = one
        return versions

    @cached_property
    def probed_states(self) -> np.ndarray:
        """Output of the encoder as pretrained, pooled over time: float32 (versions, clips, hidden size); cached too."""
        model, extractor = self.create()
        collator = StatesCollator(extractor, len(self.names))
        digest = weights_digest(model, ("encoder.layers", "encoder.layer_norm"))
        features = np.zeros((len(self.states), len(self.table), model.config.hidden_size), np.float32)
        with upper_layers(model, self.model.frozen_layers):
            for (copy, corpus), states in self.state_files.items():
                file = states.with_name(f"{states.stem}-pooled-{digest}.npy")
                rows = np.flatnonzero(self.corpora == corpus)
                with self.training.main_process_first(desc="cached features"):
                    if not file.exists():
                        dataset = StatesDataset([self.states[copy]], rows, self.labels)
                        with replacing(file) as part, part.open("wb") as opened:
                            np.save(opened, self.pooled(model, collator, dataset)[0])
                features[copy, rows] = np.load(file)
        return features

    @cached_property
    def mean_states(self) -> np.ndarray:
        """States of the clips as they are, averaged over time: float32 (clips, hidden size)."""
        return np.stack([one.mean(axis=0, dtype=np.float32) for one in self.states[0]])

    def corpus_means(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corpus of each clip of the table, an int, and the mean states of each: float32 (corpora, hidden size).

        The labels of a corpus have the same weight in its mean, so that it is that of voice, room and microphone.
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
            counts = np.bincount(labels[own], minlength=len(self.names))
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
    """Each corpus's share of the training examples.

    Args:
        words: as in "ravdess=0.35,emodb=0.1"; names of corpora that are not there are ignored.
        corpora: of each training clip.
    """
    try:
        named = {name.strip(): float(share) for name, share in (part.split("=") for part in words.split(","))}
    except ValueError:
        raise UsageError(f"--corpus_weights takes NAME=SHARE, as in ravdess=0.35, not {words!r}") from None
    valid = min(named.values()) > 0 and sum(named.values()) <= 1
    require(valid, f"--corpus_weights {words}: shares must be above 0, and their sum at most 1")
    names, counts = np.unique(corpora, return_counts=True)
    named = {name: share for name, share in named.items() if name in names}
    others = {name: count**0.5 for name, count in zip(names.tolist(), counts, strict=True) if name not in named}
    rest = 1 - sum(named.values())
    require(rest or not others, f"--corpus_weights {words} leaves nothing for {', '.join(others)}")
    shares = named | {name: rest * root / sum(others.values()) for name, root in others.items()}
    return {name: share / sum(shares.values()) for name, share in shares.items()}
