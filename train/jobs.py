"""Recipes that are run one after the other, and what is kept of each run: for the leaderboard and the experiments."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ser_hf.evidence import publishable
from ser_hf.files import replacing, write_json
from ser_hf.runs import METRICS, PREDICTIONS, RUN, read_predictions, read_run_json
from train.arguments import read_recipe
from train.robustness import CONDITIONS_FILE, NO_SPEECH_FILE

RECIPES = Path(__file__).parent / "recipes"
# Small files that say what a run answered and what it is worth; checkpoints stay where they were trained.
ASKED = (CONDITIONS_FILE, NO_SPEECH_FILE)
KEPT = (RUN, PREDICTIONS, "importance.json", *ASKED, METRICS)  # the last says that all are there


@dataclass(frozen=True)
class Job:
    """One recipe on one protocol.

    Attributes:
        name: of the run folder.
        row: name of the recipe.
        protocol: as `ser_hf.splits.make_folds` takes it.
        command: "baseline" or "finetune".
        arguments: what the command is told beside the recipe, by name.
    """

    name: str
    row: str
    protocol: str
    command: str
    arguments: dict[str, Any]

    @property
    def recipe(self) -> Path:
        return RECIPES / f"{self.row}.yaml"

    def command_line(self, folder: Path) -> list[str]:
        """The command that makes this run in a folder, or goes on with what lies there."""
        words = [sys.executable, "-m", f"train.{self.command}", "--recipe", str(self.recipe)]
        arguments = {"protocol": self.protocol, "output_dir": folder, **self.arguments}
        for name, value in arguments.items():
            words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
        if folder.exists():
            goes_on = self.command == "finetune"
            words += ["--resume_from_checkpoint", "true"] if goes_on else ["--overwrite_output_dir"]
        return words


def add_arguments(parser: argparse.ArgumentParser, table: Path, runs_dir: Path, kept_dir: Path, output: Path) -> None:
    """Add what every command takes that runs jobs and reports on them, with its defaults."""
    parser.add_argument("--runs_dir", type=Path, metavar="DIR", default=runs_dir, help="where runs are made")
    parser.add_argument("--kept_dir", type=Path, metavar="DIR", default=kept_dir, help="where their answers are kept")
    parser.add_argument("--output", type=Path, metavar="F", default=output, help="the report")
    parser.add_argument(
        "--base_model",
        metavar="DIR",
        help="folder of the pretrained model, for recipes that name one (default: that of the recipe)",
    )
    parser.add_argument("--report_only", action="store_true", help="run nothing, only write the report anew")
    parser.add_argument(
        "--table", type=Path, metavar="F", default=table, help=f"what is run (default: train/{table.name})"
    )


def tell_end(output: Path, failed: Sequence[str]) -> int:
    """Say what was written and what failed; returns the exit status: 0, or 1 if a run failed."""
    print(f"written: {output}")
    for name in failed:
        print(f"failed: {name}; run again to go on with it", file=sys.stderr)
    return 1 if failed else 0


def with_base_model(job: Job, folder: str | None) -> Job:
    """The job with a local copy of its pretrained model, if it has one."""
    if folder is None or "base_model" not in read_recipe(job.recipe):
        return job
    return replace(job, arguments={**job.arguments, "base_model": folder})


def run_jobs(
    jobs: Sequence[Job], runs_dir: Path, kept_dir: Path, is_kept: Callable[[Job, Path], bool] | None = None
) -> list[str]:
    """Run what is not kept yet, one after the other, and keep it; returns the names of what failed.

    Args:
        is_kept: whether all that is wanted of a job lies in its kept folder (default: its run has ended).
    """
    failed = []
    for job in jobs:
        if is_kept(job, kept_dir / job.name) if is_kept else is_finished(kept_dir / job.name):
            tell_changes(job, kept_dir / job.name)
            continue
        folder = runs_dir / job.name
        if not is_finished(folder):
            print(f"== {job.name}", flush=True)
            if subprocess.run(job.command_line(folder), check=False).returncode != 0:
                failed.append(job.name)
                continue
        keep(folder, kept_dir / job.name)
    return failed


def is_finished(folder: Path) -> bool:
    """Whether a run has ended: its metrics are written last."""
    return all((folder / name).is_file() for name in (RUN, PREDICTIONS, METRICS))


def keep(folder: Path, kept: Path) -> None:
    """Copy the small files of a run to where the report reads them, without the paths of the machine that ran it.

    Of a run that is kept already and was only made again to ask its models, what they were asked is added, as long as
    they answer as they did: figures that are quoted elsewhere do not change in their last digits with the machine.
    """
    kept.mkdir(parents=True, exist_ok=True)
    for name in ASKED if is_finished(kept) and _answers(kept).equals(_answers(folder)) else KEPT:
        if name == RUN:
            write_json(kept / RUN, publishable(read_run_json(folder)))
        elif (folder / name).is_file():
            with replacing(kept / name) as part:
                shutil.copyfile(folder / name, part)


def _answers(folder: Path) -> pd.DataFrame:
    return read_predictions(folder)[["corpus", "clip", "fold", "predicted"]]


def tell_changes(job: Job, kept: Path) -> None:
    """Say where a kept run was made with other arguments than its recipe has by now."""
    made_with = read_run_json(kept).get("arguments", {})
    recipe = read_recipe(job.recipe)
    changed = [
        f"{name} {made_with[name]} (recipe: {value})"
        for name, value in {**recipe, **job.arguments}.items()
        if name in made_with and name not in ("base_model", "reference_run") and not _same(made_with[name], value)
    ]
    if changed:
        print(f"note: {kept} was made with {', '.join(changed)}; delete it to run it anew", file=sys.stderr)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same but for how a list is written."""
    one, other = (
        [part.strip() for part in value.split(",")] if isinstance(value, str) else value for value in (one, other)
    )
    return one == other
