"""Rows of predictions: made, kept for a run that resumes, and written as a table, JSON lines, csv or parquet."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ser_hf.utils.files import replacing

if TYPE_CHECKING:
    from ser_hf.classifier import EmotionClassifier

FORMATS = ("table", "jsonl", "csv", "parquet")
ROW_GROUP_ROWS = 256
SHARD_ROWS = 10_000
MAX_NAME = 60  # characters of the table's first column

Row = dict[str, Any]
"""What `Prediction.to_dict` holds, or ``file`` and ``error``; before prediction ``file``, and where its audio is."""


def predict_rows(classifier: EmotionClassifier, inputs: Sequence[Row], max_seconds: float | None) -> Iterator[Row]:
    """Predict recordings: one row per input, in order.

    Args:
        inputs: rows with ``file``; with ``audio`` (what `ser_hf.audio.read_audio` takes), the recording is that and
            ``file`` its name; rows with ``error`` are yielded as they are.
        max_seconds: longer recordings yield an error.
    """
    from ser_hf.audio import AudioError, TooLongError  # numpy: --help does not wait for it

    sources = (item.get("audio", item["file"]) for item in inputs if "error" not in item)
    predictions = classifier.predict_many(sources, max_seconds=max_seconds)
    for item in inputs:
        if "error" in item:
            yield item
            continue
        prediction = next(predictions)
        if isinstance(prediction, AudioError):
            remedy = " (or raise --max_minutes)" if isinstance(prediction, TooLongError) else ""
            yield {"file": item["file"], "error": f"{prediction}{remedy}"}
        else:
            yield prediction.to_dict() | {"file": item["file"]}


class PartialRows:
    """Rows predicted so far: JSON lines in a hidden file beside the output, from which the same command resumes.

    Args:
        output: the file or folder that the rows will become.
        settings: what rows depend on besides the recording, such as the model; others have a file of their own.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, output: Path, settings: Sequence[object]) -> None:
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        self.path = output.with_name(f".{output.name}.{digest}.partial")
        self._file = open(self.path, "a+b")  # noqa: SIM115 (closed by __exit__)
        self._places: dict[str, int] = {}  # where in the file the row of a recording begins, by `file_key`
        self._file.seek(0)
        end = 0
        for line in self._file:
            try:
                self._places[json.loads(line)["key"]] = end
            except ValueError:  # cut off when the process was killed
                break
            end += len(line)
        self._file.truncate(end)

    def __enter__(self) -> PartialRows:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def complete(self, inputs: Sequence[Row], predict: Callable[[list[Row]], Iterable[Row]]) -> Iterator[Row]:
        """Predict the inputs that are missing, and return the rows of all, in order.

        A recording whose size or time of change is another by now is missing.
        """
        keys = [file_key(item) for item in inputs]
        missing = {key: item for key, item in zip(keys, inputs, strict=True) if key not in self._places}
        total = len(set(keys))
        if len(missing) < total:
            print(f"resuming: {total - len(missing)} of {total} recordings are done", file=sys.stderr)
        for key, row in zip(missing, predict(list(missing.values())), strict=True):
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps({"key": key, "row": row}).encode() + b"\n")
            self._file.flush()
            self._places[key] = place
        return (self._row(key) for key in keys)

    def _row(self, key: str) -> Row:
        self._file.seek(self._places[key])
        return json.loads(self._file.readline())["row"]

    def remove(self) -> None:
        """Delete the file: its rows are in the output."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def file_key(item: Row) -> str:
    """The name, size and time of change of the file that a recording lies in."""
    try:
        status = os.stat(item.get("shard") or item["file"])
    except (OSError, ValueError):
        return json.dumps([item["file"]])
    return json.dumps([item["file"], status.st_size, status.st_mtime_ns])


def model_key(folder: Path) -> list[str]:
    """The names, sizes and times of change of the files that a model's predictions depend on."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".onnx", ".safetensors", ".skops"))
    return [file_key({"file": str(file)}) for file in files]


