"""The timeline of a long recording: what each model hears as time goes on."""

from __future__ import annotations

from itertools import pairwise

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.analysis import Answer
from ser_hf.plots import EMOTION_COLORS, EMOTION_SYMBOLS

GRID = "rgba(128,135,144,.25)"  # shows on white and on black alike


def has_timeline(answer: Answer) -> bool:
    """Whether a model heard the recording in more than one window."""
    return "error" not in answer and any(len(answer[part]["timeline"]) > 1 for part in ("model", "baseline"))


def timeline_figure(answer: Answer) -> go.Figure:
    """Probabilities over time, stacked, one panel a model; hovering shows those of the moment."""
    parts = ("model", "baseline")
    titles = [
        f"{title} ({answer[part]['name']})" for title, part in zip(("Fine-tuned model", "Baseline"), parts, strict=True)
    ]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.14, subplot_titles=titles)
    for row, part in enumerate(parts, start=1):
        steps = _steps(answer[part]["timeline"])
        for label in answer[part]["scores"]:
            color = EMOTION_COLORS.get(label, "#777777")
            figure.add_scatter(
                x=[time for time, _ in steps],
                y=[scores.get(label, 0.0) for _, scores in steps],
                name=f"{EMOTION_SYMBOLS.get(label, '?')} {label}",
                legendgroup=label,
                showlegend=row == 1,
                mode="lines",
                line={"shape": "hv", "width": 0, "color": color},
                fillcolor=color,
                stackgroup=part,
                hovertemplate="%{y:.0%}",
                row=row,
                col=1,
            )
    figure.update_layout(
        height=430,
        autosize=True,
        margin={"l": 46, "r": 10, "t": 34, "b": 92},
        hovermode="x unified",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        hoverlabel={"bgcolor": "#ffffff", "font": {"color": "#1f2933"}},
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})
    figure.update_xaxes(range=[0, answer["duration"]], ticksuffix=" s", gridcolor=GRID, zeroline=False)
    figure.update_yaxes(range=[0, 1], tickformat=".0%", dtick=0.5, gridcolor=GRID, zeroline=False)
    return figure


def _steps(timeline: list[Answer]) -> list[tuple[float, Answer]]:
    """(time from which on, scores): neighbours share the time in which they overlap; silence between them is empty."""
    steps: list[tuple[float, Answer]] = [(timeline[0]["start"], timeline[0]["scores"])]
    for before, after in pairwise(timeline):
        if after["start"] < before["end"]:
            steps.append(((before["end"] + after["start"]) / 2, after["scores"]))
        else:
            steps += [(before["end"], {}), (after["start"], after["scores"])]
    return [*steps, (timeline[-1]["end"], {})]
