"""Compare runs: one Markdown report with tables, significance tests and figures, from their predictions alone.

Examples:

    python -m train.compare runs/svm-actor runs/whisper-actor-seed42 --output reports/mine.md
    python -m train.compare reports/runs/{svm,svm-textbook,whisper}-{actor,random}* --output reports/comparison.md

Accuracies are in per cent with 95 % intervals by bootstrap over speakers. The same runs give the same report, byte for
byte. Exit status: 0, or 2 for what the message says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ser_hf.command_line import CommandParser, prints_errors
from ser_hf.evaluation import plots
from ser_hf.evaluation.markdown import bracket, percent, table
from ser_hf.evaluation.statistics import holm, mcnemar
from ser_hf.labels import GENDER_NAMES, LABELS
from ser_hf.protocols import PROTOCOLS
from ser_hf.utils.files import write_text
from train.common import require
from train.reporting import Gallery, Run, read_run

AVERAGED = ("accuracy", "fold_mean_accuracy", "balanced_accuracy", "macro_f1", "ece", "nll")
SHOWN_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
FIGURES = {"confusion": "confusion matrix", "speakers": "accuracy per speaker", "reliability": "reliability diagram"}


@prints_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; the exit status is 0, or 2 for what the message says."""
    arguments = build_parser().parse_args(argv)
    compare(arguments.runs, arguments.output)
    print(f"written: {arguments.output}")


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m train.compare", doc=__doc__)
    add, default = parser.add_argument, Path("reports/comparison.md")
    add("runs", nargs="+", type=Path, metavar="RUN", help="run folders: run.json and predictions.parquet are read")
    add("--output", type=Path, metavar="F", default=default, help="report that is written")
    return parser


def compare(folders: Iterable[Path], output: Path) -> None:
    """Write the report on some run folders to ``output``, and its figures to ``<stem>_files`` beside it.

    Raises:
        RunError: a folder is no complete run.
        UsageError: two have the same name.
    """
    output.parent.mkdir(parents=True, exist_ok=True)  # fails now rather than after minutes of statistics
    folders = sorted(set(folders))
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"several run folders are named {', '.join(twice)}; a report needs a name of its own for each")
    gallery = Gallery(output.with_name(output.stem + "_files"))
    parts = [
        "# Comparison of runs",
        f"Made from the predictions of {len(runs)} runs by\n\n    {command(folders, output)}",
        "Accuracies are in per cent, over all test clips of all folds; in brackets the 95 % interval by bootstrap over "
        "speakers. *Folds*: mean of the folds' accuracies. *UAR*: balanced accuracy (unweighted average recall). "
        "*ECE*: calibration error, 15 bins. *NLL*: negative log-likelihood in nats. *Worst*: lowest accuracy, by "
        "speaker. Only runs of the same protocol and the same clips stand in one table.",
    ]
    for group in grouped(runs):
        parts += section(group, gallery)
    gallery.remove_others()
    write_text(output, "\n\n".join(parts) + "\n")