def write_rows(
    rows: Iterable[Row], format: str, output: Path | None, labels: Sequence[str], names: Sequence[str]
) -> int:
    """Write rows one by one; a file takes its place when all are written.

    Args:
        format: one of `FORMATS`; "parquet" needs an ``output``.
        output: a file, pipe or device; None is standard output. For parquet it may be a folder, where files of
            `SHARD_ROWS` rows take the place of those that an earlier call has left.
        labels: the model's labels; csv and parquet have a column for each.
        names: of the recordings to come, for the width of the table's first column.

    Returns:
        How many rows have an error.
    """
    failed = 0

    def counted() -> Iterator[Row]:
        nonlocal failed
        for row in rows:
            failed += "error" in row
            yield row

    if output is not None and output.is_dir():
        _write_shards(output, counted(), labels)
    elif format == "parquet":
        assert output is not None, "parquet is written to a file"
        with _place(output) as path:
            _write_parquet(path, counted(), labels)
    else:
        with _open_text(output) as file:
            if format == "table":
                _write_table(file, counted(), names)
            elif format == "csv":
                _write_csv(file, counted(), labels)
            else:
                for row in counted():
                    print(json.dumps(row, ensure_ascii=False), file=file)
            file.flush()
    return failed


def _place(output: Path) -> contextlib.AbstractContextManager[Path]:
    """Where to write what takes the place of ``output`` at the end; a pipe or device is written to as it is."""
    if output.exists() and not output.is_file():
        return contextlib.nullcontext(output)
    return replacing(output, shared=True)


@contextlib.contextmanager
def _open_text(output: Path | None) -> Iterator[IO[str]]:
    """A file, or standard output, of which every line is flushed; names that are no UTF-8 are escaped."""
    if output is not None:
        with (
            _place(output) as path,
            open(path, "w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            yield file
        return
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    yield sys.stdout


def _write_table(file: IO[str], rows: Iterable[Row], names: Sequence[str]) -> None:
    width = min(max(map(len, names), default=4), MAX_NAME)
    print(f"{'file':<{width}}  {'label':<10} {'score':>5} {'duration':>8}  warnings", file=file)
    for row in rows:
        name = _one_line(row["file"])
        if len(name) > width:
            name = "…" + name[-(width - 1) :]
        if "error" in row:
            rest = f"{'-':<10} {'-':>5} {'-':>8}  {_one_line(row['error'])}"
        else:
            score = f"{100 * row['scores'][row['label']]:.0f} %"
            rest = f"{row['label']:<10} {score:>5} {row['duration']:>6.1f} s  {'; '.join(row['warnings'])}"
        print(f"{name:<{width}}  {rest}".rstrip(), file=file)


def _write_csv(file: IO[str], rows: Iterable[Row], labels: Sequence[str]) -> None:
    writer = csv.DictWriter(file, _columns(labels))
    writer.writeheader()
    for row in rows:
        flat = _flat(row)
        writer.writerow(flat | {"warnings": "; ".join(flat["warnings"])})


def _write_parquet(path: Path, rows: Iterator[Row], labels: Sequence[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    types = {"file": text, "label": text, "warnings": pyarrow.list_(text), "error": text, "confident": pyarrow.bool_()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in _columns(labels)])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while group := [_flat(row) for row in itertools.islice(rows, ROW_GROUP_ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _write_shards(folder: Path, rows: Iterator[Row], labels: Sequence[str]) -> None:
    """Parquet files ``part-00000.parquet`` and so on; at least one, so that the columns are there."""
    written = set()
    for number in itertools.count():
        shard = list(itertools.islice(rows, SHARD_ROWS))
        if not shard and number:
            break
        path = folder / f"part-{number:05}.parquet"
        with _place(path) as part:
            _write_parquet(part, iter(shard), labels)
        written.add(path)
    for path in set(folder.glob("part-[0-9][0-9][0-9][0-9][0-9].parquet")) - written:
        path.unlink()  # of an earlier call with more rows


def _columns(labels: Sequence[str]) -> list[str]:
    """The columns of csv and parquet; probabilities are named as in a run's predictions."""
    return ["file", "label", "confident", *(f"p_{label}" for label in labels), "duration", "warnings", "error"]


def _flat(row: Row) -> Row:
    """A row of csv or parquet: one column per probability, no timeline, text that is valid UTF-8."""
    kept = {key: row[key] for key in ("label", "confident", "duration") if key in row}
    texts = {key: row[key].encode("utf-8", "backslashreplace").decode() for key in ("file", "error") if key in row}
    scores = {f"p_{label}": score for label, score in row.get("scores", {}).items()}
    return kept | texts | scores | {"warnings": row.get("warnings", [])}


def _one_line(text: str) -> str:
    """Text whose line breaks and other control characters are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
