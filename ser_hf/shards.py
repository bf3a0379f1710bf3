"""Recordings that lie in parquet shards, as `datasets` writes them, or that a parquet file names."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Iterator
from typing import Any

from ser_hf.rows import Row

SHARD_SUFFIX = ".parquet"
AUDIO, FILE = "audio", "file"  # columns: a struct of bytes and path, or names of files


def expand(inputs: Iterable[str | Row]) -> Iterator[str | Row]:
    """The inputs, with the recordings of a parquet file in its place."""
    for item in inputs:
        if isinstance(item, str) and item.lower().endswith(SHARD_SUFFIX):
            yield from recordings_in(item)
        else:
            yield item


def shards_of(inputs: Iterable[str | Row]) -> list[str]:
    """The parquet files, sorted, that sounds of these inputs lie in."""
    return sorted({item["shard"] for item in inputs if isinstance(item, dict) and "shard" in item})


def recordings_in(shard: str) -> Iterator[str | Row]:
    """The recordings of a parquet file, in the order of its rows.

    Yields:
        For a column ``audio`` (a struct of ``bytes`` and ``path``) rows that `ShardReader.read` takes, with ``file``,
        which is ``SHARD#ROW:PATH``, ``shard`` and ``row``; for a column ``file`` the names in it. One row with an error
        for a file that cannot be read, has neither column, or has no rows.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(shard) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            fields = {field.name: field.type for field in schema}
            kind = fields.get(AUDIO)
            inner = {field.name for field in kind} if kind is not None and pyarrow.types.is_struct(kind) else set()
            if not count:
                raise ValueError("it has no rows")
            if "bytes" in inner:
                # Of the structs the paths alone: the sounds may be larger than the memory.
                columns = [f"{AUDIO}.path"] if "path" in inner else []
            elif FILE in fields:
                columns = [FILE]
            else:
                raise ValueError(f"it needs a column {AUDIO} (a struct of bytes and path) or {FILE} (names of files)")
            table = file.read(columns=columns)
    except (OSError, ValueError) as error:  # pyarrow's own errors are one or the other
        yield {"file": shard, "error": f"{shard}: no recordings can be read from it: {error}"}
        return
    if columns == [FILE]:
        yield from (str(name or "") for name in table[FILE].to_pylist())
        return
    paths = [(value or {}).get("path") for value in table[AUDIO].to_pylist()] if columns else [None] * count
    for row, path in enumerate(paths):
        yield {"file": f"{shard}#{row}:{path or ''}", "shard": os.path.abspath(shard), "row": row}


class ShardReader:
    """Reads the sounds of shards; one group of rows is kept in memory, so rows are best asked for in their order."""

    def __init__(self) -> None:
        self._shard: str | None = None
        self._group: int | None = None
        self._file: Any = None
        self._rows: Any = None
        self._starts: list[int] = []

    def read(self, item: str | Row) -> tuple[str | Row, bytes | None]:
        """What a worker is to hear of a recording.

        Returns:
            (item, None) for what is no row of `recordings_in`; else a row with ``file`` and ``audio``, of which
            ``path`` is known, and the bytes of the file, or None where the shard names it alone; or an error.
        """
        if isinstance(item, str) or "shard" not in item:
            return item, None
        name = item["file"]
        try:
            sound = self._value(item["shard"], item["row"]) or {}
        except (OSError, ValueError) as error:
            return {"file": name, "error": f"{name}: cannot be read: {error}"}, None
        if sound.get("bytes") is not None:
            return {"file": name, "audio": {"path": name}}, sound["bytes"]
        if sound.get("path"):
            return {"file": name, "audio": {"path": sound["path"]}}, None
        return {"file": name, "error": f"{name}: this row of the shard holds neither bytes nor a path"}, None

    def _value(self, shard: str, row: int) -> Row | None:
        import pyarrow.parquet

        if shard != self._shard:
            self._shard = self._group = None
            self._file = pyarrow.parquet.ParquetFile(shard)
            self._starts = [0]
            for group in range(self._file.num_row_groups):
                self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)
            self._shard = shard
        group = bisect.bisect_right(self._starts, row) - 1
        if not 0 <= group < self._file.num_row_groups:
            raise ValueError("the file has fewer rows by now")
        if group != self._group:
            self._group = self._rows = None  # never two of them in memory
            self._rows = self._file.read_row_group(group, columns=[AUDIO])[AUDIO]
            self._group = group
        return self._rows[row - self._starts[group]].as_py()
