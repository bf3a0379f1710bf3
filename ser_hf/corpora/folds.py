"""Folds from elsewhere: the fold columns of a published clip table, joined to the clips that lie here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
from datasets import Dataset, List, Value

from ser_hf.corpora.files import CorpusError
from ser_hf.protocols.folds import TESTING_PROTOCOLS, column_names


def folds_file(corpus: str) -> str:
    """The path of a corpus's table inside a dataset of folds."""
    return f"data/{corpus}.parquet"


def add_folds(table: Dataset, corpus: str, source: str | Path) -> Dataset:
    """The clip table with the fold columns of a dataset, joined by `clip`; rows and their order stay.

    Args:
        corpus: whose table of the dataset is read.
        source: folder of the dataset, or USER/NAME[@revision] on the Hub.

    Raises:
        CorpusError: it cannot be fetched or read, holds no folds, contradicts itself, or does not hold every clip of
            the table exactly once (clips that the table has not may be there).
    """
    columns = _read(_find(corpus, source), f"{source}: {folds_file(corpus)}")
    counts = Counter(columns["clip"])
    for clip in table["clip"][:]:
        if counts[clip] != 1:
            raise CorpusError(f"{source}: {folds_file(corpus)} has clip {clip} {counts[clip]} times instead of once")
    rows = {clip: row for row, clip in enumerate(columns.pop("clip"))}
    for name, values in columns.items():
        feature = Value("int64") if name.endswith("_test") else List(Value("int64"))
        table = table.add_column(name, [values[rows[clip]] for clip in table["clip"][:]], feature=feature)
    return table


def _find(corpus: str, source: str | Path) -> Path:
    """The table in the folder that is named, or in that of the Hub's dataset in the local cache."""
    from ser_hf.hub import HubError, looks_like_folder, snapshot

    folder = Path(source).expanduser()
    if not folder.is_dir():
        if isinstance(source, Path) or looks_like_folder(source):
            raise CorpusError(
                f"there is no folder {str(source)!r} to take folds from; name one that holds {folds_file(corpus)}, or "
                "a dataset of the Hub as USER/NAME or USER/NAME@revision"
            )
        try:
            folder = snapshot(source, [folds_file(corpus)], repo_type="dataset")
        except HubError as error:
            raise CorpusError(str(error)) from error
    path = folder / folds_file(corpus)
    if not path.is_file():
        raise CorpusError(f"{source}: holds no {folds_file(corpus)}, so it says nothing of the folds of {corpus}")
    return path


def _read(path: Path, name: str) -> dict[str, list]:
    """`clip` and the fold columns of a table; a fold that validates must also test."""
    fields = {"clip": pyarrow.string()}
    try:
        table = pyarrow.parquet.read_table(path)
        for test, validation in map(column_names, TESTING_PROTOCOLS):
            if {test, validation} & set(table.column_names):
                fields |= {test: pyarrow.int64(), validation: pyarrow.list_(pyarrow.int64())}
        columns = table.select(list(fields)).cast(pyarrow.schema(fields)).to_pydict()
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CorpusError(
            f"{name}: not a parquet file with clip (text) and, for a protocol such as actor, actor_test (a fold) and "
            f"actor_validation (a list of folds): {reason}"
        ) from error
    if len(columns) == 1:
        raise CorpusError(f"{name}: has no fold columns such as {column_names(TESTING_PROTOCOLS[0])[0]}")
    for test, validation in map(column_names, TESTING_PROTOCOLS):
        unknown = {fold for folds in columns.get(validation, ()) for fold in folds or ()} - {*columns.get(test, ())}
        if unknown:
            raise CorpusError(f"{name}: {validation} names fold {min(unknown)}, which {test} lacks")
    return columns
