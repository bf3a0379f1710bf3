"""The leaderboard as a report: each model on unseen speakers, on seen speakers, and on other corpora."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.conditions import AS_RECORDED, LENGTH_CURVE, NOISE_CURVE
from experiments.jobs import Job
from experiments.robustness import CONDITIONS_FILE, NO_SPEECH_FILE
from ser_hf.evaluation.markdown import bracket, percent, table
from ser_hf.evaluation.metrics import expected_calibration_error, label_indices, probability_matrix
from ser_hf.evaluation.plots import (
    ACCENT,
    CAUTION,
    INK,
    MUTED,
    PAPER,
    add_legend,
    line_style,
    name_rows,
    new_figure,
    set_grid,
)
from ser_hf.evaluation.statistics import gender_gap
from ser_hf.labels import LABELS
from ser_hf.utils.files import write_text
from train.reporting import Gallery, Run, read_run

NOTHING = "–"  # not run, or not known
HIGH_CONFIDENCE = 0.8
MOST_CONFIDENT = 0.8  # share of the clips
IN_TABLE = {AS_RECORDED, "noise 10 dB", "first 1 s"}
NO_EMOTION = ("half loudness", "double loudness", "silence around", "silence cut", "room")
MAIN_TEXT = """\
*Unseen speakers*: RAVDESS, five actor-disjoint folds (Luna-Jimenez et al. 2022), mean of the folds' accuracies in per
cent, with the 95 % interval by bootstrap over speakers; UAR is balanced accuracy. The two rows of Whisper also train on
all other training corpora there; every other row trains on RAVDESS alone. *Seen speakers*: the same clips split at
random (**speaker-dependent**); *drop* is the difference in points. *EmoDB*: trained on RAVDESS, tested on EmoDB
(German, ten other speakers, the labels that both have, eight labels open). *Left-out corpora*: protocol `loco`, trained
on all training corpora but the tested one, mean UAR over SAVEE, EmoDB, EMOVO, nEMO, Korean emotional TTS and ASED,
eight labels open. No epoch, temperature or parameter was chosen on test speakers. *Training* is the mean of the folds
in minutes times cores ({processors}), *ms per clip* the time from samples to prediction. Humans are quoted at 67 on
unseen speakers (Luna-Jimenez et al. 2022); chance is {chance}."""
POOLED_TEXT = """\
All training corpora and SAVEE in one pool, five folds: with clips dealt at random, so that a speaker is in training and
test (**speaker-dependent**), and with the speakers of each corpus dealt to one fold each. Accuracy in per cent over all
clips."""
CALIBRATION_TEXT = """\
On unseen speakers, in per cent: calibration error (ECE, 15 bins) before and after the temperature, mean confidence of
right and of wrong predictions, the share of the wrong ones with high confidence, and the accuracy on the most
confident part of the clips."""
GENDER_TEXT = """\
Accuracy on unseen speakers in per cent, and women minus men in points with its 95 % interval by bootstrap over the
speakers of each gender."""
CONDITIONS_TEXT = """\
Accuracy on unseen speakers in per cent, on the same test clips changed as the head says; *first 1 s* starts at the
speech. No model was trained for it beyond the augmentation of its recipe."""
CHANGED_TEXT = """\
Share of the clips, in per cent, whose predicted label changes with something that has nothing to do with emotion:
level, silence around the speech, room."""
NO_SPEECH_TEXT = """\
Share of sounds without speech, in per cent, that are predicted as confidently as the most confident four fifths of the
clips of unseen speakers: a hundred synthetic ones of each kind (`experiments/sounds.py`), and the *pauses* before
and after the speech of a hundred clips, at the level of speech. Sounds that are refused count as none."""
IMPORTANCE_TEXT = """\
Permutation importance on unseen speakers: the points of accuracy that are lost when the features of one group are
shuffled among the test clips, mean over folds. Groups are correlated, so that each alone can be missed with little
loss."""
Rows = Sequence[dict[str, Any]]
ByRow = dict[str, Run]  # one run per row of the leaderboard, by the row's name


def write_leaderboard(rows: Rows, jobs: Sequence[Job], kept_dir: Path, output: Path) -> None:
    """Write the report on the runs that are kept, and its figures to ``<stem>_files`` beside it.

    Args:
        rows: of the table, with ``name`` and ``what``.
        jobs: all that the table asks for; those that are not kept yet leave their cells empty.

    Raises:
        RunError: a kept run cannot be read.
    """
    runs: dict[str, ByRow] = {protocol: {} for protocol in ("actor", *(job.protocol for job in jobs))}
    for job in jobs:
        if (kept_dir / job.name).is_dir():
            runs[job.protocol][job.row] = read_run(kept_dir / job.name)
    known = [row for row in rows if any(row["name"] in found for found in runs.values())]
    known.sort(key=lambda row: -folds_mean(runs["actor"].get(row["name"])))
    actor = {row["name"]: runs["actor"][row["name"]] for row in known if row["name"] in runs["actor"]}
    gallery = Gallery(output.with_name(output.stem + "_files"))
    parts = [
        "# Leaderboard",
        "Every model family of the field by the same commands, on the same clips, the same folds and the same metrics. "
        "Made from the predictions in `reports/runs/` by\n\n    make leaderboard",
        *main_section(known, runs, gallery),
        *pooled_section(known, runs),
        *calibration_section(actor),
        *gender_section(actor),
        *conditions_section(actor, kept_dir, gallery),
        *no_speech_section(read_beside(actor, kept_dir, NO_SPEECH_FILE)),
        *importance_section(read_beside(actor, kept_dir, "importance.json")),
    ]
    gallery.remove_others()
    write_text(output, "\n\n".join(part for part in parts if part) + "\n")


def section(title: str, text: str, head: Sequence[str], lines: list[list[str]]) -> list[str]:
    """A heading, a text and a table of models; nothing without lines."""
    return [f"## {title}", text, table(["model", *head], lines)] if lines else []


def folds_mean(run: Run | None) -> float:
    """Mean of the accuracies of the folds; 0 without a run."""
    return run.metrics["fold_mean_accuracy"] if run else 0.0


def main_section(rows: Rows, runs: dict[str, ByRow], gallery: Gallery) -> list[str]:
    """Accuracy by protocol, the drop from seen to unseen speakers, and the costs of each model."""
    head = ["model", "unseen speakers", "UAR", "seen speakers", "drop", "EmoDB", "left-out corpora, UAR", "parameters"]
    head += ["MB", "training, core min", "ms per clip"]
    lines, seen, unseen = [], {}, {}
    for row in rows:
        name = row["name"]
        found = [runs.get(protocol, {}).get(name) for protocol in ("actor", "random", "cross", "loco")]
        actor, mixed, cross, loco = found
        cells = [NOTHING] * 6
        if actor:
            interval = bracket(actor.metrics["intervals"].get("accuracy"))
            cells[0] = f"**{percent(folds_mean(actor))}**{interval}"
            cells[1] = percent(actor.metrics["balanced_accuracy"])
        if mixed:
            cells[2] = percent(folds_mean(mixed))
        if actor and mixed:
            cells[3] = percent(folds_mean(mixed) - folds_mean(actor))
            unseen[name], seen[name] = actor, mixed
        if cross:
            cells[4] = percent(cross.metrics["accuracy"]) + bracket(cross.metrics["intervals"].get("accuracy"))
        if loco:
            cells[5] = percent(loco.metrics["mean_over_corpora"]["balanced_accuracy"])
        lines.append([f"`{name}`: {row['what']}", *cells, *costs([run for run in found if run])])
    processors = {str(run.facts.get("processor")) for found in runs.values() for run in found.values()}
    text = MAIN_TEXT.format(processors=" or ".join(sorted(processors)), chance=percent(1 / len(LABELS)))
    words = "accuracy on seen and on unseen speakers, one line per model"
    picture = [gallery.add(drop_figure(unseen, seen), "drop", words)] if unseen else []
    return [text, table(head, lines), *picture]


def costs(runs: Sequence[Run]) -> list[str]:
    """Parameters, MB, minutes of training and ms per clip: means over the folds of the first run that has them."""

    def mean(key: str, words: Callable[[float], str]) -> str:
        for run in runs:
            values = [record[key] for record in _cost_records(run) if record.get(key) is not None]
            if values:
                return words(float(np.mean(values)))
        return NOTHING

    def two_digits(value: float) -> str:
        return np.format_float_positional(value, precision=2, fractional=False, trim="-")

    return [
        mean("n_parameters", lambda value: f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"),
        mean("model_bytes", lambda value: two_digits(value / 1e6)),
        mean("core_seconds", lambda value: two_digits(value / 60)),
        mean("milliseconds_per_clip", two_digits),
    ]


def _cost_records(run: Run) -> list[dict[str, Any]]:
    """The records of a run's folds, with the seconds of all cores where it is known how many those were."""
    cores, records = run.facts.get("cores"), [dict(record) for record in run.facts.get("folds", [])]
    for record in records:
        if cores and record.get("seconds") is not None and not record.get("resumed"):
            record["core_seconds"] = cores * record["seconds"]
    return records


