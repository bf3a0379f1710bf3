"""Run every recipe of train/leaderboard.yaml on every protocol, keep what it answered, and write the leaderboard.

Examples:

    python -m train.leaderboard
    python -m train.leaderboard --rows svm,cnn --protocols actor
    python -m train.leaderboard --report_only

All of it takes hours. A run that is kept in reports/runs is not run again, one that broke off goes on where it stopped.
Exit status: 0, 1 if a run failed, 2 on wrong usage.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_hf.command_line import CommandParser
from ser_hf.runs import RunError
from train.arguments import read_recipe
from train.common import UsageError, chosen_names
from train.jobs import RECIPES, Job, add_arguments, is_finished, keep, run_jobs, tell_end, with_base_model
from train.leaderboard_report import write_leaderboard
from train.robustness import is_measured

TABLE = Path(__file__).with_suffix(".yaml")
ASKED_AGAIN = "actor"  # the protocol whose models are asked again under other conditions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 if a run failed, 2 on wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        table = read_recipe(arguments.table)
        jobs = plan(table, arguments.rows, arguments.protocols)
        jobs = [with_base_model(job, arguments.base_model) for job in jobs]
        failed = [] if arguments.report_only else run_all(jobs, arguments.runs_dir, arguments.kept_dir)
        write_leaderboard(table["rows"], plan(table), arguments.kept_dir, arguments.output)
    except (UsageError, RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return tell_end(arguments.output, failed)


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m train.leaderboard", doc=__doc__)
    parser.add_argument("--rows", metavar="NAMES", help="rows of the table, separated by commas (default: all)")
    parser.add_argument("--protocols", metavar="NAMES", help="protocols, separated by commas (default: all)")
    add_arguments(parser, TABLE, Path("runs"), Path("reports/runs"), Path("reports/leaderboard.md"))
    return parser


def plan(table: dict[str, Any], rows: str | None = None, protocols: str | None = None) -> list[Job]:
    """What is to be run, protocol by protocol, so that the figures on unseen voices come first.

    A run is called ``<row>-<protocol>`` and, for what is trained with a seed, ``-seedN``.

    Raises:
        UsageError: a row or protocol is asked for that the table has not.
    """
    wanted_rows = chosen_names(rows, [row["name"] for row in table["rows"]], "--rows")
    wanted = chosen_names(protocols, list(table["protocols"]), "--protocols")
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


def run_all(jobs: Sequence[Job], runs_dir: Path, kept_dir: Path) -> list[str]:
    """Run what is not kept yet (see `train.jobs.run_jobs`); returns the names of what failed.

    Then ask the models of unseen voices again under other conditions, all in one go. That is where it counts. Only a
    run's models can be asked, not its answers: a run that is kept without the conditions is made again if need be.
    """
    failed = run_jobs(jobs, runs_dir, kept_dir, is_kept)
    folders = [runs_dir / job.name for job in jobs if job.protocol == ASKED_AGAIN]
    asked = [folder for folder in folders if is_finished(folder) and not is_measured(folder)]
    if asked:
        words = [sys.executable, "-m", "train.robustness", *(str(folder) for folder in asked)]
        if subprocess.run(words, check=False).returncode != 0:
            failed.append("train.robustness")
    for folder in asked:
        keep(folder, kept_dir / folder.name)
    return failed


def is_kept(job: Job, kept: Path) -> bool:
    """Whether a run and, on unseen voices, its answers under every condition are kept."""
    return is_finished(kept) and (job.protocol != ASKED_AGAIN or is_measured(kept))


if __name__ == "__main__":
    sys.exit(main())
