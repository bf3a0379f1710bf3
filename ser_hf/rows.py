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
# With these a spreadsheet takes a text for a formula, and runs what somebody wrote into the name of a file.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

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
        prediction, place = next(predictions), {key: item[key] for key in ("file", "channel") if key in item}
        if isinstance(prediction, AudioError):
            remedy = " (or raise --max_minutes)" if isinstance(prediction, TooLongError) else ""
            yield place | {"error": f"{prediction}{remedy}"}
        else:
            yield prediction.to_dict() | place


def partial_file(output: Path, settings: Sequence[object]) -> Path:
    """Where an interrupted command keeps its rows: beside the output, one file for each choice of settings."""
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    return output.with_name(f".{output.name}.{digest}.partial")


def resumed_rows(
    partial: Path, inputs: Sequence[Row], predict: Callable[[Sequence[Row]], Iterable[Row]]
) -> Iterator[Row]:
    """The rows of all inputs: first those that an interrupted command kept, then predicted ones, which are kept too.

    Args:
        partial: JSON lines; those count that are whole and, in order, of inputs that have not changed since.
        predict: yields one row per input.

    Raises:
        OSError: the file cannot be read or written.
    """
    keys = [file_key(item) for item in inputs]
    with open(partial, "a+b") as file:
        file.seek(0)
        done = end = 0
        for line, key in zip(file, keys, strict=False):
            if not line.endswith(b"\n") or json.loads(line)["key"] != key:
                break
            done, end = done + 1, end + len(line)
        file.truncate(end)
        if done:
            print(f"resuming: {done} of {len(inputs)} recordings are done", file=sys.stderr)
        file.seek(0)
        for _ in range(done):
            yield json.loads(file.readline())["row"]
        for key, row in zip(keys[done:], predict(inputs[done:]), strict=True):
            file.write(json.dumps({"key": key, "row": row}).encode() + b"\n")
            file.flush()
            yield row


def file_key(item: Row) -> list[str | int]:
    """The name of a recording, and the size and time of change of the file that it lies in, or its digest."""
    if (item.get("audio") or {}).get("bytes") is not None:  # of standard input
        return [item["file"], hashlib.sha256(item["audio"]["bytes"]).hexdigest()]
    try:
        status = os.stat(item.get("shard") or item["file"])
    except (OSError, ValueError):
        return [item["file"]]
    return [item["file"], status.st_size, status.st_mtime_ns]