def pooled_section(rows: Rows, runs: dict[str, ByRow]) -> list[str]:
    """Accuracy and UAR on all corpora pooled, with speakers in training and test and with speakers apart."""
    lines = []
    for row in rows:
        found = [runs.get(protocol, {}).get(row["name"]) for protocol in ("pooled-random", "pooled-actor")]
        if any(found):
            keys = ("accuracy", "balanced_accuracy")
            cells = [percent(run.metrics[key] if run else None, NOTHING) for run in found for key in keys]
            lines.append([f"`{row['name']}`", *cells])
    return section("All corpora pooled", POOLED_TEXT, ["clips at random", "UAR", "speakers apart", "UAR"], lines)


def calibration_section(actor: ByRow) -> list[str]:
    """Calibration before and after the temperature, on unseen speakers."""
    lines = []
    for name, run in actor.items():
        (probabilities, _), labels = probability_matrix(run.frame), label_indices(run.frame)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        before, wrong = without_temperature(run), confidence[~right]
        coverage = {row["coverage"]: row["accuracy"] for row in run.metrics["coverage"]}
        lines.append(
            [
                f"`{name}`",
                percent(None if before is None else expected_calibration_error(before, labels), NOTHING),
                percent(run.metrics["ece"]),
                f"{run.metrics['nll']:.3f}",
                percent(confidence[right].mean()),
                percent(wrong.mean() if wrong.size else None, NOTHING),
                percent((wrong > HIGH_CONFIDENCE).mean() if wrong.size else None, NOTHING),
                percent(coverage[MOST_CONFIDENT]),
            ]
        )
    head = ["ECE before", "ECE after", "NLL after", "confidence when right", "confidence when wrong"]
    head += [f"wrong with over {100 * HIGH_CONFIDENCE:.0f} %", f"most confident {100 * MOST_CONFIDENT:.0f} %"]
    return section("Calibration", CALIBRATION_TEXT, head, lines)


