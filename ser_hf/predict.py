"""Predict the emotion of recordings: one row per recording, in their order.

Examples:

    python -m ser_hf.predict clip.wav recordings/
    python -m ser_hf.predict recordings/ --format jsonl > predictions.jsonl
    python -m ser_hf.predict recordings/ --model ser-svm --format parquet --output predictions.parquet
    python -m ser_hf.predict interviews/ --group_by folder
    ffmpeg -i film.mkv -f wav - | python -m ser_hf.predict - --format csv --timeline
    python -m ser_hf.predict interview.mp3 --format srt > interview.srt
    python -m ser_hf.predict interviews/ --format textgrid --output textgrids/
    python -m ser_hf.predict shards/ --engine ray --ray_address auto --format parquet --output predictions/

A row has the label, the probability of each label, the length in seconds and warnings. In a folder, a file is a
recording by its suffix or by how it begins; other files are named at the end. With --output, rows are kept
as they come: after an interruption, the same command resumes. With --engine ray, one process per core predicts, on one
machine or on a cluster that ray start --head began and this machine joined; inputs may then be *.parquet, too, with a
column audio (a struct of bytes and path), whose recordings are called SHARD#ROW:PATH, or file (names of files), and
--output a folder, or a name that ends in /, of part-00000.parquet and so on.

srt, vtt, textgrid, audacity and rttm hold the emotion over time, per utterance: one file per recording, in the folder
--output, or for a single recording on standard output or in the file --output.

Exit status: 0 if every recording was predicted, 1 if any was not, 2 on wrong usage.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ser_hf.command_line import CommandParser
from ser_hf.errors import SerHfError
from ser_hf.rows import FORMATS, Row, model_key, one_line, partial_file, predict_rows, resumed_rows, write_rows
from ser_hf.scale import predict_on_ray
from ser_hf.subtitles import TIMELINE_FORMATS, write_timelines
from ser_hf.utils.names import some
from ser_hf.utils.recordings import is_hidden, may_be_recording
from ser_hf.utils.threads import limit_threads

if TYPE_CHECKING:
    from ser_hf.classifier import EmotionClassifier

SHARD_SUFFIX = ".parquet"
STANDARD_INPUT = "-"
CHANNELS, EACH = ("mix", "left", "right"), "each"
INPUTS_HELP = "recordings, folders to search with all subfolders, patterns such as '**/*.wav', or - for standard input"
PROG = "python -m ser_hf.predict"
MAX_MINUTES = 60.0  # 230 MB
EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit status: 0, 1 if a recording failed, 2 on wrong usage."""
    arguments = build_parser(prog).parse_args(argv)
    on_ray, output = arguments.engine == "ray", arguments.output and Path(os.path.abspath(arguments.output))
    as_folder = output is not None and (output.is_dir() or arguments.output.endswith(os.sep))
    if refusal := _refusal(arguments, output, as_folder):
        return _complain(prog, refusal)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    limit_threads()
    from tqdm import tqdm

    from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier
    from ser_hf.hub import model_folder

    model, seconds = arguments.model or DEFAULT_MODEL, 60 * arguments.max_minutes
    options = {
        "runtime": arguments.runtime,
        "precision": arguments.precision,
        "device": arguments.device,
        "hop_seconds": arguments.hop,
    }
    left_out: list[str] = []
    resumes = output is not None and (as_folder or output.is_file() or not output.exists())  # no pipe or device
    try:
        classifier = EmotionClassifier.from_pretrained(model, **options)
        if arguments.adapt_to is not None:
            own = find_recordings(arguments.adapt_to, left_out)
            classifier = classifier.adapt([row.get("audio", row["file"]) for row in own if "error" not in row])
        if on_ray:
            predict = partial(predict_on_ray, arguments.model, options, arguments.ray_address, max_seconds=seconds)
            inputs = list(in_shards(find_recordings(arguments.inputs, left_out, output, shards=True)))
        else:
            predict = partial(predict_rows, classifier, max_seconds=seconds)
            inputs = list(of_channels(find_recordings(arguments.inputs, left_out, output), arguments.channels))
            if arguments.group_by is not None:
                speakers = speakers_of(inputs, arguments.speaker_pattern)
                predict = partial(predict_speakers, classifier, speakers, max_seconds=seconds)
        over_time = arguments.format in TIMELINE_FORMATS
        if over_time and len({item["file"] for item in inputs}) > 1:
            if output is None:
                raise SerHfError(f"--format {arguments.format} writes a file per recording: name a folder (--output)")
            as_folder = True
        if as_folder:
            output.mkdir(exist_ok=True)
        rows: Iterable[Row]
        if resumes:
            settings = [
                model_key(model_folder(model, onnx=arguments.runtime == "onnx")),
                options,
                seconds,
                classifier.shift.tolist(),
                arguments.group_by,
                arguments.speaker_pattern,
                arguments.channels,
            ]
            kept = partial_file(output, settings)
            rows = resumed_rows(kept, inputs, predict)
        else:
            rows = predict(inputs)
        hidden = output is None and sys.stdout.isatty()  # the rows are progress enough
        rows = tqdm(rows, total=len(inputs), unit="clip", disable=hidden or not sys.stderr.isatty(), file=sys.stderr)
        names = [item["file"] for item in inputs]
        if over_time:
            failed = write_timelines(rows, arguments.format, output, names)
        else:
            columns = ["channel"] if arguments.channels != CHANNELS[0] else []
            failed = write_rows(rows, arguments.format, output, classifier.labels, names, arguments.timeline, columns)
        if resumes:
            kept.unlink()
        report_left_out(left_out)
    except SerHfError as error:
        return _complain(prog, str(error))
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print(f"interrupted{'; the same command resumes' if resumes else ''}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        return _complain(prog, f"cannot write {arguments.output or 'the predictions'}: {error.strerror or error}")
    return EXIT_SOME_FAILED if failed else 0


def _refusal(arguments: argparse.Namespace, output: Path | None, as_folder: bool) -> str | None:
    """What is wrong with the arguments, as far as that is known without the model; None if nothing is."""
    if arguments.format == "parquet" and output is None:
        return "--format parquet writes a file: name it with --output F"
    if arguments.format == "parquet" and find_spec("pyarrow") is None:
        return "--format parquet needs pyarrow: pip install pyarrow, or take --format csv"
    if output is not None and not output.parent.is_dir():
        return f"--output {arguments.output}: there is no folder {Path(arguments.output).parent}"
    sharded = arguments.engine == "ray" and arguments.format == "parquet"
    if as_folder and not sharded and arguments.format not in TIMELINE_FORMATS:
        return f"--output {arguments.output} is a folder; name a file (--engine ray --format parquet takes a folder)"
    if as_folder and output is not None and output.exists() and not output.is_dir():
        return f"--output {arguments.output}: there is a file of that name; name another folder"
    if arguments.timeline and arguments.format not in ("csv", "parquet", "jsonl"):
        return "--timeline goes with --format csv or parquet; --format jsonl has the windows without it"
    if arguments.hop is not None and not arguments.hop > 0:
        return f"--hop {arguments.hop:g}: a number above zero is needed"
    if not arguments.max_minutes > 0:
        return f"--max_minutes {arguments.max_minutes:g}: a number above zero is needed"
    adapting = [name for name in ("adapt_to", "group_by") if getattr(arguments, name) is not None]
    if len(adapting) == 2:
        return "--adapt_to is for recordings of one speaker, --group_by for those of several: give one of them"
    local = [*adapting, *(["device"] if arguments.device is not None else [])]
    local += ["channels"] if arguments.channels != CHANNELS[0] else []
    if local and arguments.engine == "ray":
        return f"--{local[0]} does not go with --engine ray; leave one of them out"
    if STANDARD_INPUT in arguments.inputs and (arguments.engine == "ray" or arguments.group_by is not None):
        return f"{STANDARD_INPUT} (standard input) goes neither with --engine ray nor with --group_by; name a file"
    if (arguments.group_by == "speaker") != (arguments.speaker_pattern is not None):
        return "--group_by speaker and --speaker_pattern go together: the pattern finds the speaker in a file's path"
    try:
        groups = re.compile(arguments.speaker_pattern or "()").groups
    except re.error as error:
        return f"--speaker_pattern {arguments.speaker_pattern!r} is no regular expression: {error}"
    if not groups:
        return f"--speaker_pattern {arguments.speaker_pattern!r} needs a group in brackets, such as '(spk[0-9]+)'"
    if arguments.ray_address is not None and arguments.engine != "ray":
        return f"--ray_address {arguments.ray_address} goes with --engine ray: give both, or neither"
    if arguments.engine == "ray" and find_spec("ray") is None:
        return "--engine ray needs ray, which is not installed: pip install -r requirements-scale.txt"
    return None


def build_parser(prog: str = PROG) -> CommandParser:
    """The command line."""
    parser = CommandParser(prog=prog, doc=__doc__)
    option = parser.add_argument
    option("inputs", nargs="+", metavar="FILE|FOLDER", help=INPUTS_HELP)
    option("--model", metavar="DIR|HUB_ID", help="model folder, Hub id, ser-whisper or ser-svm (default: ser-whisper)")
    option(
        "--runtime",
        choices=("torch", "onnx"),
        help="what runs a network; onnx is its model.onnx by onnxruntime (default: torch where it is installed)",
    )
    option(
        "--device",
        metavar="D",
        help="where torch runs a network: cpu, cuda, cuda:1, mps, a number or auto (default: cpu)",
    )
    option(
        "--max_minutes",
        type=float,
        default=MAX_MINUTES,
        metavar="N",
        help="refuse longer recordings; an hour takes 230 MB of memory (default: %(default)g)",
    )
    option(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="float32",
        help="of a network in torch; auto is bfloat16 where the processor has it: faster, less exact",
    )
    option(
        "--adapt_to",
        nargs="+",
        metavar="FILE|FOLDER",
        help="recordings of the one speaker of all inputs, unlabelled, a mix of emotions: adapt the model to them",
    )
    option(
        "--group_by",
        choices=("speaker", "folder"),
        help="the speaker of a recording is named by its path or its folder: adapt the model to each, by all of theirs",
    )
    option(
        "--speaker_pattern",
        metavar="REGEX",
        help="with --group_by speaker: its group is the speaker in a path, such as '(spk[0-9]+)'",
    )
    option("--format", choices=(*FORMATS, *TIMELINE_FORMATS), default="table", help="output format")
    option("--timeline", action="store_true", help="csv and parquet have a row per utterance, from start to end (s)")
    option(
        "--channels",
        choices=(*CHANNELS, EACH),
        default=CHANNELS[0],
        help="of stereo: mixed, one of them, or each with a row of its own, such as the two sides of a call",
    )
    option(
        "--hop",
        type=float,
        metavar="SECONDS",
        help="cut long recordings into windows that far apart (default: into utterances, at pauses)",
    )
    option(
        "--output",
        metavar="F",
        help="write here, not to the terminal: a file, or a folder for formats over time and for parquet by ray",
    )
    option(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local is this process; ray is one process per core, and needs requirements-scale.txt",
    )
    option(
        "--ray_address",
        metavar="ADDR",
        help="cluster for --engine ray, auto or HOST:PORT (default: Ray runs on this machine, for this command)",
    )
    return parser


def find_recordings(
    names: Iterable[str], left_out: list[str], apart_from: Path | None = None, shards: bool = False
) -> Iterator[Row]:
    """The recordings that command-line arguments name, those of a folder sorted, as rows with ``file``.

    A folder without any gives a row with an error; standard input has its ``audio``, too.

    Args:
        names: files, folders, patterns that the shell has not expanded, or "-" for standard input.
        left_out: gets the files that are in a folder, or match a pattern, and are no recordings.
        apart_from: a file, or a folder, whose files are no recordings: earlier output.
        shards: parquet files in a folder count as recordings.
    """
    for name in names:
        if name == STANDARD_INPUT:
            yield _standard_input()
            continue
        matches = [] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))
        if not matches and not os.path.isdir(name):
            yield {"file": name}
            continue
        empty = True
        for path in dict.fromkeys(_files_in(matches or [name])):
            if apart_from is not None and Path(os.path.abspath(path)).is_relative_to(apart_from):
                continue
            if may_be_recording(path) or (shards and path.lower().endswith(SHARD_SUFFIX)):
                empty = False
                yield {"file": path}
            else:
                left_out.append(path)
        if empty:
            yield {"file": name, "error": f"{name}: holds no recordings"}


