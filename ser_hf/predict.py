"""Say which emotion the voices in some recordings express: one row a recording, in their order.

Examples:

    python -m ser_hf.predict clip.wav recordings/
    python -m ser_hf.predict recordings/ --format jsonl > answers.jsonl
    python -m ser_hf.predict recordings/ --model ser-svm --format parquet --output answers.parquet

Answers are a label, how sure the model is (0 to 1 for each label), the length in seconds and warnings. With --output,
they are kept as they come: after a kill, the same command goes on where it stopped. Exit status: 0 if every recording
was answered, 1 if any was not, 2 on wrong usage.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ser_hf.command_line import CommandParser
from ser_hf.journal import Journal, model_key
from ser_hf.rows import FORMATS, Row, open_writer
from ser_hf.threads import limit_threads

if TYPE_CHECKING:  # the heavy imports wait until the arguments are known to be right
    from ser_hf.classifier import EmotionClassifier

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
    if arguments.format == "parquet" and arguments.output is None:
        return usage("--format parquet writes a file: name it with --output F")
    if arguments.format == "parquet" and find_spec("pyarrow") is None:
        return usage("--format parquet needs pyarrow: pip install pyarrow, or take --format csv")
    if arguments.output is not None and not arguments.output.parent.is_dir():
        return usage(f"--output {arguments.output}: there is no folder {arguments.output.parent}")
    if arguments.output is not None and arguments.output.is_dir():
        return usage(f"--output {arguments.output} is a folder; name a file")
    if not arguments.max_minutes > 0:
        return usage(f"--max_minutes {arguments.max_minutes:g}: a number above zero is needed")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    limit_threads()
    from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier
    from ser_hf.hub import model_folder
    from ser_hf.models import ModelError

    try:
        classifier = EmotionClassifier.from_pretrained(
            arguments.model or DEFAULT_MODEL, runtime=arguments.runtime, precision=arguments.precision
        )
    except ModelError as error:
        return usage(str(error))
    seconds = 60 * arguments.max_minutes
    inputs = [file for name in arguments.inputs for file in find_recordings(name)]
    try:
        if arguments.output is None or (arguments.output.exists() and not arguments.output.is_file()):
            failed = stream(classifier, inputs, arguments.format, arguments.output, seconds)
        else:
            key = model_key(model_folder(arguments.model or DEFAULT_MODEL, onnx=arguments.runtime == "onnx"))
            with Journal(arguments.output, f"{key} {arguments.runtime} {arguments.precision} {seconds}") as journal:
                failed = fill(classifier, inputs, arguments.format, arguments.output, journal, seconds)
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        return usage(f"cannot write {arguments.output or 'the answers'}: {error.strerror or error}")
    return EXIT_SOME_FAILED if failed else 0


def build_parser(prog: str = PROG) -> CommandParser:
    """The command line."""
    parser = CommandParser(prog=prog, doc=__doc__)
    parser.add_argument(
        "inputs", nargs="+", metavar="FILE|FOLDER", help="recordings; folders are searched with all their subfolders"
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
        help="arithmetic of a neural model that torch runs: auto is bfloat16 in upper layers where the processor has "
        "it: faster, and probabilities move a little (default: float32)",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the answers (default: table)")
    parser.add_argument("--output", type=Path, metavar="F", help="write here instead of to the terminal")
    return parser


def find_recordings(name: str) -> Iterator[str | Row]:
    """The recordings that a command-line argument names, sorted; a folder without any gives a row with an error."""
    if not os.path.isdir(name):
        yield name
        return
    empty = True
    for folder, folders, files in os.walk(name):
        folders.sort()
        for file in sorted(files):
            # A leading dot: what macOS leaves beside each file on foreign disks ("._clip.wav") is no sound.
            if os.path.splitext(file)[1].lower() in AUDIO_SUFFIXES and not file.startswith("."):
                empty = False
                yield os.path.join(folder, file)
    if empty:
        yield {"file": name, "error": f"{name}: the folder holds no recordings ({', '.join(AUDIO_SUFFIXES)})"}


def stream(
    classifier: EmotionClassifier, inputs: list[str | Row], format: str, output: Path | None, max_seconds: float
) -> int:
    """Write the row of every input as soon as it is known; returns how many failed."""
    # A bar would run through the rows where both go to the same terminal.
    rows_are_seen = output is None and sys.stdout.isatty()
    failed = 0
    with open_writer(format, output, [_name(item) for item in inputs], classifier.labels) as writer:
        rows = answer(classifier, inputs, one_by_one=rows_are_seen, max_seconds=max_seconds)
        for row in _progress(rows, len(inputs), hidden=rows_are_seen):
            failed += "error" in row
            writer.write(row)
    return failed


def fill(
    classifier: EmotionClassifier,
    inputs: list[str | Row],
    format: str,
    output: Path,
    journal: Journal,
    max_seconds: float,
) -> int:
    """Answer what the journal lacks, then write all rows to the output; returns how many failed.

    What breaks this off, be it a kill, leaves the journal: the next call goes on from there.
    """
    names = [_name(item) for item in inputs]
    missing = list({_name(item): item for item in inputs if _name(item) not in journal}.values())
    done = len(set(names)) - len(missing)
    if done:
        print(f"{done} of {len(set(names))} answers are known from a run that broke off", file=sys.stderr)
    try:
        for row in _progress(answer(classifier, missing, max_seconds=max_seconds), len(missing)):
            journal.add(row)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise
    failed = 0
    with open_writer(format, output, names, classifier.labels) as writer:
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
    """One row an input, in order: what `Prediction.to_dict` holds, or ``file`` and ``error``.

    Args:
        one_by_one: do not wait for a batch to be full, which takes longer in all.
        max_seconds: refuse longer recordings.
    """
    from ser_hf.audio import AudioError, TooLongError
    from ser_hf.classifier import BATCH_SIZE

    recordings = (item for item in inputs if isinstance(item, str))
    answers = classifier.predict_many(recordings, 1 if one_by_one else BATCH_SIZE, max_seconds)
    for item in inputs:
        if isinstance(item, dict):
            yield item
            continue
        reply = next(answers)
        if isinstance(reply, AudioError):
            remedy = " (or raise --max_minutes)" if isinstance(reply, TooLongError) else ""
            yield {"file": item, "error": f"{reply}{remedy}"}
        else:
            yield reply.to_dict()


def _name(item: str | Row) -> str:
    return item if isinstance(item, str) else item["file"]


def _complain(prog: str, message: str) -> int:
    print(f"{prog}: {message}", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
