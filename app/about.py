"""The tab about the models: how often each is right, by its own ``metrics.json``, and what they must not be used for.

What a ``metrics.json`` lacks, or has in another shape, is left out part by part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from app.elements import chip, emotion
from ser_hf.card import PROTOCOL_WORDS
from ser_hf.plots import GENDER_NAMES, GENDER_STYLES

Metrics = dict[str, Any]

VOICES_HEARD = {"random"}  # protocols that test on voices of the training part
# Marks 9 px wide around (0, 0), by matplotlib's names.
SHAPES = {
    "o": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "s": "M-4-4h8v8h-8z",
    "D": "M0-5.5L5.5 0L0 5.5L-5.5 0z",
}
OTHER_STYLE = ("currentColor", "D")
MARK_ROOM, MARK_STEP = 0.035, 11  # accuracy that a mark takes up on a phone; px from one mark to the next on top of it
TICKS = (0, 25, 50, 75, 100)
PLOT, LEFT, TOP = 250, 50, 16  # the reliability diagram's square and its margins, in its own units
SMALLEST, LARGEST = 3, 14  # radii of its dots

CONFUSION_TEXT = (
    "Rows: what the actors expressed. Columns: what was heard, in per cent of the row's clips. Right answers are bold."
)
SPREAD_TEXT = "Each mark is an actor: how many of the actor's clips were heard rightly."
CALIBRATION_TEXT = "Of the answers of which a well calibrated model is 70 % sure, 70 % are right."
DIAGRAM_TEXT = (
    " Each dot stands for answers that are about as sure, the larger the more there are. On the dashed line they are "
    "right as often as they are sure, below it less often."
)
GAP_TEXT = "Its answers are on average {points:.1f} points more or less sure than they are right, group by group."
FACTS = """<section><h2>What they are, and what they are not</h2><dl>
<dt>What they learned from</dt><dd>{learned}</dd>
<dt>What they tell</dt><dd>Which of the expressions that they learned a voice resembles most. They tell what the voice
expresses; they cannot know what a person feels.</dd>
<dt>What was not measured</dt><dd>Other languages, ages, rooms and microphones, and speech that is not acted: expect
them to be wrong more often there. They answer anything that sounds, speech or not.</dd>
<dt>What they must not be used for</dt><dd class="ser-never">Do not judge people by them, least of all at work or in
education: the {act} forbids inferring emotions there (Art. 5(1)(f)), and asks that people be told wherever else such a
system hears them (Art. 50(3)).</dd>
<dt>Your recordings</dt><dd>{privacy}</dd></dl></section>"""


@dataclass(frozen=True)
class Described:
    """A model as the tab describes it.

    Attributes:
        name: what people know it by.
        metrics: the parsed ``metrics.json`` of its folder, see `ser_hf.card.write_card`; None where there is none.
    """

    name: str
    metrics: Metrics | None


def about_html(model: Described, baseline: Described, privacy: str) -> str:
    """Everything that the tab shows, as a self-contained piece of the page.

    Args:
        privacy: plain sentences on what becomes of recordings.
    """
    models = {
        f"{title} ({described.name})": _dict(described.metrics)
        for title, described in (("Fine-tuned model", model), ("Baseline", baseline))
    }
    sureness = CALIBRATION_TEXT + (DIAGRAM_TEXT if any(map(_bins, models.values())) else "")
    act = _link("https://eur-lex.europa.eu/eli/reg/2024/1689/oj", "EU AI Act")
    return (
        f'<div class="ser-about">{_quality(models)}'
        f"{_side_by_side('What is heard as what', CONFUSION_TEXT, _confusion, models)}"
        f"{_side_by_side('How much depends on whose voice it is', SPREAD_TEXT, _spread, models)}"
        f"{_side_by_side('Are they right as often as they are sure?', sureness, _calibration, models)}"
        f"{FACTS.format(learned=_learned(models), act=act, privacy=escape(privacy))}</div>"
    )


def _side_by_side(title: str, text: str, figure: Callable[[str, Metrics], str], models: dict[str, Metrics]) -> str:
    figures = "".join(figure(name, metrics) for name, metrics in models.items())
    if not figures:
        return ""
    return f'<section><h2>{title}</h2><p>{text}</p><div class="ser-pair">{figures}</div></section>'


def _quality(models: dict[str, Metrics]) -> str:
    columns = {name: _column(metrics) for name, metrics in models.items()}
    measured = {name: models[name] for name, column in columns.items() if column}
    notes = _method(measured) + [
        f"{name} brings no measured figures, so how often it is right cannot be said here."
        for name in models
        if name not in measured
    ]
    return (
        f"<section><h2>How often they are right</h2>{_table({name: columns[name] for name in measured})}"
        f"{''.join(f'<p>{escape(note)}</p>' for note in notes)}</section>"
    )


def _table(columns: dict[str, dict[tuple[str, str], str]]) -> str:
    if not columns:
        return ""
    heads = "".join(f'<th scope="col">{escape(name).replace(" (", " <br>(", 1)}</th>' for name in columns)
    rows = ""
    for title in dict.fromkeys(title for column in columns.values() for title in column):
        cells = "".join(f"<td>{column.get(title, 'not measured')}</td>" for column in columns.values())
        rows += f'<tr><th scope="row">{escape(title[0])} <small>{escape(title[1])}</small></th>{cells}</tr>'
    return (
        f'<table class="ser-figures"><thead><tr><th scope="col">Figure</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _column(metrics: Metrics) -> dict[tuple[str, str], str]:
    """The cells of a model's column, by the title of the row and what it means; only those there are figures for."""
    unheard = str(metrics.get("protocol")) in PROTOCOL_WORDS.keys() - VOICES_HEARD
    folds = _share(metrics.get("fold_mean_accuracy"))
    column = {
        ("Accuracy", "on voices never heard" if unheard else "right answers"): _cell(
            metrics.get("accuracy") if folds is None else folds, _interval(metrics, "accuracy")
        ),
        ("UAR", "every expression counts the same"): _cell(
            metrics.get("balanced_accuracy"), _interval(metrics, "balanced_accuracy")
        ),
        ("Macro F1", "counts false alarms too"): _cell(metrics.get("macro_f1"), _interval(metrics, "macro_f1")),
        ("Calibration error", "ECE, in points"): _cell(metrics.get("ece"), _interval(metrics, "ece"), unit=""),
    }
    for gender, group in _groups(metrics, "per_gender").items():
        column[GENDER_NAMES.get(gender, gender).capitalize(), "accuracy"] = _cell(group["accuracy"])
    actors = sorted((group["accuracy"], name) for name, group in _groups(metrics, "per_speaker").items())
    if actors:
        for extreme, (accuracy, name) in (("Least", actors[0]), ("Best", actors[-1])):
            column[f"{extreme} understood actor", "accuracy"] = _cell(accuracy, f"actor {name}")
    labels, counts = _counts(metrics)
    if labels:
        column["Chance", "guessing the expression"] = _cell(1 / len(labels))
        column["Largest class", "always the same answer"] = _cell(float(counts.sum(axis=1).max() / counts.sum()))
    return {title: cell for title, cell in column.items() if cell}