def without_temperature(run: Run) -> np.ndarray | None:
    """The probabilities before each fold's temperature was applied; None where it is not known.

    Softmax(z / T) to the power of T is softmax(z) but for its sum.
    """
    records = {record["index"]: record.get("temperature") for record in run.facts.get("folds", [])}
    temperatures = run.frame["fold"].map(records)
    if temperatures.isna().any():
        return None
    probabilities, _ = probability_matrix(run.frame)
    logits = np.log(np.clip(probabilities, 1e-12, None)) * temperatures.to_numpy(dtype=float)[:, None]
    raw = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raw / raw.sum(axis=1, keepdims=True)


def gender_section(actor: ByRow) -> list[str]:
    """Accuracy of women's and of men's clips of unseen speakers, and the gap between them."""
    lines = []
    for name, run in actor.items():
        gap, genders = gender_gap(run.frame), run.metrics["per_gender"]
        shares = [percent(genders.get(gender, {}).get("accuracy")) for gender in ("female", "male")]
        lines.append([f"`{name}`", *shares, f"{100 * gap['difference']:+.1f}{bracket(gap['interval'], signed=True)}"])
    return section("Women and men", GENDER_TEXT, ["women", "men", "gap"], lines)


def read_beside(actor: ByRow, kept_dir: Path, file: str) -> dict[str, dict[str, Any]]:
    """The contents of a JSON file beside the kept runs on unseen speakers, by row, where it was written."""
    paths = {name: kept_dir / run.name / file for name, run in actor.items()}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def conditions_section(actor: ByRow, kept_dir: Path, gallery: Gallery) -> list[str]:
    """Accuracy on unseen speakers in noise, shortened, over a telephone and so on, where that was measured."""
    measured = read_beside(actor, kept_dir, CONDITIONS_FILE)
    if not measured:
        return []
    # Of what the curves show, the table has one point each: it is wide enough.
    drawn = {*NOISE_CURVE, *LENGTH_CURVE} - IN_TABLE
    names = [name for name in dict.fromkeys(itertools.chain(*measured.values())) if name not in drawn]
    missing = ", ".join(f"`{name}`" for name in actor if name not in measured)
    text = CONDITIONS_TEXT + (f" Not measured yet: {missing}." if missing else "")
    words = "accuracy against noise level and clip length, one line per model"
    changed = {
        row: found for row, found in measured.items() if any("changed" in found.get(name, {}) for name in NO_EMOTION)
    }
    return [
        *section("Robustness", text, names, _lines(measured, names, "accuracy", NOTHING)),
        gallery.add(condition_curves(measured, NOISE_CURVE, LENGTH_CURVE), "conditions", words),
        *section("Label changes", CHANGED_TEXT, NO_EMOTION, _lines(changed, NO_EMOTION, "changed")),
    ]


