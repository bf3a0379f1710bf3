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
import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ser_hf.audio import SAMPLE_RATE, trim_silence
from ser_hf.corpora import corpus_facts, corpus_fingerprint
from ser_hf.feature_table import default_cache_dir
from ser_hf.files import replacing
from ser_hf.labels import LABEL2ID, LABELS
from ser_hf.models.building import create_model
from ser_hf.models.extractors import window_seconds
from ser_hf.models.head import pooled_features
from ser_hf.models.precision import bfloat16_pays
from ser_hf.models.scratch import create_from_scratch
from ser_hf.models.states import cached_states, check_states_can_be_cached, upper_layers
from ser_hf.models.training import (
    ClipDataset,
    Collator,
    StatesCollator,
    StatesDataset,
)
from ser_hf.statistics import speaker_ids
from train.common import UsageError
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
                            np.save(opened, pooled(model, collator, dataset, args)[0])
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


def pooled(model: PreTrainedModel, collator: Collator, dataset: Any, args: FinetuneTrainingArguments):
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
