"""What every training and evaluation command shares: which clips it is about, and what a wrong argument raises."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.corpora import expand_corpora, load_corpus
from ser_hf.names import unknown_name
from ser_hf.protocols import PROTOCOLS
from ser_hf.runs import METRICS, read_run_json
from ser_hf.splits import Fold, column_names, make_folds

TIMED_CLIPS = 10


class UsageError(ValueError):
    """Arguments that cannot be carried out; the message says which and what to do."""


@dataclass
class DataArguments:
    """What is trained and tested on.

    `load_clip_table` replaces a name that stands for several corpora, such as all-training, by their names.

    Attributes:
        corpora: what the protocol divides; for "cross", the same as `train_corpora`.
        train_corpora: what trains in every fold, whole.
        test_corpora: what is tested whole and never trains.
    """

    _argument_group_name = "data: which clips train, and which are tested"

    corpora: list[str] = field(
        default_factory=lambda: ["ravdess"],
        metadata={"help": "Corpora that the protocol divides, e.g. ravdess tess, or all-training."},
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)."},
    )
    protocol: str = field(
        default="actor",
        metadata={
            "help": "Which clips are tested: 'actor' (five speaker-independent folds, the headline figure), 'random' "
            "(speaker-dependent), 'emobox' (RAVDESS alone), 'loao' (leave one speaker of one corpus out), 'loco' "
            "(leave one corpus out), 'cross' (train on --train_corpora, test on --test_corpora), 'full' (train on "
            "everything, test on nothing: the published model), or 'develop' (to choose a recipe: what 'actor' tests "
            "is left out, and some of the speakers that train there are tested).",
            "choices": list(PROTOCOLS),
        },
    )
    train_corpora: list[str] = field(
        default_factory=list, metadata={"help": "Corpora that train in every fold, e.g. tess cremad, or all-training."}
    )
    test_corpora: list[str] = field(
        default_factory=list,
        metadata={"help": "With --protocol cross or loco: corpora that are tested and never train, e.g. savee."},
    )
    folds: str | None = field(
        default=None,
        metadata={"help": "Run only these folds, e.g. 0,1, or with --protocol loco emodb,savee (default: all)."},
    )
    folds_from: str | None = field(
        default=None,
        metadata={
            "help": "Dataset that says which clip is tested in which fold, as train.publish makes it: USER/NAME or "
            "USER/NAME@REVISION on the Hub, or a folder (default: the folds that come with ser_hf)."
        },
    )

    def __post_init__(self) -> None:
        for name in ("corpora", "train_corpora", "test_corpora"):
            setattr(self, name, names_of(getattr(self, name)))
        if self.protocol == "cross":
            self.corpora = list(self.train_corpora)

    @property
    def undivided(self) -> list[str]:
        """The corpora that train whole in every fold, beside the training part of those that are divided."""
        return [] if self.protocol == "cross" else self.train_corpora

    @property
    def trained_on(self) -> list[str]:
        """The corpora that this run trains on; one fold of "loco" trains on all of them but the one that it tests."""
        return [*self.corpora, *self.undivided]

    @property
    def corpus_names(self) -> list[str]:
        """The corpora that are read, in the order of the table."""
        return [*self.trained_on, *self.test_corpora]

    @property
    def fold_indices(self) -> list[int | str] | None:
        """The chosen folds, by number or, with protocol "loco", by corpus; None for all."""
        if self.folds is None:
            return None
        chosen = names_of(str(self.folds))
        if not chosen or not (self.protocol == "loco" or all(part.isdecimal() for part in chosen)):
            kind = "numbers or corpora" if self.protocol == "loco" else "whole numbers"
            raise UsageError(f"--folds takes {kind} separated by commas, not {self.folds!r}")
        return [int(part) if part.isdecimal() else part for part in chosen]


def names_of(words: str | Sequence[str] | None) -> list[str]:
    """The names in what a command line or a recipe says: "ravdess tess", "ravdess,tess" or a list of either."""
    return ",".join(([words] if isinstance(words, str) else words) or ()).replace(",", " ").split()


def chosen_names(words: str | None, known: list[str], option: str) -> list[str]:
    """The names that an option lists, separated by commas; all that are known where it is not given.

    Raises:
        UsageError: one is not known.
    """
    chosen = known if words is None else [word.strip() for word in words.split(",")]
    unknown = [word for word in chosen if word not in known]
    if unknown:
        raise UsageError(f"{option}: {unknown_name(option.strip('-s'), unknown[0], known)}")
    return chosen


def load_clip_table(data: DataArguments) -> Dataset:
    """The clips of all corpora that the arguments name, one table after the other, with the folds of --folds_from.

    Those that are divided come first, then those that only train, then those that are only tested. Names such as
    all-training are replaced in `data` by the corpora that they stand for.

    Raises:
        UsageError: no corpus is named, one is named twice or is both trained and tested on, corpora are named for
            another protocol, or --folds_from does not divide the clips by --protocol.
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    _check_corpora(data)
    _expand_corpora(data)
    tables = [
        load_corpus(name, data.data_dir, folds=None if name in data.undivided else data.folds_from)
        for name in data.corpus_names
    ]
    # Without this the folds that come with ser_hf would be taken in silence.
    divided_by = "actor" if data.protocol == "develop" else data.protocol
    for name, table in zip(data.corpus_names, tables, strict=True):
        if not data.folds_from or divided_by == "full" or name in data.undivided:
            continue
        if column_names(divided_by)[0] not in table.column_names:
            raise UsageError(f"--folds_from {data.folds_from} has no folds of protocol {data.protocol!r} for {name}")
    return concatenate_datasets(tables)


