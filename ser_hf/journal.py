"""Answers to many recordings, kept on disk one by one, so that a command that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ser_hf.rows import Row


class Journal:
    """Rows of answers in a hidden file beside the output that they will become.

    A row counts only for the file that it was made of: one that has another size or time of change by now is asked
    again. A line that was cut off by the end of a process is dropped.

    Args:
        output: the file to be.
        key: what the answers depend on beside the recordings, such as `model_key`; each has a journal of its own.

    Raises:
        OSError: the journal cannot be read or written.
    """

    def __init__(self, output: Path, key: str) -> None:
        self.path = output.with_name(f".{output.name}.{hashlib.sha256(key.encode()).hexdigest()[:12]}.journal")
        self._file = open(self.path, "a+b")  # noqa: SIM115 (closed by __exit__)
        self._places: dict[str, int] = {}
        self._file.seek(0)
        end = 0
        for line in self._file:
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:
                break
            if entry["stamp"] == _stamp(entry["row"]["file"]):
                self._places[entry["row"]["file"]] = end
            end += len(line)
        self._file.truncate(end)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the journal to the next run, unless it was removed."""
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def add(self, row: Row) -> None:
        """Keep a row; it is there for whoever comes after this process."""
        self._file.seek(0, os.SEEK_END)
        place = self._file.tell()
        self._file.write(json.dumps({"stamp": _stamp(row["file"]), "row": row}).encode() + b"\n")
        self._file.flush()
        self._places[row["file"]] = place

    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        """The kept rows of recordings, in the order that is asked for."""
        for name in names:
            self._file.seek(self._places[name])
            yield json.loads(self._file.readline())["row"]

    def remove(self) -> None:
        """Delete the journal: its rows are where they belong."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def model_key(folder: Path) -> str:
    """What tells the answers of one model folder from those of another: the sizes and times of its files."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".skops"))
    return json.dumps([(file.name, *(_stamp(str(file)) or ())) for file in files])


def file_key(name: str) -> str:
    """What tells the answers to what lies in a file from those to what lay in it before it changed."""
    return json.dumps([name, _stamp(name)])


def _stamp(name: str) -> list[int] | None:
    """Size and time of change of a file; None where there is none."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
