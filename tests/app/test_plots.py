from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest

from app.plots import COLUMNS, N_MELS, TOP_DB, mel_row, mel_spectrogram, recording_figure, timeline_scores
from app.views import percent, symbol
from ser_hf.audio import SAMPLE_RATE
from ser_hf.labels import LABELS


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def windows(*spans: tuple[float, float], labels: list[str] = LABELS) -> list[dict]:
    """In each another label is on top, with a probability of 0.65."""
    rest = 0.35 / (len(labels) - 1)
    return [
        {"start": start, "end": end, "scores": dict.fromkeys(labels, rest) | {labels[i % len(labels)]: 0.65}}
        for i, (start, end) in enumerate(spans)
    ]


def make_result(duration: float, model: list[dict] | None = None, baseline: list[dict] | None = None) -> dict:
    """What of a result the figure is drawn from."""
    parts = {"model": model or windows((0, duration)), "baseline": baseline or windows((0, duration))}
    return {"duration": duration} | {
        part: {"name": f"tiny-{part}", "label": "neutral", "scores": timeline[0]["scores"], "timeline": timeline}
        for part, timeline in parts.items()
    }


# 2 to 10 s and 12 to 16 s are covered by both, in windows of 4 and 8 s.
LONG = make_result(17.0, windows((2, 6), (4, 8), (6, 10), (12, 16)), windows((2, 10), (12, 16)))


def stretch(start: float, evidence: float) -> dict[str, float]:
    return {"start": start, "end": start + 0.4, "evidence": evidence}


def times_of(trace: go.Scatter | go.Bar | go.Heatmap) -> np.ndarray:
    if trace.x is not None:
        return np.asarray(trace.x)
    n = trace.z.shape[1] if trace.type == "heatmap" else len(trace.y)
    return (trace.x0 or 0) + trace.dx * np.arange(n)


def heatmap_of(figure: go.Figure) -> go.Heatmap:
    return next(trace for trace in figure.data if trace.type == "heatmap")


def areas_of(figure: go.Figure, part: str) -> dict[str, go.Scatter]:
    """By the name of the emotion, with its symbol."""
    return {trace.name: trace for trace in figure.data if getattr(trace, "stackgroup", None) == part}


def test_mel_spectrogram_is_in_decibels_below_the_loudest():
    silent = np.zeros(SAMPLE_RATE, np.float32)
    levels, hop = mel_spectrogram(np.concatenate([tone(1000, 1), tone(1000, 1) / 100, silent]))
    loud, quiet, rest = (round(second * SAMPLE_RATE / hop) for second in (0.5, 1.5, 2.5))
    row = round(mel_row(1000))
    assert levels.dtype == np.uint8
    assert levels.max() == TOP_DB
    assert levels[row, loud] - levels[row, quiet] == pytest.approx(40, abs=1)
    assert not levels[:, rest].any()


@pytest.mark.parametrize("seconds", [0.25, 4, 60])
def test_mel_spectrogram_misses_no_click(seconds):
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    click = len(samples) // 2 + 37
    samples[click] = 1
    levels, hop = mel_spectrogram(samples)
    assert levels.shape == (N_MELS, 1 + len(samples) // hop)
    assert levels.shape[1] <= COLUMNS + 2
    assert abs(levels.sum(axis=0).argmax() - click / hop) <= 3


@pytest.mark.parametrize(("result", "panels"), [(make_result(3.0), 3), (LONG, 5)])
def test_figure_has_one_axis_of_time(result, panels):
    figure = recording_figure(noise(result["duration"]), result, [stretch(1.0, 1.0)])
    assert {trace.xaxis for trace in figure.data} == {"x"}
    assert figure.layout.xaxis.range == (0, result["duration"])
    axes = list(dict.fromkeys(trace.yaxis for trace in figure.data))
    assert len(axes) == panels
    domains = [figure.layout[f"yaxis{axis[1:]}"].domain for axis in axes]
    assert all(above[0] > below[1] for above, below in pairwise(domains))
    assert figure.layout.xaxis.anchor == axes[-1]
    assert bool(areas_of(figure, "model")) == figure.layout.showlegend == (result is LONG)


@pytest.mark.parametrize("result", [make_result(0.25), make_result(3.0), LONG], ids=lambda one: one["duration"])
def test_figure_covers_the_recording(result):
    seconds = result["duration"]
    for trace in recording_figure(noise(seconds), result).data:
        times = times_of(trace)
        assert 0 <= times.min() <= 0.02 * seconds
        assert 0.98 * seconds <= times.max() <= seconds + 1e-9


def test_waveform_reaches_the_peaks_and_is_flat_in_silence():
    samples = np.concatenate([noise(10), np.zeros(10 * SAMPLE_RATE, np.float32)])
    samples[SAMPLE_RATE] = -2.0
    low, high = recording_figure(samples, make_result(20.0)).data[:2]
    assert len(low.y) + len(high.y) <= 1500
    assert min(low.y) == -1
    assert times_of(low)[np.argmin(low.y)] == pytest.approx(1.0, abs=0.03)
    assert 0 < max(high.y) < 0.5
    silent = times_of(low) > 10.1
    assert not np.any(low.y[silent]) and not np.any(high.y[silent])  # noqa: PT018


@pytest.mark.parametrize(("tick", "hertz"), [("250 Hz", 250), ("1 kHz", 1000), ("4 kHz", 4000)])
def test_spectrogram_shows_a_tone_at_its_tick_and_time(tick, hertz):
    samples = np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), tone(hertz, 2)])
    figure = recording_figure(samples, make_result(4.0))
    heatmap = heatmap_of(figure)
    axis = figure.layout[f"yaxis{heatmap.yaxis[1:]}"]
    row = axis.tickvals[axis.ticktext.index(tick)]
    times, loudest = times_of(heatmap), heatmap.z.argmax(axis=0)
    assert np.all(np.abs(loudest[times > 2.05] - row) <= 0.6)  # some lie between two rows
    assert not heatmap.z[:, times < 1.95].any()


