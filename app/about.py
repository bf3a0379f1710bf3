"""The About tab: how accurate each model is, by its own ``metrics.json``, and what they must not be used for.

What a ``metrics.json`` lacks, or has in another shape, is left out part by part.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from app.views import PARTS, model_name, render
from ser_hf.labels import GENDER_NAMES, GENDER_STYLES
from ser_hf.protocols import PROTOCOLS

Metrics = dict[str, Any]
Column = dict[tuple[str, str], tuple[str, str]]

# What reading a ``metrics.json`` of another shape raises.
LACKING = (LookupError, TypeError, ValueError, AttributeError)
OTHER_STYLE = ("currentColor", "D")  # of a speaker whose gender is not known
MARK_ROOM, MARK_STEP = 0.035, 11  # accuracy that a mark takes up on a phone; px from one mark to the next on top of it
TICKS = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Described:
    """A model as the tab describes it.

    Attributes:
        name: what people know it by.
        metrics: the parsed ``metrics.json`` of its folder, see `ser_hf.hub.card.write_card`; None where there is none.
        trained_on: the corpora that it was trained on; empty where it does not say.
    """

    name: str
    metrics: Metrics | None
    trained_on: tuple[str, ...] = ()


def about_html(model: Described, baseline: Described, privacy: str) -> str:
    """Everything that the tab shows, as a self-contained piece of the page.

    Args:
        privacy: plain sentences on what becomes of recordings.
    """
    models = []
    for kind, described in zip(PARTS.values(), (model, baseline), strict=True):
        name, metrics = model_name(described.name), described.metrics or {}
        figures = {figure.__name__: _known(figure, metrics) for figure in (confusion, spread, calibration)}
        named = {"kind": kind, "name": name, "title": f"{kind} ({name})", "trained_on": described.trained_on}
        models.append(named | figures | {"column": _column(metrics), "metrics": metrics})
    return render(
        "about.html",
        models=models,
        rows=list(dict.fromkeys(row for one in models for row in one["column"])),
        notes=_notes(models),
        noncommercial=any("ravdess" in one.trained_on for one in (model, baseline)),
        cards=[_card(one.name) for one in (model, baseline) if "/" in one.name],
        privacy=privacy,
        ticks=TICKS,
    )


def _known(figure: Callable[[Metrics], Any], metrics: Metrics) -> Any:
    """A figure, or nothing where the metrics do not hold it."""
    with suppress(*LACKING):
        return figure(metrics)


def _card(name: str) -> tuple[str, str]:
    """Where on the Hub a model's card is, as of the revision that is shown, and the name of its repository."""
    repo_id, _, revision = name.partition("@")
    page = f"/blob/{quote(revision, safe='')}/README.md" if revision else ""
    return f"https://huggingface.co/{repo_id}{page}", repo_id


def _column(metrics: Metrics) -> Column:
    """Figures and remarks of a model's column, by the title of the row and what it means."""
    known = PROTOCOLS.get(str(_known(lambda metrics: metrics["protocol"], metrics)))
    independent = known is not None and known.speaker_independent
    column: Column = {}
    with suppress(*LACKING):
        accuracy = metrics["fold_mean_accuracy"] if "fold_mean_accuracy" in metrics else metrics["accuracy"]
        meaning = "on unseen speakers" if independent else "right predictions"
        column["Accuracy", meaning] = _percent(accuracy), _interval(metrics, "accuracy")
    for key, title, meaning, unit in (
        ("balanced_accuracy", "UAR", "every label counts the same", " %"),
        ("macro_f1", "Macro F1", "counts false alarms too", " %"),
        ("ece", "Calibration error", "ECE, in points", ""),
    ):
        with suppress(*LACKING):
            column[title, meaning] = _percent(metrics[key], unit), _interval(metrics, key)
    with suppress(*LACKING):
        mean, corpora = metrics["left_out_corpora"]["mean"], metrics["left_out_corpora"]["balanced_accuracy"]
        column["UAR on other corpora", f"mean of {len(corpora)} that were left out of training"] = _percent(mean), ""
    with suppress(*LACKING):
        for gender, group in metrics["per_gender"].items():
            column[GENDER_NAMES.get(gender, gender).capitalize(), "accuracy"] = _percent(group["accuracy"]), ""
    with suppress(*LACKING):
        actors = sorted((group["accuracy"], name) for name, group in metrics["per_speaker"].items())
        for extreme, (accuracy, name) in (("Lowest", actors[0]), ("Highest", actors[-1])):
            column[f"{extreme} accuracy", "by speaker"] = _percent(accuracy), f"actor {name}"
    with suppress(*LACKING):
        labels, counts = _confusion_counts(metrics)
        column["Chance", "guessing the label"] = _percent(1 / len(labels)), ""
        column["Largest class", "always the same label"] = _percent(counts.sum(axis=1).max() / counts.sum()), ""
    return column


def _percent(value: float, unit: str = " %") -> str:
    """A share in [0, 1] to a tenth of a per cent; raises ValueError where it is none."""
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no share")
    return f"{100 * value:.1f}{unit}"


def _interval(metrics: Metrics, key: str) -> str:
    """The 95 % interval of a figure in words, or nothing."""
    with suppress(*LACKING):
        low, high = (_percent(bound, "") for bound in metrics["intervals"][key])
        return f"{low} to {high}"
    return ""


