"""Predict the emotion of recordings: one row per recording, in their order.

Examples:

    python -m ser_hf.predict clip.wav recordings/
    python -m ser_hf.predict recordings/ --format jsonl > predictions.jsonl
    python -m ser_hf.predict recordings/ --model ser-svm --format parquet --output predictions.parquet
    python -m ser_hf.predict shards/ --engine ray --ray_address auto --format parquet --output predictions/

A row has the label, the probability of each label, the length in seconds and warnings. With --output, rows are kept
as they come: after an interruption, the same command resumes. With --engine ray, one process per core predicts, on one
machine or on a cluster. Exit status: 0 if every recording was predicted, 1 if any was not, 2 on wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ser_hf.command_line import CommandParser
from ser_hf.journal import Journal, file_key, model_key
from ser_hf.rows import FORMATS, Row, name_of, open_writer
from ser_hf.threads import limit_threads

if TYPE_CHECKING:  # the heavy imports wait until the arguments are known to be right
    from ser_hf.classifier import EmotionClassifier

Ask = Callable[..., Iterator[Row]]
"""`answer` or `ser_hf.scale.answer_on_ray` with everything given but ``inputs`` and ``one_by_one``."""

AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka"),
    *(".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma"),
)
PROG = "python -m ser_hf.predict"
MAX_MINUTES = 60.0  # 230 MB
EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit status: 0, 1 if a recording failed, 2 on wrong usage."""
    arguments = build_parser(prog).parse_args(argv)
    usage = partial(_complain, prog)
    on_ray, output = arguments.engine == "ray", arguments.output and Path(os.path.abspath(arguments.output))
    as_folder = output is not None and (output.is_dir() or arguments.output.endswith(os.sep))
    if refusal := _refusal(arguments, output, as_folder):
        return usage(refusal)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    limit_threads()
    from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier
    from ser_hf.cluster import ScaleError, cluster
    from ser_hf.hub import model_folder
    from ser_hf.models import ModelError
    from ser_hf.scale import answer_on_ray
    from ser_hf.shards import SHARD_SUFFIX, expand, shards_of

    options = {"runtime": arguments.runtime, "precision": arguments.precision}
    try:
        classifier = EmotionClassifier.from_pretrained(arguments.model or DEFAULT_MODEL, **options)
    except ModelError as error:
        return usage(str(error))
    seconds, labels = 60 * arguments.max_minutes, classifier.labels
    ask: Ask = partial(answer, classifier, max_seconds=seconds)
    suffixes = (*AUDIO_SUFFIXES, SHARD_SUFFIX) if on_ray else AUDIO_SUFFIXES
    inputs = [item for name in arguments.inputs for item in find_recordings(name, suffixes, apart_from=output)]
    try:
        with contextlib.ExitStack() as stack:
            if on_ray:
                stack.enter_context(cluster(arguments.ray_address))
                inputs = list(expand(inputs))
                ask = partial(answer_on_ray, arguments.model, options, max_seconds=seconds)
            if output is None or (output.exists() and not output.is_file() and not as_folder):
                failed = stream(ask, labels, inputs, arguments.format, output)
            else:
                if as_folder:
                    output.mkdir(exist_ok=True)
                key = model_key(model_folder(arguments.model or DEFAULT_MODEL, onnx=arguments.runtime == "onnx"))
                parts = [key, arguments.runtime, arguments.precision, seconds, *map(file_key, shards_of(inputs))]
                journal = stack.enter_context(Journal(output, " ".join(map(str, parts))))
                failed = fill(ask, labels, inputs, arguments.format, output, journal)
    except ScaleError as error:
        return usage(str(error))
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        return usage(f"cannot write {arguments.output or 'the predictions'}: {error.strerror or error}")
    return EXIT_SOME_FAILED if failed else 0


def _refusal(arguments: argparse.Namespace, output: Path | None, as_folder: bool) -> str | None:
    """What is wrong with the arguments, as far as that is known without the model; None if nothing is."""
    if arguments.format == "parquet" and output is None:
        return "--format parquet writes a file: name it with --output F"
    if arguments.format == "parquet" and find_spec("pyarrow") is None:
        return "--format parquet needs pyarrow: pip install pyarrow, or take --format csv"
    if output is not None and not output.parent.is_dir():
        return f"--output {arguments.output}: there is no folder {Path(arguments.output).parent}"
    if as_folder and (arguments.engine != "ray" or arguments.format != "parquet"):
        return f"--output {arguments.output} is a folder; name a file (--engine ray --format parquet takes a folder)"
    if as_folder and output is not None and output.exists() and not output.is_dir():
        return f"--output {arguments.output}: there is a file of that name; name another folder"
    if not arguments.max_minutes > 0:
        return f"--max_minutes {arguments.max_minutes:g}: a number above zero is needed"
    if arguments.ray_address is not None and arguments.engine != "ray":
        return f"--ray_address {arguments.ray_address} goes with --engine ray: give both, or neither"
    if arguments.engine == "ray" and find_spec("ray") is None:
        return "--engine ray needs ray, which is not installed: pip install -r requirements-scale.txt"
    return None


