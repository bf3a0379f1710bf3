"""Figures of runs for reports and cards; each function returns a matplotlib `Figure`, `save` writes it.

Only matplotlib's object API is used, because pyplot's global state is not safe in a server's threads. Figures have an
opaque background, so that they read the same on a white and on a dark page.
"""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.stats import binomtest

from ser_hf.evaluation.metrics import calibration_table, expected_calibration_error, label_indices, probability_matrix
from ser_hf.evaluation.statistics import CALIBRATION_BINS
from ser_hf.labels import EMOTION_COLORS, EMOTION_SYMBOLS, GENDER_NAMES, GENDER_STYLES

INK, MUTED, GRID, PAPER = "#1F2933", "#5B6470", "#E3E7EB", "#FFFFFF"
ACCENT, CAUTION = "#2A6FB0", "#9AA5B1"
WIDTH = 9.0  # inches; 900 px at screen resolution
DPI = 160
PALETTE = 96  # colours of a PNG
MAX_NAMED_SPEAKERS = 40
DASHES = (0, (4, 3))
Metrics = dict[str, dict[str, Any]]  # of each run, by its name
_BLUES = LinearSegmentedColormap.from_list("paper-blue", [PAPER, "#BCD6EE", ACCENT, "#123A63"])


def save_run_plots(frame: pd.DataFrame, metrics: dict[str, Any], folder: str | Path, title: str = "") -> list[Path]:
    """Write the figures of `run_figures` as PNG into a folder; returns the files."""
    return [save(figure, Path(folder) / f"{name}.png") for name, figure in run_figures(frame, metrics, title).items()]


def run_figures(frame: pd.DataFrame, metrics: dict[str, Any], title: str = "") -> dict[str, Figure]:
    """A run's confusion matrix, per-speaker figure (where speakers are known) and reliability diagram."""
    figures = {"confusion": confusion_matrix(metrics, title), "reliability": reliability(frame, title)}
    return figures | ({"speakers": per_speaker(metrics, title)} if metrics["per_speaker"] else {})


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
    """Accuracy of each speaker with its 95 % Wilson interval, sorted, in the colours of women and men."""
    speakers = sorted(metrics["per_speaker"].items(), key=lambda item: (item[1]["accuracy"], item[0]))
    figure, axes = new_figure(title, 4.6, "Accuracy per speaker, % (line: 95 % interval from the number of clips)")
    for position, (_, group) in enumerate(speakers):
        color, marker = GENDER_STYLES.get(group["gender"], (MUTED, "D"))
        low, high = binomtest(round(group["accuracy"] * group["n"]), group["n"]).proportion_ci(method="wilson")
        axes.plot([position, position], [100 * low, 100 * high], color=color, alpha=0.35, linewidth=3, zorder=2)
        axes.plot(position, 100 * group["accuracy"], marker, color=color, markersize=8, zorder=3)
    axes.axhline(100 * metrics["accuracy"], color=INK, linewidth=1, linestyle=DASHES, zorder=1)
    handles = [Line2D([], [], color=INK, linewidth=1, linestyle=DASHES)]
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
    axes.set_xlabel(f"speaker ({len(speakers)}), in order of accuracy")
    set_grid(axes, "y")
    add_legend(figure, handles, names)
    return figure


def reliability(frame: pd.DataFrame, title: str = "") -> Figure:
    """Reliability diagram (Guo et al. 2017): accuracy and number of the predictions of each confidence."""
    (probabilities, names), labels = probability_matrix(frame), label_indices(frame)
    table = pd.DataFrame(calibration_table(probabilities, labels))
    count, accuracy, mean_confidence = table["n"], table["accuracy"], table["confidence"]
    error = expected_calibration_error(probabilities, labels)
    subtitle = "Accuracy against confidence (on the line: calibrated)"
    figure, (axes, below) = new_figure(title, 6.4, subtitle, nrows=2, sharex=True, height_ratios=[3, 1])
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=DASHES)
    width, left, red = 100 / CALIBRATION_BINS, 100 * table["low"], EMOTION_COLORS["angry"]
    axes.bar(left, 100 * accuracy, width, align="edge", color=ACCENT, edgecolor=PAPER, linewidth=1.5)
    axes.vlines(100 * mean_confidence, 100 * accuracy, 100 * mean_confidence, color=red, linewidth=2)
    axes.plot(100 * mean_confidence, 100 * mean_confidence, "o", color=red, markersize=5)
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
    below.set_xlabel(f"confidence, % ({CALIBRATION_BINS} bins)")
    below.set_xlim(100 / len(names) - width, 100)
    for part in (axes, below):
        set_grid(part, "y")
    return figure


