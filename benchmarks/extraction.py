"""Engineered features: each group alone, all of the SVM together, and what others compute.

Examples:

    python -m benchmarks.extraction
    python -m benchmarks.extraction --threads 1
"""

from __future__ import annotations

import sys

import opensmile

from benchmarks.inputs import CLIP_SECONDS, clip_file, textbook
from benchmarks.tables import Settings, Table, alternate, main, medians, table_parser
from ser_hf.audio import load_audio
from ser_hf.classifier import DEFAULT_BASELINE
from ser_hf.command_line import CommandParser
from ser_hf.features import extract, feature_names
from ser_hf.models.classical import load_classical

TOGETHER = "our SVM's groups together"


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.extraction", __doc__)


def measure(settings: Settings) -> Table:
    """Milliseconds a clip and how many features that gives; together, groups share one spectrogram."""
    file = clip_file(settings.work)
    samples = load_audio(file)
    groups = load_classical(DEFAULT_BASELINE).config["feature_groups"]
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    sizes = {f"group {group}": len(feature_names([group])) for group in groups}
    calls = {f"group {group}": lambda group=group: extract(samples, [group]) for group in groups}
    calls |= {
        TOGETHER: lambda: extract(samples, groups),
        "librosa's 40 MFCCs, from the file": lambda: textbook(file),
        "eGeMAPS by openSMILE": lambda: smile(samples, 16_000),
    }
    sizes |= {TOGETHER: len(feature_names(groups)), "librosa's 40 MFCCs, from the file": 80}
    sizes["eGeMAPS by openSMILE"] = len(smile.feature_names)
    taken = alternate(calls, settings.rounds)
    return Table(
        f"Engineered features, {settings.threads} {'thread' if settings.threads == 1 else 'threads'}",
        f"A clip of {CLIP_SECONDS} s that is decoded already, unless said otherwise. Medians of {settings.rounds} "
        "rounds that take turns.",
        ["what", "features", "ms"],
        [[name, sizes[name], 1000 * seconds] for name, seconds in medians(taken).items()],
        taken,
    )


if __name__ == "__main__":
    sys.exit(main(measure))
