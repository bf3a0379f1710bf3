"""Pictures of how often a model is right, as HTML and SVG that follow the theme; each is empty without its figures."""

from __future__ import annotations

from html import escape

import numpy as np

from app.elements import chip, emotion
from app.measured import Metrics, calibration_bins, confusion_counts, groups, percent, share
from ser_hf.marks import GENDER_NAMES, GENDER_STYLES

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
GAP_TEXT = "Its answers are on average {points:.1f} points more or less sure than they are right, group by group."


def confusion(name: str, metrics: Metrics) -> str:
    labels, counts = confusion_counts(metrics)
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
    expressed, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    worst = (
        f"Most frequent error: {labels[expressed]} as {labels[predicted]}, {wrong.max():.0f} %." if wrong.any() else ""
    )
    return (
        f'<div class="ser-scroll" role="region" tabindex="0" aria-label="Confusion matrix, {escape(name)}">'
        f'<table class="ser-confusion"><caption><b>{escape(name)}</b> {escape(worst)}</caption>'
        f'<thead><tr><th scope="col">expressed, <br>predicted</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


def spread(name: str, metrics: Metrics) -> str:
    lanes: dict[str, list[tuple[float, str]]] = {}
    for actor, group in groups(metrics, "per_speaker").items():
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
                f"<title>actor {escape(actor)}: {percent(accuracy)}</title>{mark}</svg>"
            )
        y += MARK_STEP * (len(levels) + 1)
        words.append(
            f"{len(lane)} {GENDER_NAMES.get(gender, gender)}, {percent(min(lane)[0])} to {percent(max(lane)[0])}"
        )
        legend += f'<span><i class="ser-mark-{shape}" style="background:{color}"></i>{escape(words[-1])}</span>'
    total = share(metrics.get("accuracy"))
    line = ""
    if total is not None:
        words.append(f"all clips {percent(total)}")
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


def calibration(name: str, metrics: Metrics) -> str:
    error, bins = share(metrics.get("ece")), calibration_bins(metrics)
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
        words.append(f"{group['n']} answers, {percent(group['confidence'])} sure, {percent(group['accuracy'])} right")
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