def _cell(value: Any, note: str = "", unit: str = " %") -> str:
    share = _share(value)
    return "" if share is None else f"<b>{100 * share:.1f}{unit}</b> <small>{escape(note)}</small>"


def _method(measured: dict[str, Metrics]) -> list[str]:
    """How the figures came about, in sentences; told once where it is the same for all."""
    names: dict[str, str] = {}
    for name, metrics in measured.items():
        names.setdefault(_protocol(metrics), name)
    notes = [words if len(names) == 1 else f"{name}: {words}" for words, name in names.items()]
    if len(names) > 1:
        notes.append("They were measured in different ways: do not compare their figures.")
    if any(_interval(metrics, "accuracy") for metrics in measured.values()):
        notes.append(
            "The ranges are 95 % intervals over all clips, by bootstrap over speakers: how far a figure may move "
            "with other speakers of the same kind."
        )
    return notes


def _protocol(metrics: Metrics) -> str:
    clips, speakers = _count(metrics.get("n_clips")), _count(metrics.get("n_speakers"))
    protocol = metrics.get("protocol")
    corpora = ", ".join(str(name).upper() for name in _list(metrics.get("corpora")))
    folds = len(_dict(metrics.get("per_fold")))
    words = f"Measured on {clips} clips of {speakers} speakers" if clips and speakers else "Measured"
    words += f" of {corpora}" if corpora else ""
    known = isinstance(protocol, str)
    words += f": {PROTOCOL_WORDS.get(protocol, protocol)}." if known else "; by which protocol is not said."
    if folds > 1:
        words += (
            " Accuracy is the mean over the folds. A published model learned from all actors by the same recipe, "
            f"and nobody is left to test it on: the figures are those of its {folds} sister models, one a fold."
        )
    return words


