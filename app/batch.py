"""The batch tab: many recordings at once, in files of their own or in zip archives, as rows, as HTML and as CSV."""

from __future__ import annotations

import csv
import io
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from app.analysis import Analyser, Answer, refused
from app.limits import Limits
from app.views import REFUSALS, refusal, render
from ser_hf.audio import UnreadableAudioError
from ser_hf.predict import AUDIO_SUFFIXES

Batch = dict[str, Any]

NO_FILES = "There are no files yet. Choose recordings, or zip archives that hold some."
ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # no sound begins so; the second is that of an empty archive
# zipfile unpacks the other methods without a bound: a few kB of bzip2 would fill the memory.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # of an entry's flags
LONGEST_LIST = 1 << 20  # bytes: some 10,000 files
# What zipfile raises on damaged bytes; RuntimeError stands for NotImplementedError too.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError, ValueError, RuntimeError)

HEADS = ("Recording", "Neural network", "Baseline", "Length", "Remarks")
COLUMNS = (
    *("file", "label", "confidence", "confident"),
    *("baseline", "baseline_confidence", "baseline_confident", "agree", "duration"),
)
# With these a spreadsheet takes a text for a formula, and runs what somebody wrote into the name of a file.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Recording:
    """One recording of a batch before it is read.

    Attributes:
        name: what the visitor knows it by: ``clip.wav``, or ``archive.zip/folder/clip.wav``.
        size: bytes, as the file has them or as the archive claims.
        read: gives what `ser_hf.audio.read_audio` takes; raises `UnreadableAudioError`.
    """

    name: str
    size: int
    read: Callable[[], Any]


def run_batch(
    analyser: Analyser,
    files: Sequence[str] | None,
    report: Callable[[int, int, str], object] = lambda done, total, name: None,
    clock: Callable[[], float] = time.monotonic,
) -> Batch:
    """Predict the emotion of every recording, or say why there is no prediction.

    Files are taken in the order given, an archive's recordings in the archive's. Nothing is unpacked to disk. What the
    limits leave out is in a last row without a file name.

    Args:
        analyser: the models, and the limits that the batch keeps to.
        files: paths; their names are shown, their folders are not.
        report: called after each recording with how many are done, how many there are, and the name of the last.
        clock: seconds, for the time limit; it is looked at before each recording, and the one begun is finished.

    Returns:
        ``rows``, ``answered`` and ``failed`` (recordings; those left out have failed) and ``seconds`` (of what was
        answered); without files also ``error``. A row holds ``file``, ``label``, ``confidence``, ``confident``
        (whether that is enough for the label to count), ``baseline``, ``baseline_confidence``, ``baseline_confident``,
        ``agree``, ``duration`` (s), ``warnings``, ``scores`` and ``baseline_scores``; or ``file``, ``reason`` (as of
        `Analyser.analyse`, or "batch too large", "too many", "out of time") and ``error``.
    """
    if not files:
        return {"rows": [], "answered": 0, "failed": 0, "seconds": 0.0, "error": NO_FILES}
    limits = analyser.limits
    deadline = clock() + 60 * limits.batch_minutes
    # Listing twice is cheap, and only one archive is open at a time.
    total = sum(1 for _ in find_recordings(files, limits))
    rows: list[Answer] = []
    room = limits.batch_megabytes * 1e6
    for recording in find_recordings(files, limits):
        if rest := _rest(limits, len(rows), total, late=clock() >= deadline):
            rows.append(rest)
            break
        if isinstance(recording, Recording):
            row = analyser.too_large(recording.name, recording.size)
            if not row and recording.size > room:
                row = _over(recording.name, limits)
            if not row:
                room -= recording.size
                row = _row(analyser, recording)
        else:
            row = recording
        rows.append(row)
        report(len(rows), min(total, limits.batch_files), row["file"])
    answers = [row for row in rows if "error" not in row]
    return {
        "rows": rows,
        "answered": len(answers),
        "failed": total - len(answers),
        "seconds": round(sum(row["duration"] for row in answers), 3),
    }


def find_recordings(files: Sequence[str], limits: Limits) -> Iterator[Recording | Answer]:
    """The recordings in files and archives, in order; an archive that gives none is one refusal.

    An archive is known by its content. Together they may have ``limits.batch_megabytes`` as they come.
    """
    room = limits.batch_megabytes * 1e6
    for path in files:
        name = Path(path).name
        try:
            with open(path, "rb") as file:
                start, size = file.read(4), file.seek(0, io.SEEK_END)
        except OSError:  # `read_audio` says what is wrong
            start, size = b"", 0
        if start not in ARCHIVE_STARTS:
            yield Recording(name, size, partial(str, path))
        elif size > room:
            yield _over(name, limits)
        else:
            room -= size
            yield from _in_archive(path, name)


