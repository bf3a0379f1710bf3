"""Recipes that are run one after the other, and the files of each run that are kept."""

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

from experiments.robustness import CONDITIONS_FILE, NO_SPEECH_FILE
from ser_hf.evaluation.runs import METRICS, PREDICTIONS, RUN, read_predictions, read_run_json
from ser_hf.hub.evidence import publishable
from ser_hf.utils.files import replacing, write_json
from train.arguments import read_recipe

RECIPES = Path(__file__).parent.parent / "train" / "recipes"
MEASURED_LATER = (CONDITIONS_FILE, NO_SPEECH_FILE)
# Checkpoints stay where they were trained. The metrics come last: they say that all are there.
KEPT = (RUN, PREDICTIONS, "importance.json", *MEASURED_LATER, METRICS)


@dataclass(frozen=True)
class Job:
    """One recipe on one protocol.

    Attributes:
        name: of the run folder.
        row: name of the recipe.
        protocol: as `ser_hf.protocols.folds.make_folds` takes it.
        command: "baseline" or "finetune".
        arguments: of the command, beside the recipe, by name.
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
        """The command that makes this run in a folder, or resumes the one that is there."""
        words = [sys.executable, "-m", f"train.{self.command}", "--recipe", str(self.recipe)]
        words += options({"protocol": self.protocol, "output_dir": folder, **self.arguments})
        if folder.exists():
            resumes = self.command == "finetune"
            words += ["--resume_from_checkpoint", "true"] if resumes else ["--overwrite_output_dir"]
        return words


def options(arguments: dict[str, Any]) -> list[str]:
    """Arguments as words of a command line."""
    pairs = [(name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in arguments.items()]
    return [word for name, value in pairs for word in (f"--{name}", value)]


def add_arguments(parser: argparse.ArgumentParser, table: Path, runs_dir: Path, kept_dir: Path, output: Path) -> None:
    """Add the options of a command that runs jobs and reports on them, with its defaults."""
    parser.add_argument("--runs_dir", type=Path, metavar="DIR", default=runs_dir, help="where runs are made")
    parser.add_argument("--kept_dir", type=Path, metavar="DIR", default=kept_dir, help="where predictions are kept")
    parser.add_argument("--output", type=Path, metavar="F", default=output, help="the report")
    parser.add_argument(
        "--base_model",
        metavar="DIR",
        help="folder of the pretrained model, for recipes that name one (default: that of the recipe)",
    )
    parser.add_argument("--report_only", action="store_true", help="run nothing, only write the report again")
    parser.add_argument(
        "--table", type=Path, metavar="F", default=table, help=f"what is run (default: experiments/{table.name})"
    )


def end(output: Path, failed: Sequence[str]) -> int:
    """Print what was written and what failed; returns the exit status: 0, or 1 if a run failed."""
    print(f"written: {output}")
    for name in failed:
        print(f"failed: {name}; run again to resume it", file=sys.stderr)
    return 1 if failed else 0


def with_base_model(job: Job, folder: str | None) -> Job:
    """The job with a local copy of its pretrained model, if it has one."""
    if folder is None or "base_model" not in read_recipe(job.recipe):
        return job
    return replace(job, arguments={**job.arguments, "base_model": folder})


def is_finished(folder: Path) -> bool:
    """Whether a run has ended: its metrics are written last."""
    return all((folder / name).is_file() for name in (RUN, PREDICTIONS, METRICS))


def run_jobs(
    jobs: Sequence[Job], runs_dir: Path, kept_dir: Path, is_kept: Callable[[Job, Path], bool] | None = None
) -> list[str]:
    """Run what is not kept yet, one after the other, and keep it; returns the names of what failed.

    Args:
        is_kept: whether all that is wanted of a job lies in its kept folder (default: its run has ended).
    """
    failed = []
    for job in jobs:
        folder, kept = runs_dir / job.name, kept_dir / job.name
        if is_kept(job, kept) if is_kept else is_finished(kept):
            report_changes(job, kept)
            continue
        if not is_finished(folder):
            print(f"== {job.name}", flush=True)
            if subprocess.run(job.command_line(folder), check=False).returncode != 0:
                failed.append(job.name)
                continue
        keep(folder, kept)
    return failed


def keep(folder: Path, kept: Path) -> None:
    """Copy the small files of a run to where the report reads them, without the paths of the machine that ran it.

    Of a run that is kept already and was only made again for its models, only what was measured later is added, as
    long as the predictions are the same: quoted figures do not change in their last digits with the machine.
    """
    kept.mkdir(parents=True, exist_ok=True)
    same = is_finished(kept) and _predictions(kept).equals(_predictions(folder))
    for name in MEASURED_LATER if same else KEPT:
        if name == RUN:
            write_json(kept / RUN, publishable(read_run_json(folder)))
        elif (folder / name).is_file():
            with replacing(kept / name) as part:
                shutil.copyfile(folder / name, part)


def _predictions(folder: Path) -> pd.DataFrame:
    return read_predictions(folder)[["corpus", "clip", "fold", "predicted"]]


def report_changes(job: Job, kept: Path) -> None:
    """Print where a kept run was made with other arguments than its recipe has by now."""

    def parts(value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    made_with = read_run_json(kept).get("arguments", {})
    changed = [
        f"{name} {made_with[name]} (recipe: {value})"
        for name, value in {**read_recipe(job.recipe), **job.arguments}.items()
        if name in made_with and name not in ("base_model", "reference_run") and parts(made_with[name]) != parts(value)
    ]
    if changed:
        print(f"note: {kept} was made with {', '.join(changed)}; delete it to run it again", file=sys.stderr)
