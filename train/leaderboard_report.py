"""The leaderboard as a report: each model on unseen speakers, on seen speakers, and on other corpora."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_hf import plots
from ser_hf.conditions import AS_RECORDED, LENGTH_CURVE, NOISE_CURVE
from ser_hf.files import write_text
from ser_hf.labels import LABELS
from ser_hf.metrics import expected_calibration_error, probability_matrix
from ser_hf.statistics import gender_gap
from train.jobs import Job
from train.reporting import Gallery, Run, bracket, percent, read_run, table

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
clips of unseen speakers: a hundred synthetic ones of each kind (`ser_hf/augment/sounds.py`), and the *pauses* before
and after the speech of a hundred clips, at the level of speech. Sounds that are refused count as none."""
IMPORTANCE_TEXT = """\
Permutation importance on unseen speakers: the points of accuracy that are lost when the features of one group are
shuffled among the test clips, mean over folds. Groups are correlated, so that each alone can be missed with little
loss."""
Rows = Sequence[dict[str, Any]]
Runs = dict[tuple[str, str], Run]  # by row and protocol


def write_leaderboard(rows: Rows, jobs: Sequence[Job], kept_dir: Path, output: Path) -> None:
    """Write the report on the runs that are kept, and its pictures to ``<stem>_files`` beside it.

    Args:
        rows: of the table, with ``name`` and ``what``.
        jobs: all that the table asks for; those that are not kept yet leave their cells empty.

    Raises:
        RunError: a kept run cannot be read.
    """
    runs = {(job.row, job.protocol): read_run(kept_dir / job.name) for job in jobs if (kept_dir / job.name).is_dir()}
    known = [row for row in rows if any(key[0] == row["name"] for key in runs)]
    known.sort(key=lambda row: -_accuracy(runs.get((row["name"], "actor"))))
    gallery = Gallery(output.with_name(output.stem + "_files"))
    parts = [
        "# Leaderboard",
        "Every model family of the field by the same commands, on the same clips, the same folds and the same metrics. "
        "Made from the predictions in `reports/runs/` by\n\n    make leaderboard",
        *main_section(known, runs, gallery),
        *pooled_section(known, runs),
        *calibration_section(known, runs),
        *gender_section(known, runs),
        *conditions_section(known, runs, kept_dir, gallery),
        *no_speech_section(known, runs, kept_dir),
        *importance_section(known, runs, kept_dir),
    ]
    gallery.remove_others()
    write_text(output, "\n\n".join(part for part in parts if part) + "\n")


def main_section(rows: Rows, runs: Runs, gallery: Gallery) -> list[str]:
    """Accuracy on the three protocols, the drop between two of them, and what each model costs."""
    head = ["model", "unseen speakers", "UAR", "seen speakers", "drop", "EmoDB", "left-out corpora, UAR", "parameters"]
    head += ["MB", "training, core min", "ms per clip"]
    lines, entries = [], []
    for row in rows:
        protocols = ("actor", "random", "cross", "loco")
        actor, mixed, cross, loco = (runs.get((row["name"], protocol)) for protocol in protocols)
        drop = _folds(mixed) - _folds(actor) if actor and mixed else None
        lines.append(
            [
                f"`{row['name']}`: {row['what']}",
                f"**{percent(_folds(actor))}**{bracket(actor.metrics['intervals'].get('accuracy'))}"
                if actor
                else NOTHING,
                percent(actor.metrics["balanced_accuracy"]) if actor else NOTHING,
                percent(_folds(mixed)) if mixed else NOTHING,
                f"{100 * drop:.1f}" if drop is not None else NOTHING,
                percent(cross.metrics["accuracy"]) + bracket(cross.metrics["intervals"].get("accuracy"))
                if cross
                else NOTHING,
                percent(loco.metrics["mean_over_corpora"]["balanced_accuracy"]) if loco else NOTHING,
                *_costs([run for run in (actor, mixed, cross, loco) if run]),
            ]
        )
        if actor and mixed:
            entry = {"name": row["name"], "unseen": _folds(actor), "heard": _folds(mixed)}
            entries.append({**entry, "interval": actor.metrics["intervals"].get("accuracy")})
    processors = " or ".join(sorted({str(run.facts.get("processor")) for run in runs.values()}))
    parts = [MAIN_TEXT.format(processors=processors, chance=percent(1 / len(LABELS))), table(head, lines)]
    if entries:
        figure = plots.generalisation(entries)
        parts.append(gallery.add(figure, "drop", "accuracy on seen and on unseen speakers, one line per model"))
    return parts


