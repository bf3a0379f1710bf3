"""Figures of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import binomtest

from ser_hf.marks import EMOTION_COLORS, EMOTION_SYMBOLS, GENDER_NAMES, GENDER_STYLES
from ser_hf.metrics import calibration_table, expected_calibration_error, probability_matrix
from ser_hf.plots.style import (
    ACCENT,
    CAUTION,
    GRID,
    INK,
    MAX_NAMED_SPEAKERS,
    MUTED,
    PAPER,
    WIDTH,
    add_legend,
    new_figure,
    save,
    set_grid,
    set_style,
    set_title,
)
from ser_hf.statistics import CALIBRATION_BINS

_BLUES = LinearSegmentedColormap.from_list("paper-blue", [PAPER, "#BCD6EE", ACCENT, "#123A63"])


def save_run_plots(frame: pd.DataFrame, metrics: dict[str, Any], folder: str | Path, title: str = "") -> list[Path]:
    """Write a run's confusion matrix, per-speaker figure and reliability diagram; returns the files."""
    folder = Path(folder)
    return [
        save(confusion_matrix(metrics, title), folder / "confusion.png"),
        save(per_speaker(metrics, title), folder / "speakers.png"),
        save(reliability(frame, title), folder / "reliability.png"),
    ]


def confusion_matrix(metrics: dict[str, Any], title: str = "") -> Figure:
    """Confusion matrix in per cent of the clips of each label; only labels that occur have a row."""
    names = metrics["labels"]
    counts = np.asarray(metrics["confusion_matrix"], dtype=float)
    rows = np.flatnonzero(counts.sum(axis=1))
    shares = 100 * counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    figure, axes = new_figure(title, 1.9 + 0.6 * len(rows), "Predictions for each label, % of its clips")
    axes.imshow(shares, cmap=_BLUES, vmin=0, vmax=100, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        share, right = shares[row, column], rows[row] == column
        color = PAPER if share > 60 else INK if share >= 0.5 else CAUTION
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, fontsize=12 + right,
                  fontweight="bold" if right else "normal")  # fmt: skip
    axes.set_xticks(range(len(names)), [f"{EMOTION_SYMBOLS.get(name, '')} {name}" for name in names])
    axes.set_yticks(range(len(rows)), [f"{names[row]}  ({int(counts[row].sum())})" for row in rows])
    axes.set_xlabel("predicted")
    axes.set_ylabel("expressed (clips)")
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return figure


def per_speaker(metrics: dict[str, Any], title: str = "") -> Figure:
    """Accuracy of each speaker with its 95 % Wilson interval, sorted, women and men told apart."""
    speakers = sorted(metrics["per_speaker"].items(), key=lambda item: (item[1]["accuracy"], item[0]))
    figure, axes = new_figure(title, 4.6, "Accuracy per speaker, % (line: 95 % interval from the number of clips)")
    for position, (_, group) in enumerate(speakers):
        color, marker = GENDER_STYLES.get(group["gender"], (MUTED, "D"))
        low, high = binomtest(round(group["accuracy"] * group["n"]), group["n"]).proportion_ci(method="wilson")
        axes.plot([position, position], [100 * low, 100 * high], color=color, alpha=0.35, linewidth=3, zorder=2)
        axes.plot(position, 100 * group["accuracy"], marker, color=color, markersize=8, zorder=3)
    axes.axhline(100 * metrics["accuracy"], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    handles = [Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3)))]
    names = [f"all clips {100 * metrics['accuracy']:.1f}"]
    for gender, group in metrics["per_gender"].items():
        color, marker = GENDER_STYLES.get(gender, (MUTED, "D"))
        handles.append(Line2D([], [], color=color, marker=marker, markersize=8, linestyle=""))
        names.append(f"{GENDER_NAMES.get(gender, gender)} {100 * group['accuracy']:.1f}")
    if len(speakers) <= MAX_NAMED_SPEAKERS:
        crowded = max(len(name) for name, _ in speakers) > 3
        axes.set_xticks(range(len(speakers)), [name for name, _ in speakers], rotation=90 if crowded else 0)
    else:
        axes.set_xticks([])
    axes.set_xlim(-0.7, len(speakers) - 0.3)
    axes.set_ylim(0, 100)
    axes.set_xlabel(f"speaker ({len(speakers)}), from the least to the best understood")
    set_grid(axes, "y")
    add_legend(figure, handles, names)
    return figure


def reliability(frame: pd.DataFrame, title: str = "", bins: int = CALIBRATION_BINS) -> Figure:
    """Reliability diagram (Guo et al. 2017): accuracy and number of the predictions of each confidence."""
    probabilities, names = probability_matrix(frame)
    labels = frame["emotion"].astype(str).map({name: index for index, name in enumerate(names)}).to_numpy()
    table = pd.DataFrame(calibration_table(probabilities, labels, bins))
    count, accuracy, mean_confidence = table["n"], table["accuracy"], table["confidence"]
    error = expected_calibration_error(probabilities, labels, bins)

    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    set_title(figure, title, "Accuracy against confidence (on the line: calibrated)")
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    width, left = 100 / bins, 100 * table["low"]
    axes.bar(left, 100 * accuracy, width, align="edge", color=ACCENT, edgecolor=PAPER, linewidth=1.5)
    axes.vlines(
        100 * mean_confidence, 100 * accuracy, 100 * mean_confidence, color=EMOTION_COLORS["angry"], linewidth=2
    )
    axes.plot(100 * mean_confidence, 100 * mean_confidence, "o", color=EMOTION_COLORS["angry"], markersize=5)
    axes.set_ylabel("right, %")
    axes.set_ylim(0, 100)
    text = (
        f"calibration error {100 * error:.1f} %\n"
        f"mean confidence {100 * np.average(mean_confidence, weights=count):.1f} %\n"
        f"accuracy {100 * np.average(accuracy, weights=count):.1f} %"
    )
    axes.text(0.02, 0.96, text, transform=axes.transAxes, va="top", fontsize=12, color=INK, linespacing=1.5,
              bbox={"facecolor": PAPER, "edgecolor": GRID, "boxstyle": "round,pad=0.5"})  # fmt: skip
    below.bar(left, count, width, align="edge", color=CAUTION, edgecolor=PAPER, linewidth=1.5)
    below.set_ylabel("clips")
    below.set_xlabel(f"confidence, % ({bins} bins)")
    below.set_xlim(100 / len(names) - 100 / bins, 100)
    for part in (axes, below):
        set_style(part)
        set_grid(part, "y")
    return figure