def _files_in(paths: Iterable[str]) -> Iterator[str]:
    """Files, and those below folders that are not hidden."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(one for one in folders if not is_hidden(PurePath(one)))
            yield from (os.path.join(folder, one) for one in sorted(files) if not is_hidden(PurePath(one)))


def of_channels(inputs: Iterable[Row], channels: str) -> Iterator[Row]:
    """The recordings with the channel that is to be read; "each" gives a row for the left and the right of stereo."""
    for item in inputs:
        if channels == CHANNELS[0] or "error" in item:
            yield item
            continue
        names = [channels]
        if channels == EACH:
            from ser_hf.audio import channel_count

            names = list(CHANNELS[1:]) if channel_count(item.get("audio", item["file"])) == 2 else []
        audio = item.get("audio", {"path": item["file"]})
        yield from [item | {"audio": audio | {"channels": name}, "channel": name} for name in names] or [item]


def _standard_input() -> Row:
    if sys.stdin is None or sys.stdin.isatty():
        return {"file": STANDARD_INPUT, "error": f"{STANDARD_INPUT}: pipe a recording into the command"}
    return {"file": STANDARD_INPUT, "audio": {"path": STANDARD_INPUT, "bytes": sys.stdin.buffer.read()}}


def report_left_out(names: Sequence[str]) -> None:
    """Name on standard error what `find_recordings` left out."""
    if names:
        print(one_line(f"left out, no recordings: {some(names)}"), file=sys.stderr)


def speakers_of(inputs: Iterable[Row], pattern: str | None) -> dict[str, list[str]]:
    """The recordings of each speaker, by name: what the pattern finds in a path or, without one, the folder.

    Those in which the pattern finds nothing have no speaker.
    """
    speakers: dict[str, list[str]] = {}
    for item in inputs:
        if "error" not in item and (speaker := speaker_of(item["file"], pattern)):
            speakers.setdefault(speaker, []).append(item["file"])
    return speakers


def speaker_of(file: str, pattern: str | None) -> str:
    """The speaker of a recording (see `speakers_of`); "" where there is none."""
    if pattern is None:
        return os.path.dirname(os.path.abspath(file))
    found = re.search(pattern, file)
    return found[1] or "" if found else ""


def predict_speakers(
    classifier: EmotionClassifier,
    speakers: Mapping[str, Sequence[str]],
    inputs: Sequence[Row],
    max_seconds: float | None,
) -> Iterator[Row]:
    """As `predict_rows`, with the classifier adapted to each speaker by all of their recordings.

    Recordings without a speaker, and of a speaker who cannot be adapted to, are predicted without that; the latter is
    reported.
    """
    from ser_hf.audio import AudioError

    speaker_by_file = {file: speaker for speaker, files in speakers.items() for file in files}
    adapted = {"": classifier}
    for speaker, rows in itertools.groupby(inputs, lambda item: speaker_by_file.get(item["file"], "")):
        if speaker not in adapted:
            try:
                adapted[speaker] = classifier.adapt(speakers[speaker])
            except AudioError as error:
                print(f"not adapted to {speaker}: {error}", file=sys.stderr)
                adapted[speaker] = classifier
        yield from predict_rows(adapted[speaker], list(rows), max_seconds)


def in_shards(inputs: Iterable[Row]) -> Iterator[Row]:
    """The inputs, with the recordings of a parquet file in its place.

    Those of a column ``audio`` (a struct of ``bytes`` and ``path``) are called ``SHARD#ROW:PATH``; a column ``file``
    names files. A parquet file with neither gives a row with an error.
    """
    import pyarrow.parquet

    for item in inputs:
        shard = item["file"]
        if "error" in item or not shard.lower().endswith(SHARD_SUFFIX):
            yield item
            continue
        found: list[Row] = []
        reason = "it needs rows with audio (a struct of bytes and path) or file (names of files)"
        try:
            with pyarrow.parquet.ParquetFile(shard) as file:
                columns = {file.schema.column(index).path for index in range(len(file.schema))}
                if {"audio.bytes", "audio.path"} <= columns:
                    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                    places = [(group, place) for group, n_rows in enumerate(groups) for place in range(n_rows)]
                    # The paths alone: the audio of a shard may be larger than the memory.
                    paths = [(one or {}).get("path") for one in file.read(["audio.path"])["audio"].to_pylist()]
                    found = [
                        {"file": f"{shard}#{row}:{path or ''}", "shard": shard, "group": group, "row": place}
                        for row, (path, (group, place)) in enumerate(zip(paths, places, strict=True))
                    ]
                elif "file" in columns:
                    found = [{"file": name or ""} for name in file.read(["file"])["file"].to_pylist()]
        except (OSError, ValueError) as error:  # pyarrow's own errors are one or the other
            reason = str(error)
        yield from found or [{"file": shard, "error": f"{shard}: no recordings can be read from it: {reason}"}]


def _complain(prog: str, message: str) -> int:
    print(f"{prog}: {message}", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
