"""Measure the speed of the bundled models beside stock ones, and write reports/speed.md: make bench.

Examples:

    python -m experiments.speed
    python -m experiments.speed --only prediction,bulk --output reports/speed.md

Each table is measured in a process of its own. Its figures are kept as JSON in a folder beside the report, and a table
that is not measured keeps those that it had. Exit status: 0, 1 if a table failed or a fast path of the network is too
far from float32 (a probability by more than 0.01, or the label of more than one clip in 200), 2 on wrong usage.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from experiments.contenders import (
    BFLOAT16,
    CLIP_SECONDS,
    CONTENDERS,
    FLOAT32,
    ONNX,
    OURS,
    STOCK,
    SVM,
    clip_file,
    load,
    onnx_folder,
    precision_of,
    stock_folder,
)
from experiments.measuring import REPOSITORY, Table, alternate, describe, medians, run
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL, EmotionClassifier
from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.corpora import load_corpus
from ser_hf.errors import SerHfError
from ser_hf.utils.files import write_json, write_text
from ser_hf.utils.threads import VARIABLES, available_cores
from train.common import UsageError, chosen_names

REPORT = REPOSITORY / "reports" / "speed.md"
ROUNDS, START_ROUNDS = 7, 3
FEW, SIZES = 100, {BFLOAT16: 1000, FLOAT32: 2000, SVM: 1000}  # files
MAX_DIFFERENCE, SAME_LABEL = 0.01, 0.995
FAST_PATHS = {"bfloat16": {"precision": "bfloat16"}, "onnx": {"runtime": "onnx"}}
PREDICT = [sys.executable, "-m", "ser_hf.predict"]
# As people write it, with no more imports than they need.
STOCK_PIPELINE = """
import sys, soundfile
from transformers import pipeline
classify = pipeline("audio-classification", model=sys.argv[1], device="cpu")
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
print(classify({"raw": samples, "sampling_rate": rate}))
"""
INTRODUCTION = """\
# Speed

Measured by `make bench` with nothing else running, on

> {machine}