def _in_archive(path: str, name: str) -> Iterator[Recording | Answer]:
    """The recordings of one zip archive, chosen as `ser_hf.predict` does in a folder."""
    empty = True
    try:
        with _Archive(path) as file, zipfile.ZipFile(file) as archive:
            for entry in filter(_is_recording, archive.infolist()):
                empty = False
                inner = f"{name}/{entry.filename}"
                yield Recording(inner, entry.file_size, partial(_unpack, archive, entry, inner))
    except UnreadableAudioError as error:
        yield refused(name, "unreadable", str(error))
    except DAMAGE:
        yield refused(name, "unreadable", f"{name}: a damaged zip archive, or a part of one. Pack it again.")
    else:
        if empty:
            yield refused(name, "unreadable", f"{name}: the archive holds no recordings ({', '.join(AUDIO_SUFFIXES)})")


class _Archive(io.FileIO):
    """A zip archive whose list of files, which zipfile reads at once, is refused where it is too long to go through."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > LONGEST_LIST:
            raise UnreadableAudioError(f"{Path(self.name).name}: an archive of too many files. Pack fewer into one.")
        return super().read(size)


def _is_recording(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename.replace("\\", "/")  # as some programs of Windows write it
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts  # what macOS leaves beside each file is no sound
    return path.suffix.lower() in AUDIO_SUFFIXES and not hidden and not name.endswith("/")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Answer:
    """An entry in memory, as `ser_hf.audio.read_audio` takes it; no more is unpacked than its header claims."""
    if entry.flag_bits & ENCRYPTED:
        raise UnreadableAudioError(f"{name}: locked with a password. Pack it again without one.")
    if entry.compress_type not in METHODS:
        raise UnreadableAudioError(f"{name}: compressed in an unusual way. Pack it again as an ordinary zip archive.")
    try:
        with archive.open(entry) as file:
            data = file.read(entry.file_size + 1)
    except DAMAGE:
        data = b""
    if len(data) != entry.file_size:
        raise UnreadableAudioError(f"{name}: damaged inside the archive. Pack it again.")
    return {"path": name, "bytes": data}


def _over(name: str, limits: Limits) -> Answer:
    error = f"With this the batch has more than {limits.batch_megabytes} MB, the most that are taken at once."
    return refused(name, "batch too large", f"{error} Send it in another batch.")


def _rest(limits: Limits, done: int, total: int, late: bool) -> Answer | None:
    """The last row, where a limit leaves out all that comes after."""
    if done == limits.batch_files:
        reason, limit = "too many", f"at most {limits.batch_files} recordings are taken at once"
    elif late:
        reason, limit = "out of time", f"the {limits.batch_minutes} min that one batch may take were over"
    else:
        return None
    return refused("", reason, f"Left out: {total - done} more, as {limit}. Send them as another batch.")


def _row(analyser: Analyser, recording: Recording) -> Answer:
    try:
        source = recording.read()
    except UnreadableAudioError as error:
        return refused(recording.name, "unreadable", str(error))
    answer = analyser.answer(source, recording.name)
    if "error" in answer:
        return answer
    model, baseline = answer["model"], answer["baseline"]
    of_baseline = [f"baseline: {warning}" for warning in baseline["warnings"]]
    return {
        "file": answer["file"],
        "label": model["label"],
        "confidence": model["scores"][model["label"]],
        "confident": model["confident"],
        "baseline": baseline["label"],
        "baseline_confidence": baseline["scores"][baseline["label"]],
        "baseline_confident": baseline["confident"],
        "agree": answer["agree"],
        "duration": answer["duration"],
        "warnings": answer["warnings"] + model["warnings"] + of_baseline,
        "scores": model["scores"],
        "baseline_scores": baseline["scores"],
    }


def batch_html(batch: Batch) -> str:
    """What `run_batch` returns, as a self-contained piece of the page."""
    if "error" in batch:
        return refusal(REFUSALS["nothing"][0], batch["error"])
    agreed = sum(row.get("agree", False) for row in batch["rows"])
    return render("batch.html", batch=batch, heads=HEADS, agreed=agreed)


def write_csv(batch: Batch, labels: Sequence[str], path: Path) -> None:
    """Write what `run_batch` returns as one table, one row per recording.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        batch: the rows.
        labels: of the models; each has a column of probabilities of the model and one of the baseline.
        path: the file to write.
    """
    table = []
    for row in batch["rows"]:
        cells = {column: row[column] for column in (*COLUMNS, "error") if column in row}
        cells["warnings"] = "; ".join(row.get("warnings", ()))
        for prefix, scores in (("p_", "scores"), ("baseline_p_", "baseline_scores")):
            cells |= {f"{prefix}{label}": score for label, score in row.get(scores, {}).items()}
        table.append({column: _no_formula(cell) for column, cell in cells.items()})
    probabilities = [f"{prefix}{label}" for prefix in ("p_", "baseline_p_") for label in labels]
    others = [column for cells in table for column in cells if "p_" in column]  # labels of the baseline alone
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys([*COLUMNS, *probabilities, *others, "warnings", "error"])))
        writer.writeheader()
        writer.writerows(table)


def _no_formula(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