def _confusion(name: str, metrics: Metrics) -> str:
    labels, counts = _counts(metrics)
    if not labels:
        return ""
    clips = counts.sum(axis=1)
    shares = 100 * counts / np.maximum(clips, 1)[:, None]
    heads = "".join(
        f'<th scope="col"><span class="ser-word">{escape(label)}</span>{chip(label)}</th>' for label in labels
    )
    rows = ""
    for row in np.flatnonzero(clips):
        cells = "".join(
            f'<td style="--share:{share:.0f}%"{" class=ser-right" if column == row else ""}>{share:.0f}</td>'
            for column, share in enumerate(shares[row])
        )
        rows += f'<tr><th scope="row">{emotion(labels[row])} <small>{clips[row]:.0f} clips</small></th>{cells}</tr>'
    wrong = np.where(np.eye(len(labels), dtype=bool), 0, shares)
    expressed, heard = np.unravel_index(wrong.argmax(), wrong.shape)
    worst = (
        f"Most frequent mistake: {labels[expressed]} heard as {labels[heard]}, {wrong.max():.0f} %."
        if wrong.any()
        else ""
    )
    return (
        f'<div class="ser-scroll" role="region" tabindex="0" aria-label="What is heard as what, {escape(name)}">'
        f'<table class="ser-confusion"><caption><b>{escape(name)}</b> {escape(worst)}</caption>'
        f'<thead><tr><th scope="col">expressed, <br>heard as</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _spread(name: str, metrics: Metrics) -> str:
    lanes: dict[str, list[tuple[float, str]]] = {}
    for actor, group in _groups(metrics, "per_speaker").items():
        lanes.setdefault(str(group.get("gender", "speakers")), []).append((group["accuracy"], actor))
    if not lanes:
        return ""
    marks, legend, words, y = "", "", [], 32
    for gender, lane in sorted(lanes.items()):
        color, shape = GENDER_STYLES.get(gender, OTHER_STYLE)
        mark = f'<path d="{SHAPES[shape]}" fill="{color}"/>'
        levels: list[float] = []  # the accuracy of the last mark on each
        for accuracy, actor in sorted(lane):
            free = (level for level, last in enumerate(levels) if accuracy - last >= MARK_ROOM)
            level = next(free, len(levels))
            levels[level : level + 1] = [accuracy]
            marks += (
                f'<svg x="{100 * accuracy:.2f}%" y="{y + MARK_STEP * level}">'
                f"<title>actor {escape(actor)}: {_percent(accuracy)}</title>{mark}</svg>"
            )
        y += MARK_STEP * (len(levels) + 1)
        words.append(
            f"{len(lane)} {GENDER_NAMES.get(gender, gender)}, {_percent(min(lane)[0])} to {_percent(max(lane)[0])}"
        )
        legend += f'<span><i class="ser-mark-{shape}" style="background:{color}"></i>{escape(words[-1])}</span>'
    total = _share(metrics.get("accuracy"))
    line = ""
    if total is not None:
        words.append(f"all clips {_percent(total)}")
        anchor = "start" if total < 0.2 else "end" if total > 0.8 else "middle"
        line = (
            f'<line class="ser-total" x1="{100 * total:.2f}%" x2="{100 * total:.2f}%" y1="16" y2="{y}"/>'
            f'<text x="{100 * total:.2f}%" y="10" text-anchor="{anchor}">{words[-1]}</text>'
        )
    grid = "".join(
        f'<line class="ser-grid" x1="{tick}%" x2="{tick}%" y1="16" y2="{y}"/>'
        f'<text x="{tick}%" y="{y + 16}" text-anchor="middle">{tick} %</text>'
        for tick in TICKS
    )
    label = escape(f"Accuracy of each actor, {name}: {'; '.join(words)}")
    return (
        f'<figure><figcaption><b>{escape(name)}</b> <span class="ser-legend">{legend}</span></figcaption>'
        f'<svg class="ser-strip" role="img" aria-label="{label}" height="{y + 22}">{grid}{line}{marks}</svg></figure>'
    )


def _calibration(name: str, metrics: Metrics) -> str:
    error, bins = _share(metrics.get("ece")), _bins(metrics)
    if error is None and not bins:
        return ""
    words = "" if error is None else GAP_TEXT.format(points=100 * error)
    diagram = _diagram(name, bins) if bins else ""
    return f"<figure><figcaption><b>{escape(name)}</b> {words}</figcaption>{diagram}</figure>"


def _diagram(name: str, bins: list[dict[str, float]]) -> str:
    """A reliability diagram: accuracy against confidence, one dot a bin, its area by the answers in it."""
    largest = max(group["n"] for group in bins)
    right, floor = LEFT + PLOT, TOP + PLOT
    dots, words = "", []
    for group in bins:
        words.append(f"{group['n']} answers, {_percent(group['confidence'])} sure, {_percent(group['accuracy'])} right")
        dots += (
            f'<circle cx="{LEFT + PLOT * group["confidence"]:.1f}" cy="{floor - PLOT * group["accuracy"]:.1f}" '
            f'r="{max(SMALLEST, LARGEST * (group["n"] / largest) ** 0.5):.1f}"><title>{words[-1]}</title></circle>'
        )
    grid = ""
    for tick in TICKS:
        x, y = LEFT + PLOT * tick / 100, floor - PLOT * tick / 100
        grid += (
            f'<path class="ser-grid" d="M{LEFT} {y}H{right}M{x} {TOP}V{floor}"/>'
            f'<text x="{x}" y="{floor + 18}" text-anchor="middle">{tick}</text>'
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick}</text>'
        )
    label = escape(f"Reliability diagram, {name}: {'; '.join(words)}")
    return (
        f'<svg class="ser-diagram" role="img" aria-label="{label}" viewBox="0 0 {right + LARGEST + 2} {floor + 42}">'
        f'{grid}<path class="ser-total" d="M{LEFT} {floor}L{right} {TOP}"/>{dots}'
        f'<text x="{LEFT + PLOT / 2}" y="{floor + 38}" text-anchor="middle">sure, %</text>'
        f'<text transform="translate(12 {TOP + PLOT / 2}) rotate(-90)" text-anchor="middle">right, %</text></svg>'
    )


