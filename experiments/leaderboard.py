"""Run every recipe of experiments/leaderboard.yaml on every protocol, keep its predictions, and write the leaderboard.

Examples:

    python -m experiments.leaderboard
    python -m experiments.leaderboard --rows svm,cnn --protocols actor
    python -m experiments.leaderboard --report_only

All of it takes hours. A run that is kept in reports/runs is not run again, an interrupted one is resumed.
Exit status: 0, 1 if a run failed, 2 on wrong usage.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.jobs import RECIPES, Job, add_arguments, end, is_finished, keep, run_jobs, with_base_model
from experiments.leaderboard_report import write_leaderboard
from experiments.robustness import is_measured
from ser_hf.command_line import CommandParser, prints_errors
from train.arguments import read_recipe
from train.common import chosen_names

TABLE = Path(__file__).with_suffix(".yaml")
MEASURED = "actor"  # the protocol whose models are tested again under other conditions


@prints_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 if a run failed, 2 on wrong usage."""
    arguments = build_parser().parse_args(argv)
    table = read_recipe(arguments.table)
    jobs = plan(table, arguments.rows, arguments.protocols)
    jobs = [with_base_model(job, arguments.base_model) for job in jobs]
    failed = [] if arguments.report_only else run_all(jobs, arguments.runs_dir, arguments.kept_dir)
    write_leaderboard(table["rows"], plan(table), arguments.kept_dir, arguments.output)
    return end(arguments.output, failed)


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.leaderboard", doc=__doc__)
    parser.add_argument("--rows", metavar="NAMES", help="rows of the table, separated by commas (default: all)")
    parser.add_argument("--protocols", metavar="NAMES", help="protocols, separated by commas (default: all)")
    add_arguments(parser, TABLE, Path("runs"), Path("reports/runs"), Path("reports/leaderboard.md"))
    return parser


def plan(table: dict[str, Any], rows: str | None = None, protocols: str | None = None) -> list[Job]:
    """The jobs, protocol by protocol, so that the figures on unseen speakers come first.

    A run is called ``<row>-<protocol>`` and, for what is trained with a seed, ``-seedN``.

    Raises:
        UsageError: the table has no such row or protocol.
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
    """Run what is not kept yet (see `experiments.jobs.run_jobs`); returns the names of what failed.

    Then test the models of unseen speakers again under other conditions, all in one go. That needs a run's models, not
    its predictions: a run that is kept without the conditions is made again if need be.
    """
    failed = run_jobs(jobs, runs_dir, kept_dir, is_kept)
    folders = [runs_dir / job.name for job in jobs if job.protocol == MEASURED]
    waiting = [folder for folder in folders if is_finished(folder) and not is_measured(folder)]
    if waiting:
        words = [sys.executable, "-m", "experiments.robustness", *map(str, waiting)]
        if subprocess.run(words, check=False).returncode != 0:
            failed.append("experiments.robustness")
    for folder in waiting:
        keep(folder, kept_dir / folder.name)
    return failed


def is_kept(job: Job, kept: Path) -> bool:
    """Whether a run and, on unseen speakers, its figures under every condition are kept."""
    return is_finished(kept) and (job.protocol != MEASURED or is_measured(kept))


if __name__ == "__main__":
    sys.exit(main())