def _notes(models: list[dict[str, Any]]) -> list[str]:
    """How the figures were measured, in sentences; once where it is the same for all."""
    measured = [one for one in models if one["column"]]
    titles = {_protocol(one["metrics"]): one["title"] for one in reversed(measured)}
    notes = [words if len(titles) == 1 else f"{title}: {words}" for words, title in reversed(titles.items())]
    if len(titles) > 1:
        notes.append("They were measured in different ways: do not compare their figures.")
    if any(_interval(one["metrics"], "accuracy") for one in measured):
        notes.append("The ranges are 95 % intervals over all clips, by bootstrap over speakers.")
    unmeasured = (one["title"] for one in models if not one["column"])
    return notes + [f"{title} has no measured figures, so its accuracy is not known here." for title in unmeasured]


def _protocol(metrics: Metrics) -> str:
    words, protocol = "Measured", metrics.get("protocol")
    if not isinstance(protocol, str):
        protocol = "the protocol is not known"
    with suppress(*LACKING):
        words += f" on {metrics['n_clips']:d} clips of {metrics['n_speakers']:d} speakers"
    with suppress(*LACKING):
        words += f" of {', '.join(name.upper() for name in metrics['corpora'])}"
    words += f": {PROTOCOLS[protocol].description if protocol in PROTOCOLS else protocol}."
    with suppress(*LACKING):
        if (folds := len(metrics["per_fold"])) > 1:
            words += (
                " Accuracy is the mean over the folds. A published model is trained on all speakers by the same "
                f"recipe, and the figures are those of the {folds} cross-validation models, one per fold."
            )
    return words


def _confusion_counts(metrics: Metrics) -> tuple[list[str], np.ndarray]:
    """Labels and confusion matrix, (k, k), rows true; raises ValueError where it cannot be shown."""
    labels, counts = list(map(str, metrics["labels"])), np.array(metrics["confusion_matrix"], dtype=float)
    if counts.shape != (len(labels),) * 2 or not np.isfinite(counts).all() or not counts.any():
        raise ValueError("no confusion matrix of these labels")
    return labels, counts


def confusion(metrics: Metrics) -> dict[str, Any]:
    """The confusion matrix in per cent of each row; labels without clips have none."""
    labels, counts = _confusion_counts(metrics)
    clips = counts.sum(axis=1)
    shares = 100 * counts / np.maximum(clips, 1)[:, None]
    rows = [(labels[row], f"{clips[row]:.0f}", [f"{share:.0f}" for share in shares[row]]) for row in clips.nonzero()[0]]
    np.fill_diagonal(shares, 0)
    expressed, predicted = np.unravel_index(shares.argmax(), shares.shape)
    worst = f"Most frequent error: {labels[expressed]} as {labels[predicted]}, {shares.max():.0f} %."
    return {"labels": labels, "rows": rows, "worst": worst if shares.any() else ""}


def spread(metrics: Metrics) -> dict[str, Any]:
    """The accuracy on each speaker's clips: marks, one lane of them per gender, none on top of another."""
    speakers: dict[str, list[tuple[float, str]]] = {}
    for actor, group in metrics["per_speaker"].items():
        speakers.setdefault(str(group.get("gender", "speakers")), []).append((group["accuracy"], actor))
    lanes, marks, y = [], [], 32
    for gender, lane in sorted(speakers.items()):
        color, shape = GENDER_STYLES.get(gender, OTHER_STYLE)
        levels: list[float] = []  # the accuracy of the last mark on each
        for accuracy, actor in sorted(lane):
            free = (level for level, last in enumerate(levels) if accuracy - last >= MARK_ROOM)
            level = next(free, len(levels))
            levels[level : level + 1] = [accuracy]
            place = {"x": f"{100 * accuracy:.2f}", "y": y + MARK_STEP * level}
            marks.append(place | {"actor": actor, "accuracy": _percent(accuracy), "shape": shape, "color": color})
        y += MARK_STEP * (len(levels) + 1)
        lowest, highest = _percent(min(lane)[0]), _percent(max(lane)[0])
        lanes.append((color, shape, f"{len(lane)} {GENDER_NAMES.get(gender, gender)}, {lowest} to {highest}"))
    total = metrics["accuracy"]
    return {"lanes": lanes, "marks": marks, "height": y, "x": round(100 * total, 2), "total": _percent(total)}


def calibration(metrics: Metrics) -> dict[str, Any]:
    """A reliability diagram: accuracy against confidence, one dot per bin, its area by the predictions in it."""
    bins = [group for group in metrics["calibration"] if group["n"]]
    largest = max(group["n"] for group in bins)
    dots = []
    for group in bins:
        n, confidence, accuracy = group["n"], group["confidence"], group["accuracy"]
        words = f"{n} predictions, confidence {_percent(confidence)}, accuracy {_percent(accuracy)}"
        place = {"x": f"{50 + 250 * confidence:.1f}", "y": f"{266 - 250 * accuracy:.1f}"}
        dots.append(place | {"r": f"{max(3, 14 * (n / largest) ** 0.5):.1f}", "words": words})
    return {"dots": dots, "ece": _percent(metrics["ece"], "")}