def _lines(
    measured: dict[str, dict[str, Any]], names: Sequence[str], figure: str, missing: str = ""
) -> list[list[str]]:
    """One line per model with one figure of each thing that was measured."""
    return [
        [f"`{row}`", *(percent(found.get(name, {}).get(figure), missing) for name in names)]
        for row, found in measured.items()
    ]


def no_speech_section(measured: dict[str, dict[str, Any]]) -> list[str]:
    """How often a sound without speech is predicted as confidently as speech."""
    kinds = list(dict.fromkeys(itertools.chain(*measured.values())))
    return section("Sounds without speech", NO_SPEECH_TEXT, kinds, _lines(measured, kinds, "sure"))


def importance_section(measured: dict[str, dict[str, Any]]) -> list[str]:
    """The accuracy that classical models lose when a group of features is shuffled among the test clips."""
    groups = {row: found["groups"] for row, found in measured.items()}
    names = list(dict.fromkeys(itertools.chain(*groups.values())))
    return section("Which features matter", IMPORTANCE_TEXT, names, _lines(groups, names, "drop", NOTHING))


def drop_figure(unseen: ByRow, seen: ByRow) -> Figure:
    """Accuracy on seen and on unseen speakers: one line per model, in the given order."""
    subtitle = "Accuracy on RAVDESS, %: seen against unseen speakers (bar: 95 %)"
    figure, axes = new_figure("", 1.9 + 0.5 * len(unseen), subtitle)
    full_mark: dict[str, Any] = {"marker": "o", "color": ACCENT, "markersize": 10}
    open_mark = full_mark | {"color": PAPER, "markeredgecolor": MUTED, "markeredgewidth": 2, "markersize": 9}
    for position, (name, run) in enumerate(unseen.items()):
        right, left = 100 * folds_mean(seen[name]), 100 * folds_mean(run)
        axes.plot([left, right], [position, position], color=CAUTION, linewidth=2, zorder=1)
        if interval := run.metrics["intervals"].get("accuracy"):
            ends = [100 * bound for bound in interval]
            axes.plot(ends, [position, position], color=ACCENT, linewidth=7, alpha=0.3, zorder=2)
        axes.plot(right, position, zorder=3, **open_mark)
        axes.plot(left, position, zorder=4, **full_mark)
        # Where the two are close, their figures go apart.
        sides = ("center", "center") if abs(right - left) > 8 else ("right", "left")[:: 1 if right >= left else -1]
        above = position - 0.34
        axes.text(left, above, f"{left:.1f}", ha=sides[0], fontsize=10, fontweight="bold", color=INK)
        axes.text(right, above, f"{right:.1f}", ha=sides[1], fontsize=10, color=MUTED)
    name_rows(axes, unseen, above=0.8)
    axes.set_xlim(0, 101)
    handles = [Line2D([], [], linestyle="", **mark) for mark in (full_mark, open_mark)]
    add_legend(figure, handles, ["unseen speakers", "seen speakers (random split)"])
    return figure


def condition_curves(measured: dict[str, dict[str, Any]], noise: dict[str, float], length: dict[str, float]) -> Figure:
    """Accuracy against the level of noise and against the length of the clip, one line per model.

    Args:
        measured: model -> condition -> dict with ``accuracy`` in [0, 1].
        noise: condition -> signal-to-noise ratio in dB, infinite without noise.
        length: condition -> seconds.
    """
    figure, panels = new_figure("", 5.4, "Accuracy on unseen speakers, %", ncols=2, sharey=True)
    handles = []
    for index, found in enumerate(measured.values()):
        style = line_style(index)
        for axes, curve in zip(panels, (noise, length), strict=True):
            names = sorted((name for name in curve if name in found), key=lambda name: -curve[name])
            values = [100 * found[name]["accuracy"] for name in names]
            axes.plot(range(len(names)), values, markersize=6, linewidth=1.5, **style)
        handles.append(Line2D([], [], markersize=6, linewidth=1.5, **style))
    units = ("signal-to-noise ratio, dB", "seconds of voice")
    for axes, curve, unit in zip(panels, (noise, length), units, strict=True):
        values = sorted(curve.values(), reverse=True)
        axes.set_xticks(range(len(values)), ["none" if np.isinf(value) else f"{value:g}" for value in values])
        axes.set_xlabel(unit)
        axes.set_ylim(0, 100)
        set_grid(axes, "y")
    figure.legend(handles, list(measured), loc="outside lower left", ncols=4, frameon=False, labelcolor=INK)
    return figure