def pooled_section(rows: Rows, runs: Runs) -> list[str]:
    """Accuracy and UAR on all corpora pooled, with speakers in training and test and with speakers apart."""
    lines = []
    for row in rows:
        found = [runs.get((row["name"], protocol)) for protocol in ("pooled-random", "pooled-actor")]
        if any(found):
            cells = [
                percent(run.metrics[key] if run else None) for run in found for key in ("accuracy", "balanced_accuracy")
            ]
            lines.append([f"`{row['name']}`", *(cell or NOTHING for cell in cells)])
    head = ["model", "clips at random", "UAR", "speakers apart", "UAR"]
    return ["## All corpora pooled", POOLED_TEXT, table(head, lines)] if lines else []


def calibration_section(rows: Rows, runs: Runs) -> list[str]:
    """Calibration before and after the temperature, on unseen speakers."""
    lines = []
    for row in rows:
        if run := runs.get((row["name"], "actor")):
            probabilities, labels, right = _predictions(run)
            before = without_temperature(run)
            wrong = probabilities.max(axis=1)[~right]
            lines.append(
                [
                    f"`{row['name']}`",
                    percent(expected_calibration_error(before, labels)) if before is not None else NOTHING,
                    percent(run.metrics["ece"]),
                    f"{run.metrics['nll']:.3f}",
                    percent(probabilities.max(axis=1)[right].mean()),
                    percent(wrong.mean()) if wrong.size else NOTHING,
                    percent((wrong > HIGH_CONFIDENCE).mean()) if wrong.size else NOTHING,
                    next(
                        percent(row["accuracy"]) for row in run.metrics["coverage"] if row["coverage"] == MOST_CONFIDENT
                    ),
                ]
            )
    head = ["model", "ECE before", "ECE after", "NLL after", "confidence when right", "confidence when wrong"]
    head += [f"wrong with over {100 * HIGH_CONFIDENCE:.0f} %", f"most confident {100 * MOST_CONFIDENT:.0f} %"]
    return ["## Calibration", CALIBRATION_TEXT, table(head, lines)] if lines else []


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


def gender_section(rows: Rows, runs: Runs) -> list[str]:
    """Accuracy of women's and of men's clips of unseen speakers, and the gap between them."""
    lines = []
    for row in rows:
        if run := runs.get((row["name"], "actor")):
            genders = run.metrics["per_gender"]
            gap = gender_gap(run.frame)
            shares = [percent(genders.get(name, {}).get("accuracy")) for name in ("female", "male")]
            lines.append(
                [f"`{row['name']}`", *shares, f"{100 * gap['difference']:+.1f}{bracket(gap['interval'], True)}"]
            )
    return ["## Women and men", GENDER_TEXT, table(["model", "women", "men", "gap"], lines)] if lines else []


def conditions_section(rows: Rows, runs: Runs, kept_dir: Path, gallery: Gallery) -> list[str]:
    """Accuracy on unseen speakers in noise, shortened, over a telephone and so on, where that was measured."""
    measured = _read_beside(rows, runs, kept_dir, "conditions.json")
    if not measured:
        return []
    # Of what the curves show, the table has one point each: it is wide enough.
    drawn = {*NOISE_CURVE, *LENGTH_CURVE} - IN_TABLE
    names = [name for name in dict.fromkeys(itertools.chain(*measured.values())) if name not in drawn]
    lines = [[f"`{row}`", *(_cell(found, name) for name in names)] for row, found in measured.items()]
    figure = plots.condition_curves(measured, NOISE_CURVE, LENGTH_CURVE)
    return [
        "## Robustness",
        CONDITIONS_TEXT + _not_measured(rows, runs, measured),
        table(["model", *names], lines),
        gallery.add(figure, "conditions", "accuracy against noise level and clip length, one line per model"),
        *changed_section(measured),
    ]