def command(folders: Sequence[Path], output: Path) -> str:
    """The command that makes this report."""
    return f"python -m train.compare {' '.join(folder.as_posix() for folder in folders)} --output {output.as_posix()}"


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that may stand in one table (same protocol, same clips), the best first; in the order of the protocols."""
    groups: dict[tuple[str, frozenset], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (-run.metrics["accuracy"], run.name)):
        groups.setdefault((run.protocol, run.clips), []).append(run)
    rank = {name: number for number, name in enumerate(PROTOCOLS)}

    def position(group: list[Run]) -> tuple:
        protocol = group[0].protocol
        return rank.get(protocol, len(rank)), protocol, -len(group[0].clips), min(run.name for run in group)

    return sorted(groups.values(), key=position)


def section(group: list[Run], gallery: Gallery) -> list[str]:
    """The paragraphs of the report on runs of one protocol and the same clips."""
    first, metrics = group[0], {run.name: run.metrics for run in group}
    corpora = ", ".join(sorted(first.frame["corpus"].unique()))
    size = f"on {corpora}: {first.metrics['n_clips']} clips, {first.metrics['n_speakers']} speakers"
    known = PROTOCOLS.get(first.protocol)
    is_dependent = known is not None and not known.speaker_independent
    title = f"{first.protocol}{' (speaker-dependent)' if is_dependent else ''} {size}"
    parts = [f"## {title}", f"{known.description[0].upper()}{known.description[1:]}." if known else ""]
    seen = [run.name for run in group if run.facts.get("heard_in_training")]
    if seen:
        parts.append(f"**No test:** trained on these corpora: {', '.join(seen)}.")
    bars, spread = plots.comparison(metrics, title, caution=is_dependent), plots.speaker_spread(metrics, title)
    curves = plots.coverage_curves(metrics, title)
    parts += [
        main_table(group),
        *seed_table(group),
        gallery.add(bars, f"{first.protocol}-accuracy", "accuracy of each run"),
        gallery.add(spread, f"{first.protocol}-speakers", "accuracy per speaker"),
        "### Recall per emotion, %",
        recall_table(group),
    ]
    if "per_corpus" in first.metrics:
        parts += [
            "### Accuracy / UAR / ECE per corpus, %",
            corpus_table(group, ("accuracy", "balanced_accuracy", "ece"), with_size_and_mean=True),
            "### Right from wrong predictions by confidence / out-of-domain score, AUROC, %",
            corpus_table(group, ("auroc", "distance_auroc")),
        ]
    if len(first.metrics["per_fold"]) > 1:
        parts += ["### Accuracy per fold, %", fold_table(group)]
    parts += [
        "### Accuracy on the most confident share of the clips, %",
        coverage_report(group),
        gallery.add(curves, f"{first.protocol}-coverage", "accuracy against the share of the clips"),
    ]
    if len(group) > 1:
        parts += ["### Differences", difference_table(group)]
    for run in group:
        parts.append(f"### {run.name}")
        for name, figure in plots.run_figures(run.frame, run.metrics, run.name).items():
            parts.append(gallery.add(figure, f"{run.name}-{name}", FIGURES[name]))
    return [part for part in parts if part]


def by_run(group: list[Run], head: Sequence[str], cells: Callable[[dict[str, Any]], Iterable[str]]) -> str:
    """A table with one row per run, whose ``cells`` are made of its metrics."""
    return table(["run", *head], [[run.name, *cells(run.metrics)] for run in group])


def main_table(group: list[Run]) -> str:
    """The figures of each run of a group."""
    genders = sorted({gender for run in group for gender in run.metrics["per_gender"]})
    head = ["run", "accuracy", "folds", "UAR", "macro F1", "ECE", "NLL"]
    head += [*(GENDER_NAMES.get(gender, gender) for gender in genders), "worst", "minutes"]
    rows = []
    for run in group:
        metrics, seconds = run.metrics, run.facts.get("seconds")
        worst, figures = min(metrics["per_speaker"].items(), key=lambda item: (item[1]["accuracy"], item[0]))
        rows.append(
            [
                run.name,
                f"**{percent(metrics['accuracy'])}**{bracket(metrics['intervals'].get('accuracy'))}",
                *averaged(metrics)[1:],
                *(percent(metrics["per_gender"].get(gender, {}).get("accuracy")) for gender in genders),
                f"{percent(figures['accuracy'])} ({worst})",
                "" if seconds is None else f"{seconds / 60:.1f}",
            ]
        )
    return table(head, rows)


def seed_table(group: list[Run]) -> list[str]:
    """Means over the seeds of the runs whose names differ in ``-seedN`` only; nothing where there is one seed each."""
    families: dict[str, list[Run]] = {}
    for run in group:
        families.setdefault(run.without_seed, []).append(run)
    rows = []
    for name, runs in families.items():
        if len(runs) > 1:
            accuracies = [100 * run.metrics["accuracy"] for run in runs]
            means = averaged({key: float(np.mean([run.metrics[key] for run in runs])) for key in AVERAGED})
            spread = f"{min(accuracies):.1f} to {max(accuracies):.1f}"
            rows.append([name, str(len(runs)), means[0], spread, *means[1:]])
    head = ["mean over seeds", "seeds", "accuracy", "from, to", "folds", "UAR", "macro F1", "ECE", "NLL"]
    return [table(head, rows)] if rows else []


def averaged(metrics: dict[str, Any]) -> list[str]:
    """The figures of AVERAGED as they stand in a table: NLL in nats, the others in per cent."""
    return [f"{metrics[key]:.3f}" if key == "nll" else percent(metrics[key]) for key in AVERAGED]


def recall_table(group: list[Run]) -> str:
    """The recall of each emotion that occurs."""
    support = {label: group[0].metrics["per_class"][label]["support"] for label in LABELS}
    labels = [label for label in LABELS if support[label]]
    head = [f"{label} ({support[label]})" for label in labels]
    return by_run(group, head, lambda found: [percent(found["per_class"][label]["recall"]) for label in labels])


def fold_table(group: list[Run]) -> str:
    """The accuracy of each fold."""
    folds = [str(fold) for fold in sorted({int(fold) for run in group for fold in run.metrics["per_fold"]})]
    return by_run(
        group, folds, lambda found: [percent(found["per_fold"].get(fold, {}).get("accuracy")) for fold in folds]
    )


def corpus_table(group: list[Run], keys: Sequence[str], with_size_and_mean: bool = False) -> str:
    """Some figures of each corpus; with their mean over the corpora, which all weigh the same, where that is wanted."""
    sizes = {corpus: figures["n"] for corpus, figures in group[0].metrics["per_corpus"].items()}
    head = [*(f"{corpus} ({n})" for corpus, n in sizes.items()), "mean"] if with_size_and_mean else list(sizes)

    def cells(found: dict[str, Any]) -> Iterable[str]:
        columns = [found["per_corpus"][corpus] for corpus in sizes]
        columns += [found["mean_over_corpora"]] if with_size_and_mean else []
        return (" / ".join(percent(one.get(key)) for key in keys) for one in columns)

    return by_run(group, head, cells)


def coverage_report(group: list[Run]) -> str:
    """Accuracy of each run on its most confident clips."""

    def cells(found: dict[str, Any]) -> Iterable[str]:
        accuracies = {row["coverage"]: row["accuracy"] for row in found["coverage"]}
        return (percent(accuracies[coverage]) for coverage in SHOWN_COVERAGES)

    return by_run(group, [f"{100 * coverage:.0f} %" for coverage in SHOWN_COVERAGES], cells)


def difference_table(group: list[Run]) -> str:
    """McNemar's test and the difference in accuracy of every pair."""
    pairs = list(combinations(group, 2))
    tests = [mcnemar(first.frame, second.frame) for first, second in pairs]
    adjusted = holm([test["p_value"] for test in tests])
    rows = [
        [
            f"{first.name} / {second.name}",
            f"{100 * test['difference']:+.1f}{bracket(test['interval'], signed=True)}",
            f"{test['b']} / {test['c']}",
            p_value(test["p_value"]),
            p_value(corrected),
        ]
        for (first, second), test, corrected in zip(pairs, tests, adjusted, strict=True)
    ]
    note = (
        "Difference in accuracy in points with its 95 % interval by paired bootstrap over speakers; the clips that "
        "only the first, only the second gets right; p of McNemar's exact test, which takes clips as independent; and "
        "p adjusted for the number of pairs (Holm)."
    )
    head = ["first / second", "difference", "only right", "p", "p adjusted"]
    return note + "\n\n" + table(head, rows)


def p_value(value: float) -> str:
    """A p-value with four decimals."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(main())