def model_key(folder: Path) -> list[list[str | int]]:
    """The names, sizes and times of change of the files that a model's predictions depend on."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".onnx", ".safetensors", ".skops"))
    return [file_key({"file": str(file)}) for file in files]


def write_rows(
    rows: Iterable[Row],
    format: str,
    output: Path | None,
    labels: Sequence[str],
    names: Sequence[str],
    timeline: bool = False,
    more_columns: Sequence[str] = (),
) -> int:
    """Write rows one by one; a file takes its place when all are written.

    Args:
        format: one of `FORMATS`; "parquet" needs an ``output``.
        output: a file, pipe or device; None is standard output. For parquet it may be a folder, where files of
            `SHARD_ROWS` rows take the place of those that an earlier call has left.
        labels: the model's labels; csv and parquet have a column for each.
        names: of the recordings to come, for the width of the table's first column.
        timeline: csv and parquet have a row for each utterance of a recording.
        more_columns: texts that rows have besides the usual ones.

    Returns:
        How many recordings have an error.
    """
    failed = 0
    columns = [*_columns(labels, timeline), *more_columns]

    def counted() -> Iterator[Row]:
        nonlocal failed
        for row in rows:
            failed += "error" in row
            yield from _windows(row) if timeline and format in ("csv", "parquet") else [row]

    if output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
        _write_text(sys.stdout, counted(), format, columns, names)
    elif output.is_dir():
        _write_shards(output, counted(), columns)
    else:
        with placed(output) as path:
            if format == "parquet":
                _write_parquet(path, counted(), columns)
            else:
                with open(path, "w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="") as file:
                    _write_text(file, counted(), format, columns, names)
    return failed


def placed(output: Path) -> contextlib.AbstractContextManager[Path]:
    """Where to write what takes the place of ``output`` at the end; a pipe or device is written to as it is."""
    if output.exists() and not output.is_file():
        return contextlib.nullcontext(output)
    return replacing(output, shared=True)


def _write_text(file: IO[str], rows: Iterable[Row], format: str, columns: Sequence[str], names: Sequence[str]) -> None:
    if format == "table":
        _write_table(file, rows, names)
    elif format == "csv":
        _write_csv(file, rows, columns)
    else:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False), file=file)
    file.flush()


def _write_table(file: IO[str], rows: Iterable[Row], names: Sequence[str]) -> None:
    width = min(max(map(len, names), default=4), MAX_NAME)
    print(f"{'file':<{width}}  {'label':<10} {'score':>5} {'duration':>8}  warnings", file=file)
    for row in rows:
        name = one_line(row["file"]) + (f" ({row['channel']})" if "channel" in row else "")
        if len(name) > width:
            name = "…" + name[-(width - 1) :]
        if "error" in row:
            rest = f"{'-':<10} {'-':>5} {'-':>8}  {one_line(row['error'])}"
        else:
            score = f"{100 * row['scores'][row['label']]:.0f} %"
            rest = f"{row['label']:<10} {score:>5} {row['duration']:>6.1f} s  {'; '.join(row['warnings'])}"
        print(f"{name:<{width}}  {rest}".rstrip(), file=file)


def _write_csv(file: IO[str], rows: Iterable[Row], columns: Sequence[str]) -> None:
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    for row in rows:
        flat = _flat(row)
        flat |= {"warnings": "; ".join(flat["warnings"])}
        writer.writerow({column: no_formula(cell) for column, cell in flat.items()})


def no_formula(cell: Any) -> Any:
    """A cell of a CSV file; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def _write_parquet(path: Path, rows: Iterator[Row], columns: Sequence[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    types = dict.fromkeys(("file", "label", "channel", "error"), text)
    types |= {"warnings": pyarrow.list_(text), "confident": pyarrow.bool_()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in columns])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while group := [_flat(row) for row in itertools.islice(rows, ROW_GROUP_ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _write_shards(folder: Path, rows: Iterator[Row], columns: Sequence[str]) -> None:
    """Parquet files ``part-00000.parquet`` and so on; at least one, so that the columns are there."""
    written = set()
    for number in itertools.count():
        shard = list(itertools.islice(rows, SHARD_ROWS))
        if not shard and number:
            break
        path = folder / f"part-{number:05}.parquet"
        with placed(path) as part:
            _write_parquet(part, iter(shard), columns)
        written.add(path)
    for path in set(folder.glob("part-[0-9][0-9][0-9][0-9][0-9].parquet")) - written:
        path.unlink()  # of an earlier call with more rows


def _columns(labels: Sequence[str], timeline: bool) -> list[str]:
    """The columns of csv and parquet; probabilities are named as in a run's predictions."""
    first = ("file", "start", "end", "label", "distance") if timeline else ("file", "label", "confident", "distance")
    return [*first, *(f"p_{label}" for label in labels), "duration", "warnings", "error"]


def _windows(row: Row) -> list[Row]:
    """A row for each utterance, with what is known of the recording as a whole; an error stays one row."""
    if "error" in row:
        return [row]
    whole = {key: row[key] for key in ("file", "channel", "distance", "duration", "warnings") if key in row}
    return [whole | window for window in row["timeline"]]


def _flat(row: Row) -> Row:
    """A row of csv or parquet: one column per probability, no timeline, text that is valid UTF-8."""
    as_they_are = ("start", "end", "label", "confident", "distance", "duration", "channel")
    kept = {key: row[key] for key in as_they_are if key in row}
    texts = {key: row[key].encode("utf-8", "backslashreplace").decode() for key in ("file", "error") if key in row}
    scores = {f"p_{label}": score for label, score in row.get("scores", {}).items()}
    return kept | texts | scores | {"warnings": row.get("warnings", [])}


def one_line(text: str) -> str:
    """Text whose line breaks and other control characters are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
