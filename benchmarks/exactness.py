"""Every fast path against float32 torch on RAVDESS: how far probabilities move, and how many labels change.

Examples:

    python -m benchmarks.exactness
    python -m benchmarks.exactness --model models/ser-whisper --every 10

Exits with 1 where a probability moves by more than 0.01, or more than one label in 200 changes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.inputs import onnx_folder
from benchmarks.tables import Settings, Table, run_table, table_parser
from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier
from ser_hf.command_line import CommandParser
from ser_hf.corpora import load_corpus

MAX_DIFFERENCE = 0.01
SAME_LABEL = 0.995
PATHS = {"bfloat16": {"precision": "bfloat16"}, "onnx": {"runtime": "onnx"}}

Row = tuple[str, int, float, float]


def measure(settings: Settings, model: Path = DEFAULT_MODEL, every: int = 1) -> Table:
    """The largest difference of a probability, and the share of clips with the same label."""
    rows = compare(model, settings.data, 60 if settings.tiny else every, settings.work)
    return Table(
        "Fast paths against float32",
        "Clips of RAVDESS from their files, by the bundled network: the largest difference of any probability to what "
        f"float32 torch gives, which may be {MAX_DIFFERENCE}, and the share of clips with the same label, which must "
        f"be {100 * SAME_LABEL:.1f} %.",
        ["path", "clips", "largest difference", "same label, %"],
        [[path, count, largest, 100 * same] for path, count, largest, same in rows],
    )


def compare(model: Path, data: Path | None, every: int, work: Path) -> list[Row]:
    """(path, clips, largest difference of a probability, share of clips with the same label) of each fast path.

    Args:
        model: folder of a network.
        data: folder with the corpora (default: as `load_corpus` has it).
        every: of so many clips one is heard.
        work: folder for the model's ONNX.

    Raises:
        CorpusError: RAVDESS is not there.
    """
    files = [audio["path"] for audio in load_corpus("ravdess", data, download=False)["audio"]][::every]
    expected = _scores(EmotionClassifier.from_pretrained(model), files)
    rows = []
    for path, options in PATHS.items():
        folder = onnx_folder(work, model) if path == "onnx" else model
        answers = _scores(EmotionClassifier.from_pretrained(folder, **options), files)
        same = (answers.argmax(axis=1) == expected.argmax(axis=1)).mean()
        rows.append((path, len(files), float(np.abs(answers - expected).max()), float(same)))
    return rows


def _scores(classifier: EmotionClassifier, files: list[str]) -> np.ndarray:
    return np.array([list(prediction.scores.values()) for prediction in classifier.predict_many(files)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = build_parser().parse_args(argv)
    table = run_table(lambda settings: measure(settings, given.model, given.every), given)
    return int(any(row[2] > MAX_DIFFERENCE or row[3] < 100 * SAME_LABEL for row in table.rows))


def build_parser() -> CommandParser:
    """The command line."""
    parser = table_parser("benchmarks.exactness", __doc__)
    parser.add_argument(
        "--model", type=Path, metavar="DIR", default=DEFAULT_MODEL, help="folder of a network (default: the bundled)"
    )
    parser.add_argument("--every", type=int, default=1, help="hear one clip in so many (default: 1, all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
