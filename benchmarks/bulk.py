"""Many files at once: hours of audio an hour, and whether memory grows with their number.

Examples:

    python -m benchmarks.bulk
    python -m benchmarks.bulk --threads 1
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.inputs import BFLOAT16, CLIP_SECONDS, FLOAT32, OURS, SVM, clip_file, precision_of
from benchmarks.start import PREDICT, run
from benchmarks.tables import Settings, Table, main, table_parser
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL
from ser_hf.command_line import CommandParser

FEW, MANY, VERY_MANY = 100, 1000, 10_000


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.bulk", __doc__)


def measure(settings: Settings) -> Table:
    """A folder of few files, and one of many, as parquet; the difference leaves the start out."""
    few, many, very_many = (4, 8, 8) if settings.tiny else (FEW, MANY, VERY_MANY)
    sizes = {BFLOAT16: many, FLOAT32: very_many}
    contenders = {
        **{name: (sizes[name], ["--precision", precision_of(name), "--model", str(DEFAULT_MODEL)]) for name in OURS},
        SVM: (many, ["--model", str(DEFAULT_BASELINE)]),
    }
    rows: list[list[str | float | None]] = []
    taken: dict[str, list[float]] = {}
    for name, (count, options) in contenders.items():
        seconds, memory = zip(*(_predict(settings, files, options) for files in (few, count)), strict=True)
        taken[name] = list(seconds)
        rate = (count - few) * CLIP_SECONDS / max(seconds[1] - seconds[0], 1e-9)
        rows.append([name, rate, memory[0], count, memory[1]])
    return Table(
        "Many files",
        f"`python -m ser_hf.predict FOLDER --format parquet --output F` with {settings.threads} threads, on {few} and "
        f"on many clips of {CLIP_SECONDS} s. Hours of audio an hour are of the clips that the second folder has more; "
        "memory is the most that was resident.",
        ["what", "hours an hour", f"MB, {few} files", "files", "MB, so many files"],
        rows,
        taken,
    )


def _predict(settings: Settings, count: int, options: list[str]) -> tuple[float, float]:
    folder = settings.work / f"{count}-files"
    if not folder.exists():
        folder.mkdir()
        clip = clip_file(settings.work)
        for number in range(count):
            _link(clip, folder / f"{number:06d}{clip.suffix}")
    output = settings.work / "answers.parquet"
    command = [*PREDICT, str(folder), "--format", "parquet", "--output", str(output), *options]
    result = run(command, settings.threads)
    output.unlink()
    return result


def _link(clip: Path, file: Path) -> None:
    try:
        file.hardlink_to(clip)
    except OSError:  # a disk without hard links
        shutil.copy(clip, file)


if __name__ == "__main__":
    sys.exit(main(measure))
