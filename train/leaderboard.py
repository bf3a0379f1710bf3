"""Run every recipe of train/leaderboard.yaml on every protocol, keep what it answered, and write the leaderboard.

python -m train.leaderboard [--rows svm,cnn] [--protocols actor] [--report_only]

A run that is kept in reports/runs is not run again, one that broke off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ser_hf.runs import METRICS, PREDICTIONS, RUN, RunError, read_run_json
from train.common import UsageError, read_recipe
from train.leaderboard_report import write_leaderboard
from train.robustness import CONDITIONS_FILE

TABLE = Path(__file__).with_suffix(".yaml")
RECIPES = Path(__file__).parent / "recipes"
# Small files that say what a run answered and what it is worth; checkpoints stay where they were trained.
KEPT = (RUN, PREDICTIONS, METRICS, "importance.json", CONDITIONS_FILE)


@dataclass(frozen=True)
class Job:
    """One recipe on one protocol.

    Attributes:
        name: of the run folder, ``<row>-<protocol>`` and, for what is trained with a seed, ``-seedN``.
        row, protocol: as in the table.
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
        words += ["--protocol", self.protocol, "--output_dir", str(folder)]
        for name, value in self.arguments.items():
            words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
        if folder.exists():
            goes_on = self.command == "finetune"
            words += ["--resume_from_checkpoint", "true"] if goes_on else ["--overwrite_output_dir"]
        return words


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 if a run failed, 2 on wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m train.leaderboard", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", help="only these rows of the table, separated by commas")
    parser.add_argument("--protocols", help="only these protocols, separated by commas")
    parser.add_argument(
        "--runs_dir", type=Path, default=Path("runs"), help="where runs are made (default: %(default)s)"
    )
    parser.add_argument(
        "--kept_dir",
        type=Path,
        default=Path("reports/runs"),
        help="where their answers are kept (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=Path("reports/leaderboard.md"), help="default: %(default)s")
    parser.add_argument("--base_model", help="folder of the pretrained model, for recipes that name one of the Hub")
    parser.add_argument("--report_only", action="store_true", help="run nothing, only write the report anew")
    parser.add_argument("--table", type=Path, default=TABLE, help="what is run (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        table = read_recipe(arguments.table)
        jobs = plan(table, arguments.rows, arguments.protocols)
        jobs = [with_base_model(job, arguments.base_model) for job in jobs]
        failed = [] if arguments.report_only else run_all(jobs, arguments.runs_dir, arguments.kept_dir)
        write_leaderboard(table["rows"], plan(table), arguments.kept_dir, arguments.output)
    except (UsageError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {arguments.output}")
    for name in failed:
        print(f"failed: {name}; run again to go on with it", file=sys.stderr)
    return 1 if failed else 0


def plan(table: dict[str, Any], rows: str | None = None, protocols: str | None = None) -> list[Job]:
    """What is to be run, protocol by protocol, so that the figures on unseen voices come first.

    Raises:
        UsageError: a row or protocol is asked for that the table has not.
    """
    wanted_rows = _chosen(rows, [row["name"] for row in table["rows"]], "--rows")
    wanted = _chosen(protocols, list(table["protocols"]), "--protocols")
    jobs = []
    for protocol in wanted:
        for row in table["rows"]:
            if row["name"] in wanted_rows:
                arguments = {**(table["protocols"][protocol] or {}), **(row.get(protocol) or {})}
                name = f"{row['name']}-{protocol}"
                if row["command"] == "finetune":
                    recipe = read_recipe(RECIPES / f"{row['name']}.yaml")
                    name += f"-seed{recipe['seed']}"
                jobs.append(Job(name, row["name"], protocol, row["command"], arguments))
    return jobs


def _chosen(words: str | None, known: list[str], option: str) -> list[str]:
    chosen = known if words is None else [word.strip() for word in words.split(",")]
    unknown = [word for word in chosen if word not in known]
    if unknown:
        raise UsageError(f"{option}: there is no {unknown[0]!r}; there are: {', '.join(known)}")
    return chosen


def with_base_model(job: Job, folder: str | None) -> Job:
    """The job with a local copy of its pretrained model, if it has one."""
    if folder is None or "base_model" not in read_recipe(job.recipe):
        return job
    return replace(job, arguments={**job.arguments, "base_model": folder})


def run_all(jobs: Sequence[Job], runs_dir: Path, kept_dir: Path) -> list[str]:
    """Run what is not kept yet, one after the other, and keep it; returns the names of what failed.

    Then ask the models of unseen voices again under other conditions, all in one go. That is where it counts; who has
    only the answers of a run cannot ask its models again.
    """
    failed = []
    for job in jobs:
        if is_finished(kept_dir / job.name):
            tell_changes(job, kept_dir / job.name)
            continue
        folder = runs_dir / job.name
        if not is_finished(folder):
            print(f"== {job.name}", flush=True)
            if subprocess.run(job.command_line(folder), check=False).returncode != 0:
                failed.append(job.name)
                continue
        keep(folder, kept_dir / job.name)
    folders = [runs_dir / job.name for job in jobs if job.protocol == "actor"]
    asked = [folder for folder in folders if is_finished(folder) and not (folder / CONDITIONS_FILE).is_file()]
    if asked:
        words = [sys.executable, "-m", "train.robustness", *(str(folder) for folder in asked)]
        if subprocess.run(words, check=False).returncode != 0:
            failed.append("train.robustness")
    for folder in asked:
        keep(folder, kept_dir / folder.name)
    return failed


def is_finished(folder: Path) -> bool:
    """Whether a run has ended: its metrics are written last."""
    return all((folder / name).is_file() for name in (RUN, PREDICTIONS, METRICS))


def keep(folder: Path, kept: Path) -> None:
    """Copy the small files of a run to where the report reads them."""
    kept.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, kept / name)


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


if __name__ == "__main__":
    sys.exit(main())