def make_data_folds(table: Dataset, data: DataArguments) -> list[Fold]:
    """The folds that the arguments ask for, of the table that `load_clip_table` made of the same arguments.

    The protocol divides the clips of `corpora`; those of the corpora that are not divided train in every fold.

    Raises:
        UsageError: the corpora have too few speakers for somebody to validate on.
        SplitError: see `ser_hf.splits.make_folds`.
    """
    whole = np.isin(np.array(table["corpus"]), data.undivided)
    rows = np.flatnonzero(~whole)
    divided = table.select(rows) if whole.any() else table
    folds = [
        replace(
            fold,
            train=np.sort(np.concatenate([rows[fold.train], np.flatnonzero(whole)])),
            validation=rows[fold.validation],
            test=rows[fold.test],
        )
        for fold in make_folds(divided, data.protocol, data.fold_indices, data.test_corpora)
    ]
    needs_validation = PROTOCOLS[data.protocol].has_validation and not data.folds_from
    if needs_validation and not all(len(fold.validation) for fold in folds):
        raise UsageError(
            f"--protocol {data.protocol} has nobody to validate on: {' and '.join(data.corpora)} has too few speakers; "
            "add a corpus, or take --protocol random"
        )
    return folds


def read_reference(run_folder: str | Path) -> dict[str, Any]:
    """What ``run.json`` of a run says whose figures a model's card gets; to be asked before anything is computed.

    Raises:
        RunError: it is not there.
        UsageError: it did not end.
    """
    facts = read_run_json(run_folder)
    if not (Path(run_folder) / METRICS).is_file():
        raise UsageError(f"--reference_run {run_folder} holds no {METRICS}: did its run end?")
    return facts


def milliseconds_per_clip(model: Any, audio: Sequence[dict], window: float | None = None) -> float:
    """How long one clip takes from its samples to its answer, features included: the mean over the first ten.

    Args:
        model: with ``predict_proba``, as all of ours.
        audio: of a clip table.
        window: seconds that the model hears at once.
    """
    clips = [load_audio(one)[: window and int(window * SAMPLE_RATE)] for one in audio[:TIMED_CLIPS]]
    model.predict_proba(clips[:1])  # what is compiled or loaded at the first call is no part of it
    started = time.perf_counter()
    for clip in clips:
        model.predict_proba([clip])
    return round(1000 * (time.perf_counter() - started) / len(clips), 1)


def _check_corpora(data: DataArguments) -> None:
    if data.protocol == "cross":
        for option in ("train_corpora", "test_corpora"):
            if not getattr(data, option):
                raise UsageError(
                    "--protocol cross trains on some corpora and tests on others: name them with --train_corpora and "
                    f"--test_corpora; --{option} names none"
                )
        both = sorted(set(data.train_corpora) & set(data.test_corpora))
        if both:
            raise UsageError(f"--train_corpora and --test_corpora both name {both[0]}; a corpus is in one of them")
        if data.folds_from:
            raise UsageError("--folds_from does not go with --protocol cross, which divides by corpus and nothing else")
    elif data.test_corpora and data.protocol != "loco":
        raise UsageError(f"--test_corpora goes with --protocol cross or loco, not with {data.protocol!r}")
    elif data.train_corpora and not PROTOCOLS[data.protocol].divides:
        raise UsageError(
            f"--train_corpora does not go with --protocol {data.protocol}, which trains on --corpora: name them there"
        )
    if data.protocol == "loco" and data.folds_from:
        raise UsageError("--folds_from does not go with --protocol loco, which divides by corpus and nothing else")
    if not data.corpora:
        raise UsageError("--corpora names no corpus")
    twice = [name for name in data.corpus_names if data.corpus_names.count(name) > 1]
    if twice:
        raise UsageError(f"corpus {twice[0]} is named twice; name each once")


def _expand_corpora(data: DataArguments) -> None:
    """Replace names that stand for several corpora by those that are not named by another option."""
    divided = [] if data.protocol == "cross" else ["corpora"]
    options = [*divided, "train_corpora", "test_corpora"]
    for option in options:
        names = getattr(data, option)
        elsewhere = {name for other in options if other != option for name in getattr(data, other)}
        found = expand_corpora(names, data.data_dir)
        expanded = [name for name in found if name in names or name not in elsewhere]
        if names and not expanded:
            raise UsageError(f"--{option} {' '.join(names)} names no corpus that no other option names")
        setattr(data, option, expanded)
    if data.protocol == "cross":
        data.corpora = list(data.train_corpora)
