"""The About tab: how accurate each model is, by its own ``metrics.json``, and what they must not be used for."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import numpy as np

from app.views import PARTS, model_name, render
from ser_hf.classifier import EmotionClassifier
from ser_hf.labels import GENDER_NAMES, GENDER_STYLES
from ser_hf.protocols import PROTOCOLS

Metrics = dict[str, Any]

# What reading the ``metrics.json`` of another program raises.
OTHER_SHAPE = (LookupError, TypeError, ValueError, AttributeError)
OTHER_STYLE = ("currentColor", "D")  # of a speaker whose gender is not known
MARK_ROOM, MARK_STEP = 0.035, 11  # accuracy that a mark takes up on a phone; px from one mark to the next on top of it
TICKS = (0, 25, 50, 75, 100)


def about_html(model: EmotionClassifier, baseline: EmotionClassifier, privacy: str) -> str:
    """Everything that the tab shows, as a self-contained piece of the page.

    Args:
        privacy: plain sentences on what becomes of recordings.
    """
    classifiers = (model, baseline)
    models = [_described(kind, one) for kind, one in zip(PARTS.values(), classifiers, strict=True)]
    return render(
        "about.html",
        models=models,
        rows=list(dict.fromkeys(row for one in models for row in one["figures"] or ())),
        noncommercial=any("ravdess" in one.trained_on for one in classifiers),
        cards=[_card(one.name) for one in classifiers if "/" in one.name],
        privacy=privacy,
        ticks=TICKS,
    )


def _described(kind: str, classifier: EmotionClassifier) -> dict[str, Any]:
    """A model and what its metrics show; None in their place where it has none, or those of another program."""
    name, parts = model_name(classifier.name), (figures, confusion, spread, calibration, protocol)
    described: dict[str, Any] = dict.fromkeys(["intervals", *(part.__name__ for part in parts)])
    described |= {"kind": kind, "name": name, "title": f"{kind} ({name})", "trained_on": classifier.trained_on}
    with suppress(*OTHER_SHAPE):
        metrics: Any = classifier.metrics
        described |= {"intervals": metrics["intervals"]} | {part.__name__: part(metrics) for part in parts}
    return described


def _card(name: str) -> tuple[str, str]:
    """Where on the Hub a model's card is, as of the revision that is shown, and the name of its repository."""
    repo_id, _, revision = name.partition("@")
    page = f"/blob/{quote(revision, safe='')}/README.md" if revision else ""
    return f"https://huggingface.co/{repo_id}{page}", repo_id


def _percent(value: float, unit: str = " %") -> str:
    """A share in [0, 1] to a tenth of a per cent; raises ValueError where it is none."""
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no share")
    return f"{100 * value:.1f}{unit}"


def figures(metrics: Metrics) -> dict[tuple[str, str], tuple[str, str]]:
    """Figures and their 95 % intervals or remarks, by the title of the row and what it means."""
    known = PROTOCOLS.get(metrics.get("protocol", ""))
    meaning = "on unseen speakers" if known and known.speaker_independent else "right predictions"

    def with_interval(key: str, value: float, unit: str = " %") -> tuple[str, str]:
        interval = metrics["intervals"].get(key, ())  # there is none for a single speaker
        return _percent(value, unit), " to ".join(_percent(bound, "") for bound in interval)

    rows = {
        ("Accuracy", meaning): with_interval("accuracy", metrics["fold_mean_accuracy"]),
        ("UAR", "every label counts the same"): with_interval("balanced_accuracy", metrics["balanced_accuracy"]),
        ("Macro F1", "counts false alarms too"): with_interval("macro_f1", metrics["macro_f1"]),
        ("Calibration error", "ECE, in points"): with_interval("ece", metrics["ece"], ""),
    }
    if left_out := metrics.get("left_out_corpora"):
        number = len(left_out["balanced_accuracy"])
        rows["UAR on other corpora", f"mean of {number} that were left out of training"] = (
            _percent(left_out["mean"]),
            "",
        )
    for gender, group in metrics["per_gender"].items():
        rows[GENDER_NAMES.get(gender, gender).capitalize(), "accuracy"] = _percent(group["accuracy"]), ""
    speakers = sorted((group["accuracy"], name) for name, group in metrics["per_speaker"].items())
    for extreme, (accuracy, name) in (("Lowest", speakers[0]), ("Highest", speakers[-1])):
        rows[f"{extreme} accuracy", "by speaker"] = _percent(accuracy), f"speaker {name}"
    clips = np.array(metrics["confusion_matrix"]).sum(axis=1)
    rows["Chance", "guessing the label"] = _percent(1 / len(metrics["labels"])), ""
    rows["Largest class", "always the same label"] = _percent(clips.max() / clips.sum()), ""
    return rows


def protocol(metrics: Metrics) -> str:
    """How the figures were measured, in sentences."""
    name = metrics.get("protocol") or "the protocol is not known"
    words = f"Measured on {metrics['n_clips']} clips of {metrics['n_speakers']} speakers"
    if corpora := metrics.get("corpora"):
        words += f" of {', '.join(corpus.upper() for corpus in corpora)}"
    words += f": {PROTOCOLS[name].description if name in PROTOCOLS else name}."
    if (folds := len(metrics["per_fold"])) > 1:
        words += (
            " Accuracy is the mean over the folds. A published model is trained on all speakers by the same "
            f"recipe, and the figures are those of the {folds} cross-validation models, one per fold."
        )
    return words


def confusion(metrics: Metrics) -> dict[str, Any]:
    """The confusion matrix in per cent of each row; labels without clips have none."""
    labels, counts = metrics["labels"], np.array(metrics["confusion_matrix"], dtype=float)
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
        speakers.setdefault(group.get("gender") or "speakers", []).append((group["accuracy"], actor))
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