def build_parser(prog: str = PROG) -> CommandParser:
    """The command line."""
    parser = CommandParser(prog=prog, doc=__doc__)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE|FOLDER",
        help="recordings; folders are searched with all their subfolders. With --engine ray also *.parquet with a "
        "column audio (a struct of bytes and path), whose recordings are called SHARD#ROW:PATH, or file (names)",
    )
    parser.add_argument(
        "--model",
        metavar="DIR|HUB_ID",
        help="model folder, Hub id as user/name, or one of the bundled: ser-whisper, ser-svm (default: ser-whisper)",
    )
    parser.add_argument(
        "--runtime",
        choices=("torch", "onnx"),
        help="what runs a neural model: onnx is its model.onnx by onnxruntime (default: torch where it is installed)",
    )
    parser.add_argument(
        "--max_minutes",
        type=float,
        default=MAX_MINUTES,
        metavar="N",
        help="refuse longer recordings, of which an hour takes 230 MB of memory (default: %(default)g)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="float32",
        help="arithmetic of a neural model that torch runs: auto is bfloat16 in feed-forward networks where the "
        "processor has it: faster, and probabilities move a little (default: float32)",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="output format (default: table)")
    parser.add_argument(
        "--output",
        metavar="F",
        help="write here instead of to the terminal; with --engine ray --format parquet it may be a folder, or a name "
        "that ends in /: part-00000.parquet and so on go there",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="what runs the model: local is this process; ray is one process per core, here or on a cluster, and needs "
        "requirements-scale.txt (default: local)",
    )
    parser.add_argument(
        "--ray_address",
        metavar="ADDR",
        help="cluster for --engine ray, started by ray start --head and joined by this machine: auto or HOST:PORT "
        "(default: none, Ray runs on this machine alone while the command does)",
    )
    return parser


def find_recordings(
    name: str, suffixes: Sequence[str] = AUDIO_SUFFIXES, apart_from: Path | None = None
) -> Iterator[str | Row]:
    """The recordings that a command-line argument names, sorted; a folder without any gives a row with an error.

    Args:
        suffixes: of what counts as a recording in a folder.
        apart_from: a file, or a folder, whose files are no recordings: earlier output.
    """
    if not os.path.isdir(name):
        yield name
        return
    empty = True
    for folder, folders, files in os.walk(name):
        folders.sort()
        for file in sorted(files):
            # A leading dot: what macOS leaves beside each file on foreign disks ("._clip.wav") is no sound.
            if os.path.splitext(file)[1].lower() in suffixes and not file.startswith("."):
                path = os.path.join(folder, file)
                if apart_from is None or not Path(os.path.abspath(path)).is_relative_to(apart_from):
                    empty = False
                    yield path
    if empty:
        yield {"file": name, "error": f"{name}: the folder holds no recordings ({', '.join(suffixes)})"}


def stream(ask: Ask, labels: list[str], inputs: list[str | Row], format: str, output: Path | None) -> int:
    """Write the row of every input as soon as it is known; returns how many failed."""
    # A bar would run through the rows where both go to the same terminal.
    rows_are_seen = output is None and sys.stdout.isatty()
    failed = 0
    with open_writer(format, output, [name_of(item) for item in inputs], labels) as writer:
        rows = ask(inputs, one_by_one=rows_are_seen)
        for row in _progress(rows, len(inputs), hidden=rows_are_seen):
            failed += "error" in row
            writer.write(row)
    return failed


def fill(ask: Ask, labels: list[str], inputs: list[str | Row], format: str, output: Path, journal: Journal) -> int:
    """Predict what the journal lacks, then write all rows to the output; returns how many failed.

    An interruption leaves the journal, from which the next call resumes.
    """
    names = [name_of(item) for item in inputs]
    missing = list({name_of(item): item for item in inputs if name_of(item) not in journal}.values())
    done = len(set(names)) - len(missing)
    if done:
        print(f"resuming: {done} of {len(set(names))} recordings are done", file=sys.stderr)
    try:
        for row in _progress(ask(missing), len(missing)):
            journal.add(row)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        raise
    failed = 0
    with open_writer(format, output, names, labels) as writer:
        for row in journal.rows(names):
            failed += "error" in row
            writer.write(row)
    journal.remove()
    return failed


def _progress(rows: Iterable[Row], total: int, hidden: bool = False) -> Iterator[Row]:
    from tqdm import tqdm

    yield from tqdm(rows, total=total, unit="clip", disable=hidden or not sys.stderr.isatty(), file=sys.stderr)


def answer(
    classifier: EmotionClassifier,
    inputs: Sequence[str | Row],
    one_by_one: bool = False,
    max_seconds: float = 60 * MAX_MINUTES,
) -> Iterator[Row]:
    """One row per input, in order: what `Prediction.to_dict` holds, or ``file`` and ``error``.

    Args:
        inputs: files; rows with ``file`` and ``audio``, a source of `ser_hf.audio.read_audio` that goes by this name;
            rows with ``file`` and ``error``, which are yielded as they are.
        one_by_one: do not wait for a batch to be full, which takes longer in all.
        max_seconds: refuse longer recordings.
    """
    from ser_hf.audio import AudioError, TooLongError
    from ser_hf.classifier import BATCH_SIZE

    recordings = (item if isinstance(item, str) else item["audio"] for item in inputs if not _is_error(item))
    found = classifier.predict_many(recordings, 1 if one_by_one else BATCH_SIZE, max_seconds)
    for item in inputs:
        if isinstance(item, dict) and _is_error(item):
            yield item
            continue
        one, name = next(found), name_of(item)
        if isinstance(one, AudioError):
            remedy = " (or raise --max_minutes)" if isinstance(one, TooLongError) else ""
            yield {"file": name, "error": f"{one}{remedy}"}
        else:
            yield one.to_dict() | {"file": name}


def _is_error(item: str | Row) -> bool:
    return isinstance(item, dict) and "error" in item


def _complain(prog: str, message: str) -> int:
    print(f"{prog}: {message}", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
