"""The batch tab: many recordings at once, in files of their own or in zip archives, as rows, as HTML and as CSV."""

from __future__ import annotations

import contextlib
import csv
import itertools
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from app.analysis import Analyser, Result, failure
from app.limits import Limits
from app.views import capital, failure_html, render
from ser_hf.audio import AudioError, UnreadableAudioError, read_audio
from ser_hf.audio import Recording as ReadRecording
from ser_hf.models import ModelError
from ser_hf.rows import no_formula
from ser_hf.utils.names import some
from ser_hf.utils.recordings import AUDIO_SUFFIXES, START_BYTES, begins_like_recording, is_hidden

Batch = dict[str, Any]

NO_FILES = "There are no files yet. Choose recordings, or zip archives that hold some."
ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # no sound begins so; the second is that of an empty archive
# zipfile unpacks the other methods without a bound: a few kB of bzip2 would fill the memory.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # of an entry's flags
PROBED = 10  # entries of an archive that are opened to see how they begin, for each recording that a batch may have
# What zipfile raises on damaged bytes; RuntimeError stands for NotImplementedError too.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError, ValueError, RuntimeError)

COLUMNS = (
    *("file", "label", "confidence", "confident"),
    *("baseline", "baseline_confidence", "baseline_confident", "agree", "duration"),
)


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
    one_speaker: bool = False,
) -> Batch:
    """Predict the emotion of every recording, or say why there is no prediction.

    Files are taken in the order given, an archive's recordings in the archive's. Nothing is unpacked to disk. What the
    limits leave out is in a last row without a file name.

    Args:
        analyser: the models, and the limits of the batch.
        files: paths; their names are shown, their folders are not.
        report: called after each recording with how many are done, how many there are, and the name of the last.
        clock: seconds, for the time limit, which is checked before each recording.
        one_speaker: all recordings are of one person, and a mix of emotions: the models are adapted to that speaker.

    Returns:
        ``rows``, ``answered`` and ``failed`` (recordings; those that a limit leaves out have failed), ``seconds`` (of
        what was predicted) and ``left_out`` (a text that names files in archives that are no recordings); without
        files, or where the models cannot be adapted, also ``reason`` and ``error``. A row holds ``file``, ``label``,
        ``confidence``, ``confident`` (whether that is enough for the label to count), ``baseline``,
        ``baseline_confidence``, ``baseline_confident``, ``agree``, ``duration`` (s), ``warnings``, ``scores`` and
        ``baseline_scores``; or ``file``, ``reason`` (as of `Analyser.analyse`, or "batch too large", "too many", "out
        of time") and ``error``.
    """
    nothing: Batch = {"rows": [], "answered": 0, "failed": 0, "seconds": 0.0, "left_out": ""}
    if not files:
        return nothing | {"reason": "nothing", "error": NO_FILES}
    limits = analyser.limits
    deadline = clock() + 60 * limits.batch_minutes
    if one_speaker:
        try:
            analyser = analyser.adapted(lambda: _usable(files, limits, lambda: clock() >= deadline))
        except (AudioError, ModelError) as error:
            return nothing | {"reason": "not adapted", "error": f"{capital(str(error))}."}
    # Listing twice is cheap, and only one archive is open at a time.
    left_out: list[str] = []
    total = sum(1 for _ in find_recordings(files, limits, left_out))
    rows: list[Result] = []
    room = limits.batch_megabytes * 1e6
    for recording in find_recordings(files, limits):
        if rest := _rest(limits, len(rows), total, late=clock() >= deadline):
            rows.append(rest)
            break
        if not isinstance(recording, Recording):
            rows.append(recording)
        elif too_large := _too_large(recording, room, limits):
            rows.append(too_large)
        else:
            room -= recording.size
            rows.append(_row(analyser, recording))
        report(len(rows), min(total, limits.batch_files), rows[-1]["file"])
    predicted = [row for row in rows if "error" not in row]
    return {
        "rows": rows,
        "answered": len(predicted),
        "failed": total - len(predicted),
        "seconds": round(sum(row["duration"] for row in predicted), 3),
        "left_out": some(left_out),
    }


def _usable(files: Sequence[str], limits: Limits, is_late: Callable[[], bool]) -> Iterator[ReadRecording]:
    """The recordings of a batch that can be read within the limits."""
    room = limits.batch_megabytes * 1e6
    for recording in itertools.islice(find_recordings(files, limits), limits.batch_files):
        if is_late():
            return
        if isinstance(recording, Recording) and not _too_large(recording, room, limits):
            room -= recording.size
            with contextlib.suppress(AudioError):
                yield read_audio(recording.read(), max_seconds=limits.seconds)