def _learned(models: dict[str, Metrics]) -> str:
    known = [escape(name) for name, metrics in models.items() if "ravdess" in _list(metrics.get("corpora"))]
    others = [escape(name) for name in models if escape(name) not in known]
    words = ""
    if known:
        words = (
            f"{' and '.join(known)}: the speech of {_link('https://doi.org/10.5281/zenodo.1188976', 'RAVDESS')}, in "
            "which 24 professional North American actors say two sentences with eight acted expressions. It is under "
            f"{_link('https://creativecommons.org/licenses/by-nc-sa/4.0/', 'CC BY-NC-SA 4.0')}: take it that models "
            "trained on it are not for commercial use."
        )
    if others:
        words += f" {' and '.join(others)}: see the model's own card."
    return words


def _link(address: str, words: str) -> str:
    return f'<a href="{address}" target="_blank" rel="noopener">{words}</a>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share(value: Any) -> float | None:
    """The value if it is a number in [0, 1], as all that is shown here as a figure must be."""
    return value if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _interval(metrics: Metrics, key: str) -> str:
    bounds = [_share(bound) for bound in _list(_dict(metrics.get("intervals")).get(key))]
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}" if len(bounds) == 2 and None not in bounds else ""


def _groups(metrics: Metrics, key: str) -> dict[str, dict[str, Any]]:
    groups = {str(name): _dict(group) for name, group in _dict(metrics.get(key)).items()}
    return {name: group for name, group in groups.items() if _share(group.get("accuracy")) is not None}


def _counts(metrics: Metrics) -> tuple[list[str], np.ndarray]:
    """Labels and confusion matrix, (k, k), rows true; no labels where the matrix cannot be shown."""
    labels = [str(label) for label in _list(metrics.get("labels"))]
    try:
        counts = np.array(metrics.get("confusion_matrix"), dtype=float)
    except (TypeError, ValueError):
        return [], np.zeros((0, 0))
    fits = counts.shape == (len(labels),) * 2 and np.isfinite(counts).all() and (counts >= 0).all() and counts.any()
    return (labels if fits else []), counts


def _bins(metrics: Metrics) -> list[dict[str, Any]]:
    bins = map(_dict, _list(metrics.get("calibration")))
    return [
        {"n": group["n"], "confidence": group["confidence"], "accuracy": group["accuracy"]}
        for group in bins
        if _count(group.get("n"))
        if _share(group.get("confidence")) is not None and _share(group.get("accuracy")) is not None
    ]
