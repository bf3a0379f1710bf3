"""Rows of answers written one by one as a table for people, JSON lines, csv or parquet."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from ser_hf.files import replacing

FORMATS = ("table", "jsonl", "csv", "parquet")
PARQUET_ROWS_AT_ONCE = 256
SHARD_ROWS = 10_000

Row = dict[str, Any]
"""What `Prediction.to_dict` holds, or ``file`` and ``error``."""


def name_of(item: str | Row) -> str:
    """What a recording is called, be it asked for by its name or by a row."""
    return item if isinstance(item, str) else item["file"]


class Writer(Protocol):
    """Where rows go, one by one."""

    def write(self, row: Row) -> None: ...


@contextlib.contextmanager
def open_writer(format: str, output: Path | None, names: Sequence[str], labels: list[str]) -> Iterator[Writer]:
    """Write rows to the terminal, or to a file that takes its place when all is written.

    Args:
        format: one of `FORMATS`; "parquet" needs an ``output``.
        output: a file, pipe or device; None is standard output. For parquet it may be a folder, where files of
            `SHARD_ROWS` rows take the place of those that an earlier call has left.
        names: of the recordings to come, which the table's first column must hold.
        labels: the model's labels; csv and parquet have a column for each.
    """

    with contextlib.ExitStack() as stack:
        if format == "parquet":
            assert output is not None, "parquet is written to a file"
            if output.is_dir():
                yield stack.enter_context(_ShardWriter(output, labels))
                return
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
    with replacing(output, shared=True) as part:
        yield part


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


class _ShardWriter:
    """Parquet files ``part-00000.parquet`` and so on in a folder; each takes its place when it is full."""

    def __init__(self, folder: Path, labels: list[str]) -> None:
        self._folder, self._labels = folder, labels
        self._shard = contextlib.ExitStack()
        self._n_rows = self._n_shards = 0

    def write(self, row: Row) -> None:
        if self._n_rows % SHARD_ROWS == 0:
            self._begin_shard()
        self._writer.write(row)
        self._n_rows += 1

    def _begin_shard(self) -> None:
        self._shard.close()
        path = self._shard.enter_context(_replacing(self._folder / f"part-{self._n_shards:05}.parquet"))
        self._writer = self._shard.enter_context(_ParquetWriter(path, self._labels))
        self._n_shards += 1

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *exception: Any) -> None:
        if not self._n_shards and exception[0] is None:
            self._begin_shard()  # without a row, but with the columns
        self._shard.__exit__(*exception)
        if exception[0] is None:
            for file in self._folder.glob("part-*.parquet"):
                number = file.stem.removeprefix("part-")
                if number.isdecimal() and int(number) >= self._n_shards:
                    file.unlink()  # of an earlier call with more rows


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