def find_recordings(
    files: Sequence[str], limits: Limits | None = None, left_out: list[str] | None = None
) -> Iterator[Recording | Result]:
    """The recordings in files and archives, in order; an archive without any is one failure.

    An archive is known by its content, and the recordings in it by their suffix or how they begin. ``left_out`` gets
    the names of its other files.
    """
    for path in files:
        name, start, size = Path(path).name, b"", 0
        try:
            with open(path, "rb") as file:
                start, size = file.read(4), Path(path).stat().st_size
        except OSError:  # `read_audio` says what is wrong
            pass
        if start in ARCHIVE_STARTS:
            yield from _in_archive(path, name, limits or Limits(), [] if left_out is None else left_out)
        else:
            yield Recording(name, size, partial(str, path))


def _in_archive(path: str, name: str, limits: Limits, left_out: list[str]) -> Iterator[Recording | Result]:
    """The recordings of one zip archive, chosen as `ser_hf.predict` does in a folder."""
    empty, probes = True, PROBED * limits.batch_files
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                place = entry.filename.replace("\\", "/")  # as some programs of Windows write it
                if place.endswith("/") or is_hidden(PurePosixPath(place)):
                    continue
                inner, known = f"{name}/{entry.filename}", place.lower().endswith(AUDIO_SUFFIXES)
                if not known and probes:
                    probes -= 1
                    known = begins_like_recording(_start(archive, entry))
                if known:
                    empty = False
                    yield Recording(inner, entry.file_size, partial(_unpack, archive, entry, inner))
                else:
                    left_out.append(inner)
    except DAMAGE:
        yield failure(name, "unreadable", f"{name}: a damaged zip archive, or a part of one. Pack it again.")
    else:
        if empty:
            yield failure(name, "unreadable", f"{name}: the archive holds no recordings")


def _start(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The first bytes of an entry; none where they cannot be read."""
    if entry.compress_type not in METHODS:
        return b""
    try:
        with archive.open(entry) as file:
            return file.read(START_BYTES)
    except DAMAGE:  # or a password
        return b""


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Result:
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


def _too_large(recording: Recording, room: float, limits: Limits) -> Result | None:
    """The failure of a recording that is larger than one may be, or than the bytes that are left."""
    if recording.size > 1e6 * limits.megabytes:
        error = f"The file has {recording.size / 1e6:.0f} MB; at most {limits.megabytes} MB are taken."
        return failure(recording.name, "too large", error)
    if recording.size > room:
        error = f"With this the batch has more than {limits.batch_megabytes} MB, the most that are taken at once."
        return failure(recording.name, "batch too large", f"{error} Send it in another batch.")
    return None


def _rest(limits: Limits, done: int, total: int, late: bool) -> Result | None:
    """The last row, where a limit leaves out all that comes after."""
    if done == limits.batch_files:
        reason, limit = "too many", f"at most {limits.batch_files} recordings are taken at once"
    elif late:
        reason, limit = "out of time", f"the {limits.batch_minutes} min that one batch may take were over"
    else:
        return None
    return failure("", reason, f"Left out: {total - done} more, as {limit}. Send them as another batch.")


def _row(analyser: Analyser, recording: Recording) -> Result:
    try:
        source = recording.read()
    except UnreadableAudioError as error:
        return failure(recording.name, "unreadable", str(error))
    result = analyser.predict(source, recording.name)
    if "error" in result:
        return result
    model, baseline = result["model"], result["baseline"]
    of_baseline = [f"baseline: {warning}" for warning in baseline["warnings"]]
    return {
        "file": result["file"],
        "label": model["label"],
        "confidence": model["scores"][model["label"]],
        "confident": model["confident"],
        "baseline": baseline["label"],
        "baseline_confidence": baseline["scores"][baseline["label"]],
        "baseline_confident": baseline["confident"],
        "agree": result["agree"],
        "duration": result["duration"],
        "warnings": result["warnings"] + model["warnings"] + of_baseline,
        "scores": model["scores"],
        "baseline_scores": baseline["scores"],
    }


def batch_html(batch: Batch) -> str:
    """What `run_batch` returns, as a self-contained piece of the page."""
    if "error" in batch:
        return failure_html(batch["reason"], batch["error"])
    agreed = sum(row.get("agree", False) for row in batch["rows"])
    return render("batch.html", batch=batch, agreed=agreed)


def write_csv(batch: Batch, path: Path) -> None:
    """Write what `run_batch` returns as one table, one row per recording and one column per probability.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    table = []
    for row in batch["rows"]:
        cells = {column: row[column] for column in (*COLUMNS, "error") if column in row}
        cells["warnings"] = "; ".join(row.get("warnings", ()))
        for prefix, scores in (("p_", "scores"), ("baseline_p_", "baseline_scores")):
            cells |= {f"{prefix}{label}": score for label, score in row.get(scores, {}).items()}
        table.append({column: no_formula(cell) for column, cell in cells.items()})
    probabilities = [column for cells in table for column in cells if "p_" in column]
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys([*COLUMNS, *probabilities, "warnings", "error"])))
        writer.writeheader()
        writer.writerows(table)
