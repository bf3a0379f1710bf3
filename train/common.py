"""What every training and evaluation command shares: which clips it is about, and what a wrong argument raises."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from ser_hf.audio import SAMPLE_RATE, load_audio
from ser_hf.corpora import load_corpus
from ser_hf.names import unknown_name
from ser_hf.runs import METRICS, read_run_json
from ser_hf.splits import PROTOCOLS, Fold, column_names, make_folds

TIMED_CLIPS = 10


class UsageError(ValueError):
    """Arguments that cannot be carried out; the message says which and what to do."""


@dataclass
class DataArguments:
    """What is trained and tested on. With protocol "cross", `corpora` is what `train_corpora` names."""

    _argument_group_name = "data: which clips train, and which are tested"

    corpora: list[str] = field(
        default_factory=lambda: ["ravdess"],
        metadata={"help": "Corpora that are pooled, e.g. ravdess tess cremad savee."},
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data)."},
    )
    protocol: str = field(
        default="actor",
        metadata={
            "help": "Which clips are tested: 'actor' (five folds of voices, the headline figure), 'random' "
            "(speaker-dependent), 'emobox' (RAVDESS alone), 'loao' (leave one speaker of one corpus out), 'cross' "
            "(train on --train_corpora, test on --test_corpora), 'full' (train on everything, test on nothing: the "
            "model that is published), or 'develop' (to choose a recipe by: what 'actor' tests is left alone, and some "
            "of the speakers that train there are tested).",
            "choices": PROTOCOLS,
        },
    )
    train_corpora: list[str] = field(
        default_factory=list, metadata={"help": "With --protocol cross: corpora to train on, e.g. ravdess tess."}
    )
    test_corpora: list[str] = field(
        default_factory=list, metadata={"help": "With --protocol cross: corpora that are only tested on, e.g. emodb."}
    )
    folds: str | None = field(default=None, metadata={"help": "Run only these folds, e.g. 0,1 (default: all)."})
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
            self.corpora = list(self.train_corpora)  # what a model was trained on is looked for there

    @property
    def corpus_names(self) -> list[str]:
        """The corpora that are read, in the order of the table."""
        return [*self.corpora, *self.test_corpora]

    @property
    def fold_indices(self) -> list[int] | None:
        if self.folds is None:
            return None
        try:
            return [int(part) for part in str(self.folds).split(",")]
        except ValueError:
            raise UsageError(f"--folds takes whole numbers separated by commas, not {self.folds!r}") from None


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

    With protocol "cross" those that are trained on come first, then those that are tested on.

    Raises:
        UsageError: no corpus is named, one is named twice or is both trained and tested on, corpora are named for
            another protocol, or --folds_from does not divide the clips by --protocol.
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    _check_corpora(data)
    tables = [load_corpus(name, data.data_dir, folds=data.folds_from) for name in data.corpus_names]
    # Without this the folds that come with ser_hf would be taken in silence.
    divided_by = "actor" if data.protocol == "develop" else data.protocol
    for name, table in zip(data.corpus_names, tables, strict=True):
        if data.folds_from and divided_by != "full" and column_names(divided_by)[0] not in table.column_names:
            raise UsageError(f"--folds_from {data.folds_from} has no folds of protocol {data.protocol!r} for {name}")
    return concatenate_datasets(tables)


def make_data_folds(table: Dataset, data: DataArguments) -> list[Fold]:
    """The folds that the arguments ask for, of the table that `load_clip_table` made of the same arguments.

    Raises:
        UsageError: the corpora have too few speakers for somebody to validate on.
        SplitError: see `ser_hf.splits.make_folds`.
    """
    folds = make_folds(table, data.protocol, data.fold_indices, data.test_corpora)
    if data.protocol != "full" and not data.folds_from and not all(len(fold.validation) for fold in folds):
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
    elif data.train_corpora or data.test_corpora:
        option = "train_corpora" if data.train_corpora else "test_corpora"
        raise UsageError(f"--{option} goes with --protocol cross, not with {data.protocol!r}; see --corpora")
    if not data.corpus_names:
        raise UsageError("--corpora names no corpus")
    twice = [name for name in data.corpus_names if data.corpus_names.count(name) > 1]
    if twice:
        raise UsageError(f"corpus {twice[0]} is named twice; name each once")