def comparison(metrics: Metrics, title: str = "", caution: bool = False) -> Figure:
    """Accuracy of several runs of one protocol as bars with their 95 % intervals.

    Args:
        metrics: of each run (see `ser_hf.evaluation.metrics.evaluate_predictions`), by its name, from top to bottom.
        caution: draw in grey, for figures that must not be read as accuracy on unseen speakers.
    """
    subtitle = "Accuracy, % (line: 95 % interval, bootstrap over speakers)"
    figure, axes = new_figure(title, 1.5 + 0.5 * len(metrics), subtitle)
    for position, one in enumerate(metrics.values()):
        value = one["accuracy"]
        low, high = one["intervals"].get("accuracy", [value, value])
        axes.barh(position, 100 * value, color=CAUTION if caution else ACCENT, height=0.62, zorder=2)
        axes.plot([100 * low, 100 * high], [position, position], color=INK, linewidth=2, zorder=3)
        axes.text(100 * high + 1.2, position, f"{100 * value:.1f}", va="center", fontweight="bold", color=INK)
    name_rows(axes, metrics)
    axes.set_xlim(0, 106)
    axes.set_xticks(range(0, 101, 20))
    return figure


def speaker_spread(metrics: Metrics, title: str = "") -> Figure:
    """Accuracy of each speaker under several runs, one row per run (`metrics` as in `comparison`)."""
    subtitle = "Accuracy per speaker, % (one mark a speaker; bar: all clips)"
    figure, axes = new_figure(title, 1.8 + 0.62 * len(metrics), subtitle)
    genders = {}
    for position, one in enumerate(metrics.values()):
        for group in one["per_speaker"].values():
            gender = group["gender"]
            color, marker = GENDER_STYLES.get(gender, (MUTED, "D"))
            shift = {"female": -0.16, "male": 0.16}.get(gender, 0)
            axes.plot(100 * group["accuracy"], position + shift, marker, color=color, alpha=0.55, markersize=7,
                      markeredgewidth=0, zorder=3)  # fmt: skip
            genders[gender] = Line2D([], [], color=color, marker=marker, markersize=7, linestyle="")
        axes.vlines(100 * one["accuracy"], position - 0.34, position + 0.34, color=INK, linewidth=2.5)
    name_rows(axes, metrics)
    axes.set_xlim(0, 101)
    names = sorted(genders)
    add_legend(figure, [genders[name] for name in names], [GENDER_NAMES.get(name, name) for name in names])
    return figure


def coverage_curves(metrics: Metrics, title: str = "") -> Figure:
    """Accuracy of each run on its most confident clips, one line per run (`metrics` as in `comparison`)."""
    figure, axes = new_figure(title, 4.8, "Accuracy, %, on the most confident share of the clips")
    handles = []
    for index, one in enumerate(metrics.values()):
        style = line_style(index)
        values = [(100 * row["coverage"], 100 * row["accuracy"]) for row in one["coverage"]]
        axes.plot(*zip(*values, strict=True), markersize=5, linewidth=1.5, **style)
        handles.append(Line2D([], [], markersize=6, linewidth=1.5, **style))
    axes.set_xlim(101, 0)
    axes.set_ylim(0, 102)  # room for the marks at 100 %
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("share of the clips, %")
    set_grid(axes, "y")
    figure.legend(handles, list(metrics), loc="outside lower left", ncols=4, frameon=False, labelcolor=INK)
    return figure


def name_rows(axes: Axes, names: Collection[str], above: float = 0.6) -> None:
    """Name the rows of a figure, from the top, and draw the vertical grid; ``above`` is the room over the first."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -above)
    axes.tick_params(axis="y", length=0)
    set_grid(axes, "x")


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line with a number, so that many lines stay distinguishable."""
    shapes = list(zip(EMOTION_COLORS.values(), "os^Dv*XP", strict=True))
    color, marker = shapes[index % len(shapes)]
    return {"color": color, "marker": marker, "linestyle": "-" if index < len(shapes) else "--"}


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, the same bytes for the same figure and versions of matplotlib and Pillow.

    Colours are reduced to a palette: reports are committed, and this makes them a third of the size.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor=PAPER)
    image = Image.open(drawn).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    image.save(path, optimize=True, dpi=(DPI, DPI))
    return path


def add_legend(figure: Figure, handles: list[Line2D], names: list[str]) -> None:
    figure.legend(
        handles, names, loc="outside lower left", ncols=len(names), frameon=False, fontsize=11, labelcolor=INK
    )


def new_figure(title: str, height: float, subtitle: str, **panels: Any) -> tuple[Figure, Any]:
    """An empty figure with its axes, or with the array of axes that `Figure.subplots` makes of ``panels``."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(**panels)
    text = f"{title}\n{subtitle}" if title else subtitle
    figure.suptitle(text, x=0.01, ha="left", fontsize=13, color=INK, linespacing=1.4)
    for part in np.ravel(axes):
        set_style(part)
    return figure, axes


def set_style(axes: Axes) -> None:
    axes.set_facecolor(PAPER)
    axes.tick_params(colors=INK, labelsize=11)
    axes.xaxis.label.set(color=MUTED, size=11)
    axes.yaxis.label.set(color=MUTED, size=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(CAUTION)


def set_grid(axes: Axes, axis: Literal["both", "x", "y"]) -> None:
    axes.grid(axis=axis, color=GRID, linewidth=1)
    axes.set_axisbelow(True)
