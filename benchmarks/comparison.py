"""The five-fold comparison of the SVM on RAVDESS from audio files, with nothing in the cache and with all of it.

Examples:

    python -m benchmarks.comparison
    python -m benchmarks.comparison --output runs/comparison.json
"""

from __future__ import annotations

import os
import shutil
import sys

from benchmarks.start import run
from benchmarks.tables import Settings, Table, main, table_parser
from ser_hf.command_line import CommandParser

RECIPE = "train/recipes/svm.yaml"


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.comparison", __doc__)


def measure(settings: Settings) -> Table:
    """Seconds of the whole command, twice."""
    output, cache = settings.work / "svm-actor", settings.work / "cache"
    command = [sys.executable, "-m", "train.baseline", "--recipe", RECIPE, "--output_dir", str(output)]
    command += ["--data_dir", str(settings.data)] if settings.data else []
    command += ["--overwrite_output_dir", "true", *(["--folds", "0"] if settings.tiny else [])]
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["SER_HF_CACHE"] = str(cache)
    seconds = {name: run(command, settings.threads)[0] for name in ("cold", "warm")}
    return Table(
        "Five folds of the SVM",
        f"`python -m train.baseline --recipe {RECIPE}`: 1440 files of RAVDESS, features, five folds, each tuned on its "
        f"own speakers, figures and plots; {settings.threads} processes.",
        ["cache of features", "s"],
        [[name, value] for name, value in seconds.items()],
        {name: [value] for name, value in seconds.items()},
    )


if __name__ == "__main__":
    sys.exit(main(measure))
