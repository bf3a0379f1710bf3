"""Corpora of emotional speech as tables of clips.

A table is a `datasets.Dataset`, one row per clip: `clip` (official stem), `audio` (`Audio(decode=False)`: path or
bytes), `emotion` (`ClassLabel` over `LABELS`), `speaker`, `gender` ("male", "female"), `statement` (the words),
`intensity` ("normal", "strong"; in CREMA-D "low", "medium", "high"), `repetition` (int), `corpus`. What a corpus does
not say is None, so that figures by intensity leave it out. With `load_corpus(folds=...)` also its folds, as
`ser_hf.protocols.folds.fold_columns` describes them.

A speaker is identified by corpus and name together: two corpora may both have a speaker 03.

A new corpus is a new module here that defines `CORPUS`, a `ser_hf.corpora.corpus.Corpus`; nothing else lists it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset

from ser_hf.corpora.corpus import Corpus, clip_table
from ser_hf.corpora.files import CorpusError
from ser_hf.utils.names import unknown_name

_HELPERS = {"corpus", "download", "files", "folds", "own", "sources"}
# In the order in which they train and are shown; others come last.
_FIRST = ("ravdess", "tess", "cremad", "savee", "emodb", "emovo", "nemo", "ased", "korean-emotion-tts", "emogator")
_MODULES = {module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)} - _HELPERS
CORPORA = (*_FIRST, *sorted(_MODULES - set(_FIRST)))
ALL_TRAINING = "all-training"


def corpus_facts(name: str) -> Corpus:
    """The facts of one of `CORPORA`.

    Raises:
        CorpusError: an unknown corpus.
    """
    if name not in CORPORA:
        raise CorpusError(unknown_name("corpus", name, CORPORA))
    return importlib.import_module(f"ser_hf.corpora.{name.replace('-', '_')}").CORPUS


def training_corpora() -> tuple[str, ...]:
    """The corpora that published models may be trained on, in the order of `CORPORA`."""
    return tuple(name for name in CORPORA if corpus_facts(name).trainable)


def expand_corpora(names: Iterable[str], data_dir: str | Path | None = None) -> list[str]:
    """Replace "all-training" by every training corpus that has recordings under the data folder.

    A warning names those that have none. Each name is kept once, in order.

    Raises:
        CorpusError: an unknown corpus; "all-training" where none of the training corpora is there.
    """
    expanded: list[str] = []
    for name in names:
        if name != ALL_TRAINING:
            expanded.append(corpus_facts(name).name)
            continue
        folder, trainable = _data_folder(data_dir), training_corpora()
        present = [corpus for corpus in trainable if corpus_facts(corpus).recordings(folder)]
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
    ser_hf.corpora.files.CorpusError: there is no corpus 'ravdes'; did you mean 'ravdess'? There are: ravdess, ...

    Args:
        name: one of `CORPORA`.
        data_dir: folder that holds a folder per corpus; default: the environment's SER_HF_DATA, else ./data. A corpus
            without such a folder is found by the names of its recordings, wherever below `data_dir` they lie.
        download: fetch a corpus that is not there from its official record, where that is free.
        folds: dataset that says which clip is tested in which fold, as train.publish makes it: a folder, or
            USER/NAME[@revision] on the Hub; the table gets its fold columns, which `make_folds` then goes by.
        options: `unmapped="keep"` (see `clip_table`), and for RAVDESS `actors`, such as [1, 2].

    Raises:
        CorpusError: an unknown corpus or option, files that are missing, unreadable or wrongly named, a failed
            download; folds that cannot be fetched or read, or that do not hold every clip of the table exactly once.
    """
    corpus = corpus_facts(name)
    for option in options:
        if option not in corpus.options:
            raise CorpusError(f"the corpus {name} has no option {option!r}; it has: {', '.join(corpus.options)}")
    table = corpus.load(_data_folder(data_dir), download, **options)
    if folds is None:
        return table
    from ser_hf.corpora.folds import add_folds

    return add_folds(table, name, folds)


def _data_folder(data_dir: str | Path | None) -> Path:
    return Path(data_dir or os.environ.get("SER_HF_DATA") or "data").expanduser().absolute()


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
