"""Corpora of emotional speech as tables of clips.

A table is a `datasets.Dataset`, one row a clip: `clip` (official stem), `audio` (`Audio(decode=False)`: path or bytes),
`emotion` (`ClassLabel` over `LABELS`), `speaker`, `gender` ("male", "female"), `statement` (the words), `intensity`
("normal", "strong"; in CREMA-D "low", "medium", "high"), `repetition` (int), `corpus`. What a corpus does not tell is
None, so that figures by intensity leave it out. With `load_corpus(folds=...)` also its folds, as
`ser_hf.splits.fold_columns` describes them.

A speaker is known by corpus and name together: two corpora may both have a speaker 03.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
from datasets import Audio, ClassLabel, Dataset, Features, Value

from ser_hf.labels import LABEL2ID, LABELS
from ser_hf.names import unknown_name

# Each a module here ("-" as "_"), with a function `load` and the constants that `CorpusFacts` names.
CORPORA = ("ravdess", "tess", "cremad", "savee", "emodb", "emovo", "nemo", "ased", "korean-emotion-tts", "emogator")
ALL_TRAINING = "all-training"
UNMAPPED = ("drop", "keep")


class CorpusError(ValueError):
    """A corpus that cannot be used; the message names the file or folder and says what to do."""


@dataclass(frozen=True)
class CorpusFacts:
    """What the module of a corpus states once: its constants of these names, in capitals.

    Attributes:
        record: address of the official record.
        language: a BCP 47 tag; "zxx" where there are no words.
        licence: an SPDX identifier, or words.
        trainable: whether published models may be trained on it.
        has_calm: whether it labels `calm`.
        file: path of a clip below the corpus's folder in the official record, with `{clip}`, `{speaker}`, or `{name}`,
            the clip without its speaker.
    """

    name: str
    title: str
    citation: str
    record: str
    language: str
    licence: str
    trainable: bool
    has_calm: bool
    file: str


def corpus_facts(name: str) -> CorpusFacts:
    """The facts of one of `CORPORA`.

    Raises:
        CorpusError: an unknown corpus.
    """
    module = _module(name)
    return CorpusFacts(name, **{field.name: getattr(module, field.name.upper()) for field in fields(CorpusFacts)[1:]})


def training_corpora() -> tuple[str, ...]:
    """The corpora that published models may be trained on, in the order of `CORPORA`."""
    return tuple(name for name in CORPORA if corpus_facts(name).trainable)


def expand_corpora(names: Iterable[str], data_dir: str | Path | None = None) -> list[str]:
    """Replace "all-training" by every training corpus that has recordings under the data folder.

    Those that have none are left out with a warning that names them. Each name is kept once, in order.

    Raises:
        CorpusError: an unknown corpus; "all-training" where there is none of the training corpora.
    """
    from ser_hf.corpora.files import WITH_MP3, recordings

    expanded: list[str] = []
    for name in names:
        if name != ALL_TRAINING:
            _module(name)
            expanded.append(name)
            continue
        folder = _data_folder(data_dir)
        trainable = training_corpora()
        present = [corpus for corpus in trainable if recordings(folder / corpus, WITH_MP3)]
        missing = [f"{corpus} ({corpus_facts(corpus).record})" for corpus in trainable if corpus not in present]
        if missing:
            what = (
                f"{folder}: no recordings of {', '.join(missing)}; get them from there, or name the corpus instead of "
                f"{ALL_TRAINING} to have it downloaded where that is possible"
            )
            if not present:
                raise CorpusError(what)
            warnings.warn(f"{ALL_TRAINING} leaves some corpora out; {what}", stacklevel=2)
        expanded += present
    return list(dict.fromkeys(expanded))


def load_corpus(
    name: str,
    data_dir: str | Path | None = None,
    download: bool = True,
    folds: str | Path | None = None,
    **options: Any,
) -> Dataset:
    """The clip table of a corpus, in the corpus's official order.

    >>> load_corpus("ravdes")
    Traceback (most recent call last):
        ...
    ser_hf.corpora.CorpusError: there is no corpus 'ravdes'; did you mean 'ravdess'? There are: ravdess, ...

    Args:
        name: one of `CORPORA`.
        data_dir: folder that holds a folder per corpus; default: the environment's SER_HF_DATA, else ./data.
        download: fetch a corpus that is not there from its official record, where that is free.
        folds: dataset that says which clip is tested in which fold, as train.publish makes it: a folder, or
            USER/NAME[@revision] on the Hub; the table gets its fold columns, which `make_folds` then goes by.
        options: what the corpus's own `load` takes besides, such as `actors=[1, 2]` for RAVDESS, or for the others
            `unmapped="keep"` (see `clip_table`).

    Raises:
        CorpusError: an unknown corpus or option, files that are missing, unreadable or wrongly named, a failed
            download; folds that cannot be fetched or read, or that do not hold every clip of the table exactly once.
    """
    load = _module(name).load
    known = list(inspect.signature(load).parameters)[2:]  # after data_dir and download
    for option in options:
        if option not in known:
            raise CorpusError(f"the corpus {name} has no option {option!r}; it has: {', '.join(known)}")
    table = load(_data_folder(data_dir), download=download, **options)
    if folds is None:
        return table
    from ser_hf.corpora.folds import add_folds

    return add_folds(table, name, folds)


def _module(name: str) -> ModuleType:
    if name not in CORPORA:
        raise CorpusError(unknown_name("corpus", name, CORPORA))
    return importlib.import_module(f"ser_hf.corpora.{name.replace('-', '_')}")


def _data_folder(data_dir: str | Path | None) -> Path:
    return Path(data_dir or os.environ.get("SER_HF_DATA") or "data").expanduser().absolute()


def clip_table(columns: Mapping[str, Sequence[Any]], unmapped: str = "drop") -> Dataset:
    """A clip table from its columns; `audio` holds paths, `emotion` names.

    Args:
        columns: each as long as the table, with None where a corpus does not tell a thing.
        unmapped: what becomes of clips whose emotion is none of `LABELS`: "drop" leaves them out and says in a warning
            how many they are, "keep" keeps them; then `emotion` has their names, too, after `LABELS`. The commands that
            train know only `LABELS`.

    Raises:
        CorpusError: another `unmapped`.
    """
    if unmapped not in UNMAPPED:
        raise CorpusError(f"unmapped must be {' or '.join(map(repr, UNMAPPED))}, not {unmapped!r}")
    counts = Counter(emotion for emotion in columns["emotion"] if emotion not in LABEL2ID)
    labels = [*LABELS, *(sorted(counts) if unmapped == "keep" else ())]
    kept = [row for row, emotion in enumerate(columns["emotion"]) if emotion in labels]
    if len(kept) < len(columns["emotion"]):
        told = " and ".join(f"{n} clips of {emotion}" for emotion, n in sorted(counts.items()))
        warnings.warn(
            f"{columns['corpus'][0]}: {told} were left out, because no label of ours is their counterpart "
            "(unmapped='keep' keeps them)",
            stacklevel=4,
        )
    columns = {name: [values[row] for row in kept] for name, values in columns.items()}
    features = Features({name: Value("string") for name in columns})
    features |= {"audio": Audio(decode=False), "emotion": ClassLabel(names=labels), "repetition": Value("int64")}
    columns |= {
        "audio": [{"path": path, "bytes": None} for path in columns["audio"]],
        "emotion": [labels.index(emotion) for emotion in columns["emotion"]],
    }
    # Through Arrow, because Dataset.from_dict encodes Audio features with torchcodec, which needs FFmpeg's libraries.
    return Dataset(pyarrow.Table.from_pydict(columns, schema=features.arrow_schema))


def corpus_fingerprint(table: Dataset) -> str:
    """16 hexadecimal digits that change when a clip, its label or a byte of its file changes.

    Raises:
        CorpusError: a file is gone or cannot be read.
    """
    digest = hashlib.sha256()
    for row in table.select_columns(["corpus", "clip", "emotion", "audio"]):
        audio = row["audio"]
        try:
            content = audio["bytes"] if audio["bytes"] is not None else Path(audio["path"]).read_bytes()
        except OSError as error:
            raise CorpusError(
                f"{audio['path']} cannot be read: {error.strerror}; put it back, or fetch it again"
            ) from None
        digest.update(f"{row['corpus']}/{row['clip']}/{row['emotion']}/".encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