def _not_measured(rows: Rows, runs: Runs, measured: dict[str, Any]) -> str:
    """Which models have not been measured yet: only the predictions of a run are kept, not its models."""
    missing = [f"`{row['name']}`" for row in rows if (row["name"], "actor") in runs and row["name"] not in measured]
    return f" Not measured yet: {', '.join(missing)}." if missing else ""


def changed_section(measured: dict[str, dict[str, Any]]) -> list[str]:
    """How often the predicted label changes with something that has nothing to do with emotion."""
    lines = [
        [f"`{row}`", *(percent(found.get(name, {}).get("changed")) for name in NO_EMOTION)]
        for row, found in measured.items()
        if any("changed" in found.get(name, {}) for name in NO_EMOTION)
    ]
    return ["## Label changes", CHANGED_TEXT, table(["model", *NO_EMOTION], lines)] if lines else []


def no_speech_section(rows: Rows, runs: Runs, kept_dir: Path) -> list[str]:
    """How often a sound without speech is predicted as confidently as speech."""
    measured = _read_beside(rows, runs, kept_dir, "no_speech.json")
    kinds = list(dict.fromkeys(itertools.chain(*measured.values())))
    lines = [[f"`{row}`", *(percent(found[kind]["sure"]) for kind in kinds)] for row, found in measured.items()]
    return ["## Sounds without speech", NO_SPEECH_TEXT, table(["model", *kinds], lines)] if lines else []


def importance_section(rows: Rows, runs: Runs, kept_dir: Path) -> list[str]:
    """What the classical models lose when a group of features is shuffled among the test clips."""
    measured = _read_beside(rows, runs, kept_dir, "importance.json")
    measured = {row: found["groups"] for row, found in measured.items()}
    if not measured:
        return []
    names = list(dict.fromkeys(name for found in measured.values() for name in found))
    lines = [
        [f"`{row}`", *(f"{100 * found[name]['drop']:.1f}" if name in found else NOTHING for name in names)]
        for row, found in measured.items()
    ]
    return [
        "## Which features matter",
        IMPORTANCE_TEXT,
        table(["model", *names], lines),
    ]


def _read_beside(rows: Rows, runs: Runs, kept_dir: Path, file: str) -> dict[str, dict[str, Any]]:
    found = {}
    for row in rows:
        run = runs.get((row["name"], "actor"))
        path = kept_dir / run.name / file if run else None
        if path is not None and path.is_file():
            found[row["name"]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _cell(found: dict[str, Any], name: str) -> str:
    return percent(found[name]["accuracy"]) if name in found else NOTHING


def _predictions(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    probabilities, names = probability_matrix(run.frame)
    labels = run.frame["emotion"].astype(str).map({name: index for index, name in enumerate(names)}).to_numpy()
    return probabilities, labels, probabilities.argmax(axis=1) == labels


def _accuracy(run: Run | None) -> float:
    return _folds(run) if run else 0.0


def _folds(run: Run) -> float:
    return run.metrics["fold_mean_accuracy"]


def _costs(runs: Sequence[Run]) -> list[str]:
    """Parameters, file size, training and prediction time: means over the folds of the first run that has them."""

    def mean(key: str, words: Callable[[float], str]) -> str:
        for run in runs:
            values = [record[key] for record in _cost_records(run) if record.get(key) is not None]
            if values:
                return words(float(np.mean(values)))
        return NOTHING

    return [
        mean("n_parameters", lambda value: f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"),
        mean("model_bytes", lambda value: _two_digits(value / 1e6)),
        mean("core_seconds", lambda value: _two_digits(value / 60)),
        mean("milliseconds_per_clip", _two_digits),
    ]


def _two_digits(value: float) -> str:
    return np.format_float_positional(value, precision=2, fractional=False, trim="-")


def _cost_records(run: Run) -> list[dict[str, Any]]:
    """The records of a run's folds, with the seconds of all cores where it is known how many those were."""
    cores = run.facts.get("cores")
    records = [dict(record) for record in run.facts.get("folds", [])]
    for record in records:
        if cores and record.get("seconds") is not None and not record.get("resumed"):
            record["core_seconds"] = cores * record["seconds"]
    return records
