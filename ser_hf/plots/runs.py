"""Figures that set several runs or models beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ser_hf.marks import EMOTION_COLORS, GENDER_NAMES, GENDER_STYLES
from ser_hf.plots.style import (
    ACCENT,
    CAUTION,
    INK,
    MUTED,
    PAPER,
    WIDTH,
    add_legend,
    new_figure,
    set_grid,
    set_style,
    set_title,
)


def comparison(entries: Sequence[dict[str, Any]], title: str = "", caution: bool = False) -> Figure:
    """Accuracy of several runs of one protocol as bars with their 95 % intervals, best first.

    Args:
        entries: dicts with ``name``, ``accuracy`` in [0, 1] and ``interval`` ([low, high] or None).
        caution: draw in grey, for figures that must not be read as accuracy on new voices.
    """
    entries = sorted(entries, key=lambda entry: (-entry["accuracy"], entry["name"]))
    figure, axes = new_figure(
        title, 1.5 + 0.5 * len(entries), "Accuracy, % (line: 95 % interval, bootstrap over speakers)"
    )
    for position, entry in enumerate(entries):
        value, (low, high) = entry["accuracy"], entry["interval"] or [entry["accuracy"]] * 2
        axes.barh(position, 100 * value, color=CAUTION if caution else ACCENT, height=0.62, zorder=2)
        axes.plot([100 * low, 100 * high], [position, position], color=INK, linewidth=2, zorder=3)
        axes.text(100 * high + 1.2, position, f"{100 * value:.1f}", va="center", fontweight="bold", color=INK)
    axes.set_yticks(range(len(entries)), [entry["name"] for entry in entries])
    axes.set_xlim(0, 106)
    axes.set_xticks(range(0, 101, 20))
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    set_grid(axes, "x")
    return figure


def speaker_spread(entries: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Accuracy of each speaker under several runs, one row a run: how much a figure depends on whose voice it is.

    Args:
        entries: dicts with ``name`` and ``metrics`` (see `ser_hf.metrics.evaluate_predictions`).
    """
    entries = sorted(entries, key=lambda entry: (-entry["metrics"]["accuracy"], entry["name"]))
    figure, axes = new_figure(
        title, 1.8 + 0.62 * len(entries), "Accuracy per speaker, % (one mark a speaker; bar: all clips)"
    )
    genders = {}
    for position, entry in enumerate(entries):
        for group in entry["metrics"]["per_speaker"].values():
            gender = group["gender"]
            color, marker = GENDER_STYLES.get(gender, (MUTED, "D"))
            shift = {"female": -0.16, "male": 0.16}.get(gender, 0)
            axes.plot(100 * group["accuracy"], position + shift, marker, color=color, alpha=0.55, markersize=7,
                      markeredgewidth=0, zorder=3)  # fmt: skip
            genders[gender] = Line2D([], [], color=color, marker=marker, markersize=7, linestyle="")
        axes.vlines(100 * entry["metrics"]["accuracy"], position - 0.34, position + 0.34, color=INK, linewidth=2.5)
    axes.set_yticks(range(len(entries)), [entry["name"] for entry in entries])
    axes.set_xlim(0, 101)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    set_grid(axes, "x")
    names = sorted(genders)
    add_legend(figure, [genders[name] for name in names], [GENDER_NAMES.get(name, name) for name in names])
    return figure


