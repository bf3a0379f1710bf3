"""From a file to an answer, warm: our models beside what people would use in their place.

Examples:

    python -m benchmarks.answer
    python -m benchmarks.answer --rounds 3
"""

from __future__ import annotations

import sys

from benchmarks.inputs import CLIP_SECONDS, CONTENDERS, OURS, clip_file, load
from benchmarks.tables import Settings, Table, alternate, main, medians, table_parser
from ser_hf.command_line import CommandParser


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.answer", __doc__)


def measure(settings: Settings) -> Table:
    """Milliseconds a clip, and how many times as long as ours each takes."""
    file = clip_file(settings.work)
    contenders = {name: load(name, settings) for name in CONTENDERS}
    calls = {name: lambda answer=answer: answer(file) for name, answer in contenders.items()}
    taken = alternate(calls, settings.rounds)
    median = medians(taken)
    return Table(
        f"From a file to an answer, {settings.threads} {'thread' if settings.threads == 1 else 'threads'}",
        f"One clip of {CLIP_SECONDS} s (16 kHz, FLAC), decoded, checked and answered; all are warm and take turns in "
        f"one process. Medians of {settings.rounds} rounds, and their ratio to ours.",
        ["what", "ms", *(f"times {name}" for name in OURS)],
        [[name, 1000 * seconds, *(seconds / median[ours] for ours in OURS)] for name, seconds in median.items()],
        taken,
    )


if __name__ == "__main__":
    sys.exit(main(measure))