What is compared takes turns in one process where it can, and the ratios are of medians. Stock models have random
weights in the shapes of published ones (XLSR-53 large with 315.7 million parameters, wav2vec2-base with 94.6, the
encoder of Whisper base with its window of 30 s), which does not change their speed, and run in float32 by
`pipeline("audio-classification")`. "Our" models are the two in `models/`. The times themselves are in
[{folder}/]({folder}/).
"""


def prediction(work: Path, threads: int) -> Table:
    """Milliseconds per clip from a file to a prediction, warm, and the ratio of each contender to ours."""
    file = clip_file(work)
    contenders = {name: load(name, work) for name in CONTENDERS}
    taken = alternate({name: lambda call=call: call(file) for name, call in contenders.items()}, ROUNDS)
    median = medians(taken)
    return Table(
        f"From a file to a prediction, {threads} {'thread' if threads == 1 else 'threads'}",
        f"One clip of {CLIP_SECONDS} s (16 kHz, FLAC), decoded, checked and predicted; all are warm and take turns in "
        f"one process. Medians of {ROUNDS} rounds, and their ratio to ours.",
        ["what", "ms", *(f"times {name}" for name in OURS)],
        [[name, 1000 * seconds, *(seconds / median[ours] for ours in OURS)] for name, seconds in median.items()],
        taken,
    )


def start(work: Path, threads: int) -> Table:
    """Seconds and megabytes of a fresh process that predicts one clip."""
    clip = str(clip_file(work))
    commands = {
        "ser_hf.predict --help": [*PREDICT, "--help"],
        **{name: [*PREDICT, clip, "--precision", precision_of(name), "--model", str(DEFAULT_MODEL)] for name in OURS},
        ONNX: [*PREDICT, clip, "--runtime", "onnx", "--model", str(onnx_folder(work))],
        SVM: [*PREDICT, clip, "--model", str(DEFAULT_BASELINE)],
    }
    for name in STOCK:
        commands[name] = [sys.executable, "-c", STOCK_PIPELINE, str(stock_folder(name, work)), clip]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(START_ROUNDS):
        for name, command in commands.items():
            found[name].append(run(command))
    taken = {name: [seconds for seconds, _ in pairs] for name, pairs in found.items()}
    memory = {name: max(megabytes for _, megabytes in pairs) for name, pairs in found.items()}
    return Table(
        "First prediction of a fresh process",
        f"From the command to its end, with {threads} threads: imports, weights, one clip. Files are in the system's "
        f"cache. Medians of {START_ROUNDS} rounds; the most memory that was resident.",
        ["what", "s", "MB"],
        [[name, seconds, memory[name]] for name, seconds in medians(taken).items()],
        taken,
    )


def bulk(work: Path, threads: int) -> Table:
    """Hours of audio per hour, from a folder of few files and one of many; the difference leaves the start out."""
    models = {name: ["--precision", precision_of(name), "--model", str(DEFAULT_MODEL)] for name in OURS}
    models[SVM] = ["--model", str(DEFAULT_BASELINE)]
    rows: list[list[str | float | None]] = []
    taken: dict[str, list[float]] = {}
    for name, options in models.items():
        many = SIZES[name]
        seconds, memory = zip(*(_predict_folder(work, files, options) for files in (FEW, many)), strict=True)
        taken[name] = list(seconds)
        rate = (many - FEW) * CLIP_SECONDS / max(seconds[1] - seconds[0], 1e-9)
        rows.append([name, rate, memory[0], many, memory[1]])
    return Table(
        "Many files",
        f"`python -m ser_hf.predict FOLDER --format parquet --output F` with {threads} threads, on {FEW} and on many "
        f"clips of {CLIP_SECONDS} s. Hours of audio per hour are of the clips that the second folder has more; memory "
        "is the most that was resident.",
        ["what", "hours per hour", f"MB, {FEW} files", "files", "MB, so many files"],
        rows,
        taken,
    )


def _predict_folder(work: Path, count: int, options: list[str]) -> tuple[float, float]:
    folder, output = work / f"{count}-files", work / "predictions.parquet"
    if not folder.exists():
        folder.mkdir()
        for number in range(count):
            shutil.copy(clip_file(work), folder / f"{number:06d}.flac")
    result = run([*PREDICT, str(folder), "--format", "parquet", "--output", str(output), *options])
    output.unlink()
    return result


def exactness(work: Path, threads: int) -> Table:
    """The largest difference of a probability between each fast path and float32, and the share of equal labels."""
    rows = compare_fast_paths(DEFAULT_MODEL, None, 1, work)
    return Table(
        "Fast paths against float32",
        "Clips of RAVDESS from their files, by the bundled network: the largest difference of any probability to that "
        f"of float32 torch, which may be {MAX_DIFFERENCE}, and the share of clips with the same label, which must be "
        f"{100 * SAME_LABEL:.1f} %.",
        ["path", "clips", "largest difference", "same label, %"],
        [[path, count, largest, 100 * same] for path, count, largest, same in rows],
    )


def compare_fast_paths(model: Path, data: Path | None, every: int, work: Path) -> list[tuple[str, int, float, float]]:
    """(path, clips, largest difference of a probability, share of clips with the same label) of each fast path.

    Args:
        model: folder of a network.
        data: folder with the corpora (default: as `load_corpus` has it).
        every: one clip in so many is predicted.
        work: folder for the model's ONNX.

    Raises:
        CorpusError: RAVDESS is not there.
    """
    files = [audio["path"] for audio in load_corpus("ravdess", data, download=False)["audio"]][::every]

    def scores(classifier: EmotionClassifier) -> np.ndarray:
        return np.array([list(prediction.scores.values()) for prediction in classifier.predict_many(files)])

    expected = scores(EmotionClassifier.from_pretrained(model))
    rows = []
    for path, options in FAST_PATHS.items():
        found = scores(
            EmotionClassifier.from_pretrained(onnx_folder(work, model) if path == "onnx" else model, **options)
        )
        same = (found.argmax(axis=1) == expected.argmax(axis=1)).mean()
        rows.append((path, len(files), float(np.abs(found - expected).max()), float(same)))
    return rows


def page(work: Path, threads: int) -> Table:
    """The waits of a visitor of the page."""
    from experiments.page_speed import measure  # Playwright

    return measure(clip_file(work, ".wav"), ROUNDS)


TABLES: dict[str, Callable[[Path, int], Table]] = {
    function.__name__: function for function in (prediction, start, bulk, exactness, page)
}


@prints_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Measure the tables and write the report; returns the exit status: 0, 1 if one failed, 2 on wrong usage."""
    given = build_parser().parse_args(argv)
    folder, machine = given.output.with_suffix(""), describe()
    wanted = chosen_names(given.only, list(TABLES), "--only")
    if len(wanted) < len(TABLES) and (other := measured_on(folder)) not in (None, machine):
        raise UsageError(
            f"{given.output} is of another machine or other versions ({other}): measure all tables, or choose another "
            "--output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "machine.json", machine)
    failed = []
    with tempfile.TemporaryDirectory() as work:
        for name in wanted:
            for threads in sorted({1, available_cores()}) if name == "prediction" else [available_cores()]:
                began = time.perf_counter()
                try:
                    table = alone(name, Path(work), threads)
                except SerHfError as error:
                    print(f"{name}: left out: {error}", file=sys.stderr)
                    continue
                except Exception as error:  # the other tables are measured all the same
                    print(f"{name}: failed: {error}", file=sys.stderr)
                    failed.append(name)
                    continue
                write_json(folder / f"{name}{f'-{threads}' if name == 'prediction' else ''}.json", asdict(table))
                print(f"{table.markdown()}\n{name}: {time.perf_counter() - began:.0f} s", flush=True)
                if name == "exactness" and any(is_too_far(row) for row in table.rows):
                    print("exactness: a fast path is too far from float32", file=sys.stderr)
                    failed.append(name)
    write_report(given.output, folder)
    print(f"written: {given.output}")
    return int(bool(failed))


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.speed", doc=__doc__)
    parser.add_argument(
        "--only", metavar="NAMES", help=f"tables, separated by commas, of {', '.join(TABLES)} (default: all)"
    )
    parser.add_argument("--output", type=Path, metavar="F", default=REPORT, help="the report")
    return parser


def alone(name: str, work: Path, threads: int) -> Table:
    """Measure a table in a process whose numerical libraries have so many threads."""
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))  # inherited by the process
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(TABLES[name], work, threads).result()


def is_too_far(row: list) -> bool:
    """Whether a row of `exactness` is beyond what may be lost for speed."""
    return row[2] > MAX_DIFFERENCE or row[3] < 100 * SAME_LABEL


def measured_on(folder: Path) -> str | None:
    """The machine that a folder's tables are of; None if it holds none."""
    file = folder / "machine.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write_report(output: Path, folder: Path) -> None:
    """Write every table that a folder holds, in the order of `TABLES`."""
    files = [file for name in TABLES for file in sorted(folder.glob(f"{name}*.json"))]
    tables = [Table(**json.loads(file.read_text(encoding="utf-8"))).markdown() for file in files]
    write_text(output, "\n".join([INTRODUCTION.format(machine=measured_on(folder), folder=folder.name), *tables]))


if __name__ == "__main__":
    sys.exit(main())