def generalisation(entries: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Accuracy on seen and on unseen speakers: one line per model, best first.

    Args:
        entries: dicts with ``name``, ``heard`` and ``unseen`` in [0, 1], and ``interval`` ([low, high] or None) of
            ``unseen``.
    """
    entries = sorted(entries, key=lambda entry: (-entry["unseen"], entry["name"]))
    figure, axes = new_figure(
        title, 1.9 + 0.5 * len(entries), "Accuracy on RAVDESS, %: seen against unseen speakers (bar: 95 %)"
    )
    for position, entry in enumerate(entries):
        heard, unseen = 100 * entry["heard"], 100 * entry["unseen"]
        axes.plot([unseen, heard], [position, position], color=CAUTION, linewidth=2, zorder=1)
        if entry["interval"]:
            low, high = (100 * bound for bound in entry["interval"])
            axes.plot([low, high], [position, position], color=ACCENT, linewidth=7, alpha=0.3, zorder=2)
        axes.plot(heard, position, "o", color=PAPER, markeredgecolor=MUTED, markeredgewidth=2, markersize=9, zorder=3)
        axes.plot(unseen, position, "o", color=ACCENT, markersize=10, zorder=4)
        # Where the two are close, their figures go apart.
        sides = ("center", "center") if abs(heard - unseen) > 8 else ("right", "left")[:: 1 if heard >= unseen else -1]
        above = position - 0.34
        axes.text(unseen, above, f"{unseen:.1f}", ha=sides[0], fontsize=10, fontweight="bold", color=INK)
        axes.text(heard, above, f"{heard:.1f}", ha=sides[1], fontsize=10, color=MUTED)
    axes.set_yticks(range(len(entries)), [entry["name"] for entry in entries])
    axes.set_xlim(0, 101)
    axes.set_ylim(len(entries) - 0.4, -0.8)
    axes.tick_params(axis="y", length=0)
    set_grid(axes, "x")
    handles = [
        Line2D([], [], color=ACCENT, marker="o", markersize=10, linestyle=""),
        Line2D([], [], color=PAPER, marker="o", markeredgecolor=MUTED, markeredgewidth=2, markersize=9, linestyle=""),
    ]
    add_legend(figure, handles, ["unseen speakers", "seen speakers (random split)"])
    return figure


def condition_curves(
    measured: dict[str, dict[str, Any]], noise: dict[str, float], length: dict[str, float], title: str = ""
) -> Figure:
    """Accuracy against the level of noise and against the length of the clip, one line a model.

    Args:
        measured: model -> condition -> dict with ``accuracy`` in [0, 1].
        noise: condition -> signal-to-noise ratio in dB, infinite without noise.
        length: condition -> seconds.
    """
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    set_title(figure, title, "Accuracy on unseen speakers, %")
    panels = figure.subplots(1, 2, sharey=True)
    handles = []
    for index, found in enumerate(measured.values()):
        style = line_style(index)
        for axes, curve in zip(panels, (noise, length), strict=True):
            names = sorted((name for name in curve if name in found), key=lambda name: -curve[name])
            values = [100 * found[name]["accuracy"] for name in names]
            axes.plot(range(len(names)), values, markersize=6, linewidth=1.5, **style)
        handles.append(Line2D([], [], markersize=6, linewidth=1.5, **style))
    for axes, curve, unit in zip(
        panels, (noise, length), ("signal-to-noise ratio, dB", "seconds of voice"), strict=True
    ):
        values = sorted(curve.values(), reverse=True)
        axes.set_xticks(range(len(values)), ["none" if np.isinf(value) else f"{value:g}" for value in values])
        axes.set_xlabel(unit)
        axes.set_ylim(0, 100)
        set_style(axes)
        set_grid(axes, "y")
    figure.legend(handles, list(measured), loc="outside lower left", ncols=4, frameon=False, labelcolor=INK)
    return figure


def coverage_curves(entries: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Accuracy of each model on its most confident clips: one line per model, best first.

    Args:
        entries: dicts with ``name`` and ``coverage`` (see `ser_hf.metrics.coverage_table`).
    """
    figure, axes = new_figure(title, 4.8, "Accuracy, %, on the most confident share of the clips")
    entries = sorted(entries, key=lambda entry: (-entry["coverage"][0]["accuracy"], entry["name"]))
    handles = []
    for index, entry in enumerate(entries):
        style = line_style(index)
        values = [(100 * row["coverage"], 100 * row["accuracy"]) for row in entry["coverage"]]
        axes.plot(*zip(*values, strict=True), markersize=5, linewidth=1.5, **style)
        handles.append(Line2D([], [], markersize=6, linewidth=1.5, **style))
    axes.set_xlim(101, 0)
    axes.set_ylim(0, 102)  # room for the mark of who is always right
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("share of the clips, %")
    set_grid(axes, "y")
    figure.legend(handles, [entry["name"] for entry in entries], loc="outside lower left", ncols=4, frameon=False,
                  labelcolor=INK)  # fmt: skip
    return figure


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line with a number, so that many lines can be told apart."""
    shapes = list(zip(EMOTION_COLORS.values(), "os^Dv*XP", strict=True))
    color, marker = shapes[index % len(shapes)]
    return {"color": color, "marker": marker, "linestyle": "-" if index < len(shapes) else "--"}
