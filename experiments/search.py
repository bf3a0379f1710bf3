"""Run the experiments of experiments/search.yaml, keep their predictions, and write reports/experiments.md.

Examples:

    python -m experiments.search
    python -m experiments.search --names unseen,linear-probe-unseen --base_model pretrained/whisper-base-encoder
    python -m experiments.search --report_only

Each is one recipe with one change, on folds that leave every fold's test speakers out (`--protocol develop`) or on
corpora left out of training (`--protocol loco`). One that is kept in reports/experiments is not run again, one that was
interrupted is resumed. Exit status: 0, 1 if a run failed, 2 on wrong usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.jobs import Job, add_arguments, end, options, run_jobs, with_base_model
from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.evaluation.markdown import bracket, percent, table
from ser_hf.evaluation.statistics import mcnemar
from ser_hf.utils.files import write_text
from train.arguments import read_recipe
from train.common import UsageError, chosen_names
from train.reporting import Run, read_run

TABLE = Path(__file__).with_suffix(".yaml")
PROTOCOL = "develop"
NEEDED, OPTIONAL = ("name", "recipe", "hypothesis"), ("arguments", "against", "learned", "protocol")
INTRODUCTION = """\
What was tried to improve the network, one change at a time, failures included. With protocol `develop` each fold tests
some speakers of its training part, and its own test speakers are in no part of it; with `loco` and `cross`, corpora
that may train are left out of training and tested whole. Nothing here was chosen on the test speakers of a fold, on
SAVEE or on any corpus that is kept for tests. Made by

    python -m experiments.search

Accuracy is the mean of the folds in per cent, with the 95 % interval by bootstrap over speakers; UAR is balanced
accuracy, and of several corpora the mean over them; *parts* are the accuracy of each fold, or the UAR of each corpus;
*against* the accuracy over all clips minus that of another experiment on the same clips, in points, with its
95 % interval by paired bootstrap over speakers."""


@prints_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 if a run failed, 2 on wrong usage."""
    arguments = build_parser().parse_args(argv)
    experiments = read_experiments(arguments.table)
    jobs = {one["name"]: with_base_model(job_of(one), arguments.base_model) for one in experiments}
    wanted = chosen_names(arguments.names, list(jobs), "--names")
    failed = []
    if not arguments.report_only:
        failed = run_jobs([jobs[name] for name in wanted], arguments.runs_dir, arguments.kept_dir)
    write_report(experiments, arguments.kept_dir, arguments.output)
    return end(arguments.output, failed)


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.search", doc=__doc__)
    parser.add_argument("--names", metavar="NAMES", help="experiments, separated by commas (default: all)")
    kept, output = Path("reports/experiments"), Path("reports/experiments.md")
    add_arguments(parser, TABLE, Path("runs/experiments"), kept, output)
    return parser


def read_experiments(path: Path) -> list[dict[str, Any]]:
    """The experiments of a file, in its order, each with every key; ``against`` is None for the first alone.

    Raises:
        UsageError: a key that is missing or unknown, a name that is there twice, a comparison with what comes later.
    """
    experiments: list[dict[str, Any]] = []
    for one in read_recipe(path).get("experiments", []):
        name = one.get("name", f"number {len(experiments) + 1}")
        missing = [key for key in NEEDED if key not in one]
        unknown = [key for key in one if key not in NEEDED + OPTIONAL]
        if missing or unknown:
            wrong = f"has no {missing[0]}" if missing else f"has an unknown key {unknown[0]!r}"
            raise UsageError(f"{path}: experiment {name} {wrong}")
        earlier = [other["name"] for other in experiments]
        against = one.get("against", earlier[0] if earlier else None)
        if name in earlier:
            raise UsageError(f"{path}: there are two experiments called {name}")
        if against and against not in earlier:
            raise UsageError(f"{path}: experiment {name} is compared with {against}, which does not stand before it")
        experiments.append({"arguments": {}, "learned": "", "protocol": PROTOCOL, **one, "against": against})
    return experiments


def job_of(experiment: dict[str, Any]) -> Job:
    """The job of an experiment."""
    protocol = experiment["protocol"]
    return Job(experiment["name"], experiment["recipe"], protocol, "finetune", dict(experiment["arguments"]))


def write_report(experiments: Sequence[dict[str, Any]], kept_dir: Path, output: Path) -> None:
    """Write the report on the experiments that are kept.

    Raises:
        RunError: a kept run cannot be read.
        AlignmentError: an experiment is compared with one on other clips.
    """
    runs = {one["name"]: read_run(kept_dir / one["name"]) for one in experiments if (kept_dir / one["name"]).is_dir()}
    known = [one for one in experiments if one["name"] in runs]
    head = ["experiment", "accuracy", "UAR", "ECE", "NLL", "against", "parts"]
    rows = [_row(one, runs) for one in known]
    parts = ["# Experiments", INTRODUCTION, table(head, rows) if rows else "", *map(_section, known)]
    write_text(output, "\n\n".join(part for part in parts if part) + "\n")


def _row(experiment: dict[str, Any], runs: dict[str, Run]) -> list[str]:
    run = runs[experiment["name"]]
    metrics, other = run.metrics, runs.get(experiment["against"] or "")
    parts = [fold["accuracy"] for fold in metrics["per_fold"].values()]
    if "per_corpus" in metrics:
        parts = [corpus["balanced_accuracy"] for corpus in metrics["per_corpus"].values()]
    against = ""
    if other is not None:
        test = mcnemar(run.frame, other.frame)
        against = f"{experiment['against']}: {100 * test['difference']:+.1f}{bracket(test['interval'], signed=True)}"
    return [
        f"`{experiment['name']}`",
        f"**{percent(metrics['fold_mean_accuracy'])}**{bracket(metrics['intervals'].get('accuracy'))}",
        percent(metrics.get("mean_over_corpora", metrics)["balanced_accuracy"]),
        percent(metrics["ece"]),
        f"{metrics['nll']:.3f}",
        against,
        " ".join(map(percent, parts)),
    ]


def _section(experiment: dict[str, Any]) -> str:
    recipe, protocol = experiment["recipe"], experiment["protocol"]
    words = options({"protocol": protocol, **experiment["arguments"]})
    line = " ".join([f"python -m train.finetune --recipe train/recipes/{recipe}.yaml", *words])
    parts = [f"## {experiment['name']}", experiment["hypothesis"], f"    {line}", experiment["learned"]]
    return "\n\n".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main())
