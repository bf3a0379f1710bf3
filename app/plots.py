"""The figure of one recording: its sound, what of it drove the prediction, and each model's predictions over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import librosa
import numpy as np
import plotly.graph_objects as go

from app.analysis import Result
from app.views import COUNTS, PARTS, color, counted_most, has_timeline, percent, symbol
from ser_hf.audio import SAMPLE_RATE

CURVE_POINTS = 750  # of each of the two curves around the waveform
MOMENTS = 501  # of a timeline
N_FFT, HOP, COLUMNS = 1024, 160, 800  # of the spectrogram; a recording of more columns has longer ones
N_MELS, TOP_HZ = 64, 8000.0
TOP_DB = 80  # what is farther below the loudest is drawn as silence
FREQUENCIES = {250: "250 Hz", 1000: "1 kHz", 4000: "4 kHz"}

# The text and the bars take the theme's ink from plots.css; these show on white and on black alike.
SOUND, LINE, GRID = "#5B84B1", "rgb(128,135,144)", "rgba(128,135,144,.25)"
CLEAR = "rgba(0,0,0,0)"
LEFT, RIGHT, TOP, TIME_AXIS = 54, 10, 8, 28  # pixels around the panels
LEGEND = 82  # pixels: four rows, as on a phone; plots.css crops what a wide screen does not need
LAYOUT = {
    "template": None,
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "font": {"family": "system-ui, sans-serif", "size": 12},
    "dragmode": False,  # a finger scrolls the page
    "barmode": "overlay",
    "hoversubplots": "axis",
    "hoverdistance": -1,
    "hoverlabel": {"font": {"size": 11}},
    "legend": {
        "orientation": "h",
        "font": {"size": 11},
        "traceorder": "normal",
        "itemclick": False,
        "itemdoubleclick": False,
        "xref": "container",
        "yref": "container",
        "x": 0,
        "yanchor": "top",
    },
    "xaxis": {
        "ticks": "outside",
        "ticksuffix": " s",
        "tickcolor": LINE,
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        "spikethickness": 1,
        "spikedash": "solid",
        "unifiedhovertitle": {"text": "%{x:.1f} s: network · baseline"},
    },
}


@dataclass(frozen=True)
class _Panel:
    """Traces and their vertical axis; ``height`` and the gap ``above``, which holds the title, are pixels."""

    traces: list[go.Scatter | go.Heatmap | go.Bar]
    axis: dict[str, Any]
    height: int
    above: int = 0
    title: str = ""


def recording_figure(samples: np.ndarray, result: Result, stretches: Sequence[dict[str, Any]] = ()) -> go.Figure:
    """Waveform, what counted, spectrogram and timelines, one below the other, on one axis of time in seconds.

    What counted is a row of bars: how far the log-odds of the predicted label fall when a stretch is silenced. Evidence
    against it is not drawn. The timelines are there only if a model was run on more than one window; hovering over any
    panel then shows the probabilities of both models at that moment, a dash in silence.

    Args:
        samples: float32 mono at 16 kHz, shape (n,), at least one.
        result: of `app.analysis.Analyser.analyse`, with predictions.
        stretches: of the network's prediction, each with ``start`` and ``end`` (s) and ``evidence`` (nats).
    """
    samples = samples / max(float(np.abs(samples).max()), np.finfo(np.float32).tiny)
    panels = [_waveform(samples)]
    if stretches:
        panels.append(_counted(stretches, result["model"]["label"]))
    panels.append(_spectrogram(samples, above=4 if stretches else 10))
    spectrogram_axis = f"y{len(panels)}"
    if has_timeline(result):
        panels += _timelines(result)
    figure = _stacked(panels, result["duration"], timelines=has_timeline(result))
    most = counted_most(stretches)
    if most is not None:
        _outline(figure, most, result["duration"], spectrogram_axis)
    return figure


def timeline_scores(timeline: list[Result], labels: Sequence[str], times: np.ndarray) -> np.ndarray:
    """The probability of each label at each time, float32 (labels, times).

    Neighbours share the time in which they overlap. NaN in silence, which no window covers, and for a label that the
    model does not know.
    """
    starts, ends = ([window[edge] for window in timeline] for edge in ("start", "end"))
    for i, (before, after) in enumerate(pairwise(timeline)):
        if after["start"] < before["end"]:
            starts[i + 1] = ends[i] = (before["end"] + after["start"]) / 2
    scores = np.full((len(labels), len(times)), np.nan, dtype=np.float32)
    for window, start, end in zip(timeline, starts, ends, strict=True):
        inside = (start <= times) & (times <= end)
        scores[:, inside] = [[window["scores"].get(label, np.nan)] for label in labels]
    return scores


def _waveform(samples: np.ndarray) -> _Panel:
    """The smallest and the largest sample of each stretch, with the area between them filled."""
    n_points = min(CURVE_POINTS, len(samples))
    step = len(samples) / n_points / SAMPLE_RATE
    edges = np.arange(n_points) * len(samples) // n_points
    # A line too, so that silence is seen.
    style = {"mode": "lines", "line": {"width": 1, "color": SOUND}, "fillcolor": SOUND}
    curves = [
        go.Scatter(x0=step / 2, dx=step, y=extreme.reduceat(samples, edges), fill=fill, **style)
        for extreme, fill in ((np.minimum, None), (np.maximum, "tonexty"))
    ]
    return _Panel(curves, {"range": [-1, 1], "visible": False}, height=70)


def _counted(stretches: Sequence[dict[str, Any]], label: str) -> _Panel:
    counting = [stretch for stretch in stretches if stretch["evidence"] > 0]
    # A scale of at least twice what is pointed at, so that what hardly counts looks like it.
    top = max([2 * COUNTS, *(stretch["evidence"] for stretch in counting)])
    bars = go.Bar(
        x=[(stretch["start"] + stretch["end"]) / 2 for stretch in counting],
        width=[stretch["end"] - stretch["start"] for stretch in counting],
        y=[stretch["evidence"] for stretch in counting],
        marker={"color": LINE},
    )
    axis = {"range": [0, top], "showticklabels": False, "showgrid": False, "zeroline": True}
    return _Panel([bars], axis, height=36, above=26, title=f"What counted for {symbol(label)} {label}")


def mel_spectrogram(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """The power of a recording in 64 mel bands up to 8 kHz, in about 800 columns at the most.

    Args:
        samples: float32 mono at 16 kHz, shape (n,).

    Returns:
        uint8 (64, columns), the lowest band first, in dB from 0 to 80, which is the loudest; and the samples from the
        middle of one column to that of the next, the first being at the first sample.
    """
    hop = max(HOP, len(samples) // COLUMNS)
    power = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE, n_fft=max(N_FFT, 2 * hop), hop_length=hop, n_mels=N_MELS, fmax=TOP_HZ
    )
    return np.rint(librosa.power_to_db(power, ref=np.max, top_db=TOP_DB) + TOP_DB).astype(np.uint8), hop


def mel_row(hertz: float) -> float:
    """Where among the rows of `mel_spectrogram` a frequency lies; 0 is the middle of the lowest band."""
    centres = librosa.mel_frequencies(N_MELS + 2, fmax=TOP_HZ)[1:-1]
    return float(np.interp(hertz, centres, np.arange(N_MELS)))


def _spectrogram(samples: np.ndarray, above: int) -> _Panel:
    levels, hop = mel_spectrogram(samples)
    heatmap = go.Heatmap(z=levels, zmin=0, zmax=TOP_DB, dx=hop / SAMPLE_RATE, colorscale="Magma", showscale=False)
    axis = {"range": [-0.5, N_MELS - 0.5], "showgrid": False}
    ticks = {"tickvals": [mel_row(hertz) for hertz in FREQUENCIES], "ticktext": list(FREQUENCIES.values())}
    return _Panel([heatmap], axis | ticks, height=150, above=above)


def _timelines(result: Result) -> list[_Panel]:
    """Stacked areas, one panel a model; those of the first have the legend, and say for both when hovered over."""
    times = np.linspace(0, result["duration"], MOMENTS)
    labels = list(dict.fromkeys(label for part in PARTS for label in result[part]["scores"]))
    scores = [timeline_scores(result[part]["timeline"], labels, times) for part in PARTS]
    areas: dict[str, list[go.Scatter]] = {part: [] for part in PARTS}
    for label, *both in zip(labels, *scores, strict=True):
        name = f"{symbol(label)} {label}"
        for part, probabilities in zip(PARTS, both, strict=True):
            area = go.Scatter(dx=times[1], y=np.nan_to_num(probabilities), stackgroup=part, name=name)
            area.update(mode="lines", line={"shape": "hvh", "width": 0}, fillcolor=color(label))
            areas[part].append(area)
        areas["model"][-1].update(text=_hover_text(*both), hovertemplate=f"{name}  %{{text}}<extra></extra>")
    axis = {"range": [0, 1], "tickvals": [0, 0.5, 1], "ticktext": [percent(share) for share in (0, 0.5, 1)]}
    return [
        _Panel(areas[part], axis, height=90, above=34, title=f"{title} ({result[part]['name']})")
        for part, title in PARTS.items()
    ]


def _hover_text(*scores: np.ndarray) -> list[str]:
    words = [["–" if np.isnan(score) else percent(score) for score in part] for part in scores]
    return [" · ".join(both) for both in zip(*words, strict=True)]


def _stacked(panels: list[_Panel], duration: float, timelines: bool) -> go.Figure:
    """The panels from top to bottom; one axis of time for all is what lets hovering over one show all."""
    full = sum(panel.above + panel.height for panel in panels)
    bottom = TIME_AXIS + (LEGEND if timelines else 0)
    height = TOP + full + bottom
    figure = go.Figure(layout=LAYOUT)
    figure.update_layout(height=height, margin={"l": LEFT, "r": RIGHT, "t": TOP, "b": bottom})
    figure.update_layout(showlegend=timelines, legend_y=LEGEND / height, hovermode="x unified" if timelines else False)
    figure.update_xaxes(range=[0, duration], anchor=f"y{len(panels)}")
    top = full
    for number, panel in enumerate(panels, start=1):
        top -= panel.above
        axis = {"gridcolor": GRID, "zeroline": False, "zerolinecolor": LINE, "fixedrange": True, **panel.axis}
        figure.update_layout({f"yaxis{number}": axis | {"domain": [(top - panel.height) / full, top / full]}})
        figure.add_traces([trace.update(xaxis="x", yaxis=f"y{number}") for trace in panel.traces])
        title = {"text": panel.title, "font": {"size": 13}, "showarrow": False, "xref": "paper", "yref": "paper"}
        figure.add_annotation(title, x=0, xanchor="left", y=top / full, yanchor="bottom", visible=bool(panel.title))
        top -= panel.height
    # "skip" instead of "none" would leave a panel without the line of the moment.
    figure.update_traces(showlegend=False, hoverinfo="none", selector=lambda trace: not trace.hovertemplate)
    return figure


def _outline(figure: go.Figure, stretch: dict[str, Any], duration: float, axis: str) -> None:
    """White on black, which shows on every colour of the spectrogram, with a label where there is room for it."""
    start, end = stretch["start"], stretch["end"]
    place = {"yref": f"{axis} domain", "xref": "x"}
    for line in ({"width": 5, "color": "#000000"}, {"width": 2, "color": "#ffffff"}):
        figure.add_shape(type="rect", x0=start, x1=end, y0=0, y1=1, line=line, **place)
    beside = end < 0.65 * duration
    figure.add_annotation(
        text="counted most",
        x=end if beside else start,
        xanchor="left" if beside or start < 0.35 * duration else "right",
        y=1,
        yanchor="top",
        showarrow=False,
        bgcolor="#ffffff",
        **place,
    )
