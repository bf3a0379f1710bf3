"""Rows of answers written one by one as a table for people, JSON lines, csv or parquet."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

FORMATS = ("table", "jsonl", "csv", "parquet")
PARQUET_ROWS_AT_ONCE = 256

Row = dict[str, Any]
"""What `Prediction.to_dict` holds, or ``file`` and ``error``."""


class Writer(Protocol):
    """Where rows go, one by one."""

    def write(self, row: Row) -> None: ...


@contextlib.contextmanager
def open_writer(format: str, output: Path | None, names: Sequence[str], labels: list[str]) -> Iterator[Writer]:
    """Write rows to the terminal, or to a file that takes its place when all is written.

    Args:
        format: one of `FORMATS`; "parquet" needs an ``output``.
        output: a file, pipe or device; None is standard output.
        names: of the recordings to come, which the table's first column must hold.
        labels: the model's labels; csv and parquet have a column for each.
    """

    with contextlib.ExitStack() as stack:
        if format == "parquet":
            assert output is not None, "parquet is written to a file"
            yield stack.enter_context(_ParquetWriter(stack.enter_context(_replacing(output)), labels))
            return
        if output is None:
            file = sys.stdout
            # Names that are no UTF-8 must not stop the rows of the others.
            if hasattr(file, "reconfigure"):
                file.reconfigure(errors="backslashreplace")
        else:
            path = stack.enter_context(_replacing(output))
            file = stack.enter_context(open(path, "w", encoding="utf-8", errors="backslashreplace", newline=""))
        if format == "table":
            yield _TableWriter(file, names)
        elif format == "csv":
            yield _CsvWriter(file, labels)
        else:
            yield _JsonlWriter(file)
        file.flush()


@contextlib.contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A file beside ``output`` that takes its place at the end, so that no reader ever sees half of it."""
    if output.exists() and not output.is_file():  # a pipe or a device is written to as it is
        yield output
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)


class _TableWriter:
    def __init__(self, file: IO[str], names: Sequence[str]) -> None:
        self._file = file
        self._width = min(max((len(name) for name in names), default=4), 60)
        file.write(f"{'file':<{self._width}}  {'answer':<10} {'sure':>5} {'length':>8}  remarks\n")

    def write(self, row: Row) -> None:
        name = _one_line(row["file"])
        if len(name) > self._width:
            name = "…" + name[-(self._width - 1) :]
        if "error" in row:
            answer = f"{'-':<10} {'-':>5} {'-':>8}  {_one_line(row['error'])}"
        else:
            sure = f"{100 * row['scores'][row['label']]:.0f} %"
            answer = f"{row['label']:<10} {sure:>5} {row['duration']:>6.1f} s  {'; '.join(row['warnings'])}"
        self._file.write(f"{name:<{self._width}}  {answer}".rstrip() + "\n")
        self._file.flush()


class _JsonlWriter:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()


class _CsvWriter:
    def __init__(self, file: IO[str], labels: list[str]) -> None:
        self._file = file
        self._writer = csv.DictWriter(file, _columns(labels))
        self._writer.writeheader()

    def write(self, row: Row) -> None:
        flat = _flat(row)
        self._writer.writerow(flat | {"warnings": "; ".join(flat["warnings"])})
        self._file.flush()


class _ParquetWriter:
    def __init__(self, path: Path, labels: list[str]) -> None:
        import pyarrow
        import pyarrow.parquet

        text = pyarrow.string()
        types = {"file": text, "label": text, "warnings": pyarrow.list_(text), "error": text}
        types["confident"] = pyarrow.bool_()
        self._schema = pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in _columns(labels)])
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []
        self._to_table = pyarrow.Table.from_pylist

    def write(self, row: Row) -> None:
        flat = _flat(row)
        self._rows.append({k: _utf8(value) if isinstance(value, str) else value for k, value in flat.items()})
        if len(self._rows) >= PARQUET_ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._to_table(self._rows, schema=self._schema))
        self._rows = []

    def __enter__(self) -> _ParquetWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._writer:
            if self._rows:
                self._flush()


def _columns(labels: list[str]) -> list[str]:
    """The columns of csv and parquet; probabilities are named as in a run's predictions."""
    return ["file", "label", "confident", *(f"p_{label}" for label in labels), "duration", "warnings", "error"]


def _flat(row: Row) -> Row:
    """A row of csv or parquet: one column a probability, no timeline."""
    kept = ("file", "label", "confident", "duration", "warnings", "error")
    flat = {"warnings": []} | {key: row[key] for key in kept if key in row}
    return flat | {f"p_{label}": score for label, score in row.get("scores", {}).items()}


def _one_line(text: str) -> str:
    """Text whose line breaks and other control characters are spelled out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
