"""How every figure looks: colours, sizes, titles, grids, and the file it is written to."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

INK, MUTED, GRID, PAPER = "#1F2933", "#5B6470", "#E3E7EB", "#FFFFFF"
ACCENT, CAUTION = "#2A6FB0", "#9AA5B1"
WIDTH = 9.0  # inches; 900 px at screen resolution
DPI = 160
PALETTE = 96  # colours of a PNG
MAX_NAMED_SPEAKERS = 40


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


def new_figure(title: str, height: float, subtitle: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    set_title(figure, title, subtitle)
    set_style(axes)
    return figure, axes


def set_title(figure: Figure, title: str, subtitle: str) -> None:
    text = f"{title}\n{subtitle}" if title else subtitle
    figure.suptitle(text, x=0.01, ha="left", fontsize=13, color=INK, linespacing=1.4)


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
