"""Folds from elsewhere: the fold columns of a published clip table, joined to the clips that lie here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
from datasets import Dataset, List, Value

from ser_hf.corpora import CorpusError
from ser_hf.splits import TESTING_PROTOCOLS, column_names


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
    path = _find(corpus, source)
    told = _read(path, f"{source}: {folds_file(corpus)}")
    counts = Counter(told["clip"])
    for clip in table["clip"]:
        if counts[clip] != 1:
            times = f"{counts[clip]} times" if counts[clip] else "not there"
            raise CorpusError(
                f"{source}: clip {clip} is {times} in {folds_file(corpus)}; every clip must be there once"
            )
    rows = {clip: row for row, clip in enumerate(told["clip"])}
    order = [rows[clip] for clip in table["clip"]]
    for name in told:
        if name != "clip":
            feature = Value("int64") if name.endswith("_test") else List(Value("int64"))
            table = table.add_column(name, [told[name][row] for row in order], feature=feature)
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
    """`clip` and the fold columns of a table, checked: types, and that a fold that validates also tests."""
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(f"{name}: not a parquet file that can be read ({str(error).splitlines()[0]})") from error
    if "clip" not in table.column_names or not _is(table["clip"], "string"):
        raise CorpusError(f"{name}: has no column 'clip' of strings, by which clips are found")
    told = {"clip": table["clip"].to_pylist()}
    for protocol in TESTING_PROTOCOLS:
        present = [column for column in column_names(protocol) if column in table.column_names]
        if not present:
            continue
        if len(present) == 1:
            raise CorpusError(f"{name}: has only {present[0]}; {' and '.join(column_names(protocol))} go together")
        test, validation = (table[column] for column in present)
        if not pyarrow.types.is_integer(test.type) or test.null_count:
            raise CorpusError(f"{name}: {present[0]} must hold a whole number in every row")
        if not _is(validation, "list") or not pyarrow.types.is_integer(validation.type.value_type):
            raise CorpusError(f"{name}: {present[1]} must hold a list of whole numbers in every row")
        told |= {present[0]: test.to_pylist(), present[1]: validation.to_pylist()}
        unknown = {fold for folds in told[present[1]] for fold in folds or ()} - set(told[present[0]])
        if unknown:
            raise CorpusError(
                f"{name}: {present[1]} names fold {sorted(unknown, key=str)[0]}, which {present[0]} does not know"
            )
    if len(told) == 1:
        raise CorpusError(f"{name}: has no fold columns such as {column_names(TESTING_PROTOCOLS[0])[0]}")
    return told


def _is(column: pyarrow.ChunkedArray, kind: str) -> bool:
    """Whether a column is of Arrow's type "string" or "list", of which other writers use the large kinds."""
    return getattr(pyarrow.types, f"is_{kind}")(column.type) or getattr(pyarrow.types, f"is_large_{kind}")(column.type)
