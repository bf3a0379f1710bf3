"""Run every recipe of train/leaderboard.yaml on every protocol, keep what it answered, and write the leaderboard.

python -m train.leaderboard [--rows svm,cnn] [--protocols actor] [--report_only]

A run that is kept in reports/runs is not run again, one that broke off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_hf.runs import RunError
from train.common import UsageError, read_recipe
from train.jobs import RECIPES, Job, is_finished, keep, run_jobs, with_base_model
from train.leaderboard_report import write_leaderboard
from train.robustness import CONDITIONS_FILE

TABLE = Path(__file__).with_suffix(".yaml")


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

    A run is called ``<row>-<protocol>`` and, for what is trained with a seed, ``-seedN``.

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


def run_all(jobs: Sequence[Job], runs_dir: Path, kept_dir: Path) -> list[str]:
    """Run what is not kept yet (see `train.jobs.run_jobs`); returns the names of what failed.

    Then ask the models of unseen voices again under other conditions, all in one go. That is where it counts; who has
    only the answers of a run cannot ask its models again.
    """
    failed = run_jobs(jobs, runs_dir, kept_dir)
    folders = [runs_dir / job.name for job in jobs if job.protocol == "actor"]
    asked = [folder for folder in folders if is_finished(folder) and not (folder / CONDITIONS_FILE).is_file()]
    if asked:
        words = [sys.executable, "-m", "train.robustness", *(str(folder) for folder in asked)]
        if subprocess.run(words, check=False).returncode != 0:
            failed.append("train.robustness")
    for folder in asked:
        keep(folder, kept_dir / folder.name)
    return failed


if __name__ == "__main__":
    sys.exit(main())