def test_timeline_sums_to_one_where_windows_are():
    figure = recording_figure(noise(17), LONG)
    for part in ("model", "baseline"):
        areas = list(areas_of(figure, part).values())
        times = times_of(areas[0])
        covered = ((times >= 2) & (times <= 10)) | ((times >= 12) & (times <= 16))
        np.testing.assert_allclose(sum(area.y for area in areas), covered, atol=1e-4)


def test_timeline_scores_share_overlaps():
    timeline = windows((0, 4), (2, 6), (8, 10))
    found = timeline_scores(timeline, LABELS, np.array([1.0, 2.9, 3.1, 5.9, 7.0, 8.5, 11.0]))
    expected = [0, 0, 1, 1, None, 2, None]
    assert [None if np.isnan(row).any() else row.argmax() for row in found.T] == expected


def test_hovering_shows_both_models_and_dashes_in_silence():
    figure = recording_figure(noise(17), LONG, [stretch(3.0, 1.0)])
    first = areas_of(figure, "model")[f"{symbol(LABELS[0])} {LABELS[0]}"]
    said = dict(zip(np.round(times_of(first), 2), first.text, strict=True))
    nearest = {second: said[min(said, key=lambda time: abs(time - second))] for second in (3, 7, 11, 14)}
    assert nearest == {
        second: f"{percent(network)} · {percent(baseline)}" if network else "– · –"
        for second, network, baseline in ((3, 0.65, 0.65), (7, 0.05, 0.65), (11, None, None), (14, 0.05, 0.05))
    }
    others = [trace for trace in figure.data if trace.name not in areas_of(figure, "model") or not trace.text]
    assert {trace.hoverinfo for trace in others} == {"none"}  # "skip" would leave them without the line of the moment


def test_figure_outlines_what_counted_most():
    stretches = [stretch(0.2, 0.5), stretch(1.0, 2.5), stretch(1.2, -4.0), stretch(2.0, 1.0)]
    figure = recording_figure(noise(3), make_result(3.0), stretches)
    bars = next(trace for trace in figure.data if trace.type == "bar")
    np.testing.assert_allclose(bars.x, [0.4, 1.2, 2.2])
    assert list(bars.y) == [0.5, 2.5, 1.0]  # evidence against the label is not drawn
    panel = f"{heatmap_of(figure).yaxis} domain"
    assert {(shape.x0, shape.x1, shape.yref) for shape in figure.layout.shapes} == {(1.0, 1.4, panel)}


@pytest.mark.parametrize(
    ("seconds", "start", "x", "side"),
    [(3, 0.0, 0.4, "left"), (3, 1.4, 1.8, "left"), (3, 2.6, 2.6, "right"), (0.4, 0.0, 0.0, "left")],
)
def test_figure_keeps_the_label_of_the_outline_inside(seconds, start, x, side):
    figure = recording_figure(noise(seconds), make_result(seconds), [stretch(start, 1.0)])
    label = next(note for note in figure.layout.annotations if note.text == "counted most")
    assert (label.x, label.xanchor) == (pytest.approx(x), side)


def test_figure_of_ten_minutes_is_small():
    timelines = windows(*((s, s + 4) for s in range(0, 597, 2))), windows(*((s, s + 5) for s in range(0, 596, 5)))
    stretches = [stretch(300 + 0.2 * i, i) for i in range(18)]
    figure = recording_figure(noise(600), make_result(600.0, *timelines), stretches)
    assert len(figure.to_json()) < 250_000
