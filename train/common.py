"""What the training and evaluation commands share: the clips, folds and predictions of a run, and argument errors."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, concatenate_datasets
from tqdm import tqdm

from ser_hf.audio import SAMPLE_RATE, AudioError, load_audio
from ser_hf.classifier import BATCH_SIZE, EmotionClassifier
from ser_hf.corpora import expand_corpora, load_corpus
from ser_hf.corpora.own import load_clips
from ser_hf.errors import SerHfError
from ser_hf.evaluation.runs import METRICS, prediction_frame, read_run_json
from ser_hf.hub.card_arguments import ARGUMENTS
from ser_hf.protocols import PROTOCOLS
from ser_hf.protocols.folds import Fold, column_names, make_folds
from ser_hf.utils.names import unknown_name

TIMED_CLIPS = 10


class UsageError(SerHfError):
    """Arguments that allow no run; the message names them and says what to do."""


def require(condition: object, message: str) -> None:
    """Raise a `UsageError` unless a condition holds."""
    if not condition:
        raise UsageError(message)


def option(default: Any, text: str, **metadata: Any) -> Any:
    """A dataclass field with its help."""
    return field(default=default, metadata={"help": text, **metadata})


def argument_help(name: str, note: str = "") -> str:
    """The help of an argument that model cards explain, too, with a note in brackets."""
    text = ARGUMENTS[name]
    return f"{text[0].upper()}{text[1:]}{note and f' ({note})'}."


@dataclass(kw_only=True)
class DatasetArguments:
    """Own recordings, and what their columns and labels are called (see `ser_hf.corpora.own.load_clips`)."""

    dataset: str | None = option(
        None,
        "Own recordings: folder per label, CSV/TSV/JSONL/Parquet, saved dataset, zip, or USER/NAME on the Hub.",
    )
    audio_column: str | None = option(None, "With --dataset: column of the audio file (default: file, path, ...).")
    label_column: str | None = option(None, "With --dataset: column of the label (default: label or emotion).")
    speaker_column: str | None = option(None, "With --dataset: column of the speaker (default: speaker).")
    speaker_pattern: str | None = option(
        None, "With --dataset: regular expression whose group is the speaker in a path, e.g. '(spk[0-9]+)'."
    )
    split: str | None = option(None, "With --dataset: the only split to take (default: all).")
    label_map: list[str] = field(
        default_factory=list, metadata={"help": "With --dataset: renamed and merged labels, e.g. happy=joy,excited."}
    )
    labels: str | None = option(None, "With --dataset: only these labels, separated by commas (default: all).")

    def load_dataset(self) -> Dataset:
        """The clip table of --dataset; prints what was found in it.

        Raises:
            UsageError: --label_map is not of the form NEW=OLD,OLD.
            CorpusError: see `ser_hf.corpora.own.load_clips`.
        """
        label_map = {}
        for words in self.label_map:
            new, _, old = words.partition("=")
            require(new and old, f"--label_map takes NEW=OLD,OLD, such as happy=joy,excited, not {words!r}")
            label_map[new.strip()] = [one.strip() for one in old.split(",")]
        table, findings = load_clips(
            self.dataset or "",
            audio_column=self.audio_column,
            label_column=self.label_column,
            speaker_column=self.speaker_column,
            split=self.split,
            label_map=label_map,
            labels=self.labels and [one.strip() for one in self.labels.split(",")],
            speaker_pattern=self.speaker_pattern,
        )
        print(findings, flush=True)
        return table


@dataclass
class DataArguments(DatasetArguments):
    """What is trained and tested on.

    `load_clip_table` replaces a name that stands for several corpora, such as all-training, by their names.

    Attributes:
        corpora: what the protocol divides; for "cross", the same as `train_corpora`.
    """

    _argument_group_name = "data: which clips train, and which are tested"

    corpora: list[str] = field(
        default_factory=lambda: ["ravdess"],
        metadata={"help": "Corpora that the protocol divides, e.g. ravdess tess, or all-training."},
    )
    data_dir: str | None = option(None, "Folder that holds a folder per corpus (default: $SER_HF_DATA, else ./data).")
    protocol: str = option(
        "",
        "Which clips are tested: 'actor' (five speaker-independent folds, the headline figure; default), 'group' "
        "(up to five folds, speakers apart; default for --dataset), 'split' (the column of --dataset), 'random' "
        "(speaker-dependent), 'emobox' (RAVDESS alone), 'loao' (leave one speaker of one corpus out), 'loco' "
        "(leave one corpus out), 'cross' (train on --train_corpora, test on --test_corpora), 'full' (train on "
        "everything, test on nothing: the published model), or 'develop' (to choose a recipe: what 'actor' tests "
        "is left out, and some of the speakers that train there are tested).",
        choices=[*PROTOCOLS],
    )
    train_corpora: list[str] = field(
        default_factory=list, metadata={"help": "Corpora that train in every fold, e.g. tess cremad, or all-training."}
    )
    test_corpora: list[str] = field(
        default_factory=list,
        metadata={"help": "With --protocol cross or loco: corpora that are tested and never train, e.g. savee."},
    )
    folds: str | None = option(
        None, "Run only these folds, e.g. 0,1, or with --protocol loco emodb,savee (default: all)."
    )
    folds_from: str | None = option(
        None,
        "Dataset that says which clip is tested in which fold, as train.publish makes it: USER/NAME or "
        "USER/NAME@REVISION on the Hub, or a folder (default: the folds that come with ser_hf).",
    )

    def __post_init__(self) -> None:
        for name in ("corpora", "train_corpora", "test_corpora"):
            setattr(self, name, names_of(getattr(self, name)))
        if self.protocol == "cross":
            self.corpora = list(self.train_corpora)
        if not self.protocol and self.dataset is None:
            self.protocol = "actor"

    @property
    def undivided(self) -> list[str]:
        """The corpora that train whole in every fold, beside the training part of those that are divided."""
        return [] if self.protocol == "cross" else self.train_corpora

    @property
    def corpus_names(self) -> list[str]:
        """The corpora that are read, in the order of the table."""
        return [*self.corpora, *self.undivided, *self.test_corpora]

    @property
    def fold_indices(self) -> list[int | str] | None:
        """The chosen folds, by number or, with protocol "loco", by corpus; None for all."""
        if self.folds is None:
            return None
        chosen = names_of(str(self.folds))
        valid = chosen and (self.protocol == "loco" or all(part.isdecimal() for part in chosen))
        require(valid, f"--folds takes numbers (or corpora, with loco) separated by commas, not {self.folds!r}")
        return [int(part) if part.isdecimal() else part for part in chosen]


def names_of(words: str | Sequence[str] | None) -> list[str]:
    """The names in a value of a command line or a recipe: "ravdess tess", "ravdess,tess" or a list of either."""
    return ",".join(([words] if isinstance(words, str) else words) or ()).replace(",", " ").split()


def chosen_names(words: str | None, known: list[str], option: str) -> list[str]:
    """The names that an option lists, separated by commas; all that are known where it is not given.

    Raises:
        UsageError: one is not known.
    """
    chosen = known if words is None else [word.strip() for word in words.split(",")]
    for word in chosen:
        require(word in known, f"{option}: {unknown_name(option.strip('-s'), word, known)}")
    return chosen


def load_clip_table(data: DataArguments) -> Dataset:
    """The clips of all corpora that the arguments name, one table after the other, with the folds of --folds_from.

    Those that are divided come first, then those that only train, then those that are only tested.

    Raises:
        UsageError: no corpus is named, one is named twice or is both trained and tested on, corpora are named for
            another protocol, or --folds_from does not divide the clips by --protocol.
        CorpusError: see `ser_hf.corpora.load_corpus`.
    """
    if data.dataset is not None:
        return _load_own_clips(data)
    _check_corpora(data)
    _expand_corpora(data)
    column, _ = column_names("actor" if data.protocol == "develop" else data.protocol)
    tables = []
    for name in data.corpus_names:
        folds_from = None if name in data.undivided or data.protocol == "full" else data.folds_from
        table = load_corpus(name, data.data_dir, folds=folds_from)
        # Without this the folds that come with ser_hf would be taken instead.
        has_folds = folds_from is None or column in table.column_names
        require(has_folds, f"--folds_from {folds_from} has no folds of protocol {data.protocol!r} for {name}")
        tables.append(table)
    return concatenate_datasets(tables)


def _load_own_clips(data: DataArguments) -> Dataset:
    """The clips of --dataset; sets the protocol that fits them where none was asked for."""
    for name in ("train_corpora", "test_corpora", "folds_from"):
        require(not getattr(data, name), f"--{name} does not go with --dataset")
    table = data.load_dataset()
    data.corpora = [table["corpus"][0]]
    known = all(speaker is not None for speaker in table["speaker"])
    if not data.protocol:
        data.protocol = "split" if "split" in table.column_names else "group" if known else "random"
    if data.protocol == "random" and not known:
        print("warning: speakers are not known: figures are speaker-dependent, and too high", file=sys.stderr)
    return table


def _check_corpora(data: DataArguments) -> None:
    protocol, names = data.protocol, data.corpus_names
    by_corpus = protocol in ("cross", "loco")
    if protocol == "cross":
        both = data.train_corpora and data.test_corpora
        require(both, "--protocol cross trains on --train_corpora and tests on --test_corpora: name both")
    elif data.train_corpora:
        require(PROTOCOLS[protocol].divides, f"--train_corpora does not go with --protocol {protocol}: use --corpora")
    require(by_corpus or not data.test_corpora, "--test_corpora goes with --protocol cross or loco alone")
    require(not by_corpus or not data.folds_from, f"--folds_from does not go with --protocol {protocol}")
    require(data.corpora, "--corpora names no corpus")
    for name in names:
        require(names.count(name) == 1, f"corpus {name} is named twice; name each once")


def _expand_corpora(data: DataArguments) -> None:
    """Replace names that stand for several corpora by those that are not named by another option."""
    options = [*([] if data.protocol == "cross" else ["corpora"]), "train_corpora", "test_corpora"]
    for option in options:
        names = getattr(data, option)
        elsewhere = {name for other in options if other != option for name in getattr(data, other)}
        found = expand_corpora(names, data.data_dir)
        expanded = [name for name in found if name in names or name not in elsewhere]
        require(expanded or not names, f"--{option} {' '.join(names)} names no corpus that no other option names")
        setattr(data, option, expanded)
    if data.protocol == "cross":
        data.corpora = data.train_corpora


def make_data_folds(table: Dataset, data: DataArguments) -> list[Fold]:
    """The folds that the arguments ask for, of the table that `load_clip_table` made of the same arguments.

    The protocol divides the clips of `corpora`; those of the corpora that are not divided train in every fold.

    Raises:
        UsageError: the corpora have too few speakers to hold out validation speakers.
        SplitError: see `ser_hf.protocols.folds.make_folds`.
    """
    whole = np.isin(np.array(table["corpus"][:]), data.undivided)
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
    needs_validation = PROTOCOLS[data.protocol].has_validation and not data.folds_from and not data.dataset
    require(
        not needs_validation or all(len(fold.validation) for fold in folds),
        f"--protocol {data.protocol} has no validation speakers: {' and '.join(data.corpora)} has too few speakers; "
        "add a corpus, or take --protocol random",
    )
    return folds


def read_references(names: str | None) -> dict[str, dict[str, Any]]:
    """``run.json`` of each finished run that --reference_run names, whose figures a model's card gets.

    Raises:
        RunError: there is none.
        UsageError: a run did not end.
    """
    runs = [name.strip() for name in (names or "").split(",") if name.strip()]
    facts = {run: read_run_json(run) for run in runs}
    for run in runs:
        require(Path(run, METRICS).is_file(), f"--reference_run {run} holds no {METRICS}: did its run end?")
    return facts


def predict_clips(
    classifier: EmotionClassifier, table: Dataset, rows: np.ndarray | range, fold: int, batch_size: int = BATCH_SIZE
) -> tuple[pd.DataFrame, dict[int, AudioError]]:
    """Predict rows of a clip table through the classifier that users call.

    Returns:
        The predictions (see `prediction_frame`), with the column ``distance`` where the model has an out-of-domain
        score, and by row the errors of clips that could not be used.
    """
    audio = (row["audio"] for row in table.select_columns("audio").select(rows))
    found = classifier.predict_many(audio, batch_size=batch_size)
    results = dict(zip(rows, tqdm(found, total=len(rows), desc="Predicting", unit="clip", leave=False), strict=True))
    failed = {int(row): result for row, result in results.items() if isinstance(result, AudioError)}
    used = {row: result for row, result in results.items() if not isinstance(result, AudioError)}
    labels = list(dict.fromkeys([*table.features["emotion"].names, *classifier.labels]))
    scores = [[one.scores.get(label, 0.0) for label in labels] for one in used.values()]
    frame = prediction_frame(table, list(used), fold, np.reshape(scores, (len(used), len(labels))), labels)
    distances = [one.distance for one in used.values()]
    return frame if None in distances else frame.assign(distance=np.array(distances, dtype=np.float32)), failed


def milliseconds_per_clip(model: Any, audio: Sequence[dict], window: float | None = None) -> float:
    """How long the prediction of one clip takes, features included: the mean over the first ten.

    Args:
        model: with ``predict_proba``.
        audio: of a clip table.
        window: of the model, in seconds.
    """
    clips = [load_audio(one)[: window and int(window * SAMPLE_RATE)] for one in audio[:TIMED_CLIPS]]
    model.predict_proba(clips[:1])  # what is compiled or loaded at the first call does not count
    started = time.perf_counter()
    for clip in clips:
        model.predict_proba([clip])
    return round(1000 * (time.perf_counter() - started) / len(clips), 1)
