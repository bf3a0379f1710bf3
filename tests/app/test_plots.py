import tracemalloc
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest

from app.elements import symbol
from app.plots import COUNTS, counted_most, describe, has_timeline, recording_figure, timeline_scores
from app.spectrogram import TOP_DB
from ser_hf.audio import SAMPLE_RATE, read_audio
from ser_hf.labels import LABELS
from ser_hf.marks import EMOTION_COLORS


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def scores(top: str, labels: list[str] = LABELS) -> dict[str, float]:
    return {label: 0.65 if label == top else 0.35 / (len(labels) - 1) for label in labels}


def windows(*spans: tuple[float, float], labels: list[str] = LABELS) -> list[dict]:
    return [
        {"start": start, "end": end, "scores": scores(labels[i % len(labels)], labels)}
        for i, (start, end) in enumerate(spans)
    ]


def make_answer(duration: float, model: list[dict], baseline: list[dict]) -> dict:
    """What of an answer the figure is drawn from."""
    parts = {"model": ("tiny-model", model), "baseline": ("tiny-baseline", baseline)}
    return {"duration": duration} | {
        part: {"name": name, "label": "neutral", "scores": timeline[0]["scores"], "timeline": timeline}
        for part, (name, timeline) in parts.items()
    }


def short_answer(duration: float) -> dict:
    return make_answer(duration, windows((0, duration)), windows((0, duration)))


# 2 to 10 s and 12 to 16 s are heard by both, in windows of 4 and 8 s.
LONG = make_answer(17.0, windows((2, 6), (4, 8), (6, 10), (12, 16)), windows((2, 10), (12, 16)))


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


@pytest.mark.parametrize(("answer", "panels"), [(short_answer(3.0), 3), (LONG, 5)])
def test_panels_share_one_axis_of_time_one_below_the_other(answer, panels):
    figure = recording_figure(noise(answer["duration"]), answer, [stretch(1.0, 1.0)])
    assert {trace.xaxis for trace in figure.data} == {"x"}
    assert not [name for name in figure.layout.to_plotly_json() if name.startswith("xaxis") and name != "xaxis"]
    assert figure.layout.xaxis.range == (0, answer["duration"])
    axes = list(dict.fromkeys(trace.yaxis for trace in figure.data))
    assert len(axes) == panels
    domains = [figure.layout[f"yaxis{axis[1:]}"].domain for axis in axes]
    assert all(above[0] > below[1] for above, below in pairwise(domains))
    assert figure.layout.xaxis.anchor == axes[-1]


@pytest.mark.parametrize("seconds", [0.25, 3.0, 17.0])
def test_every_time_lies_within_the_recording(seconds):
    answer = LONG if seconds == LONG["duration"] else short_answer(seconds)
    figure = recording_figure(noise(seconds), answer, [stretch(seconds - 0.4, 1.0)] if seconds > 1 else [])
    for trace in figure.data:
        times = times_of(trace)
        assert times.min() >= 0
        assert times.max() <= seconds + 1e-9
        if trace.type != "bar":  # it begins and ends with the recording
            assert times.min() <= 0.02 * seconds
            assert times.max() >= 0.98 * seconds


def test_waveform_reaches_the_peaks_and_lies_flat_in_silence():
    samples = np.concatenate([noise(10), np.zeros(10 * SAMPLE_RATE, np.float32)])
    samples[SAMPLE_RATE] = -2.0
    low, high = recording_figure(samples, short_answer(20.0)).data[:2]
    assert len(low.y) + len(high.y) <= 1500
    assert high.fill == "tonexty"
    assert min(low.y) == -1
    assert times_of(low)[np.argmin(low.y)] == pytest.approx(1.0, abs=0.03)
    assert 0 < max(high.y) < 0.5
    silent = times_of(low) > 10.1
    assert not np.any(low.y[silent])
    assert not np.any(high.y[silent])


def test_a_tone_lies_at_the_tick_of_its_frequency_and_where_it_sounds():
    samples = np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), tone(1000, 2)])
    figure = recording_figure(samples, short_answer(4.0))
    heatmap = heatmap_of(figure)
    axis = figure.layout[f"yaxis{heatmap.yaxis[1:]}"]
    row = axis.tickvals[axis.ticktext.index("1 kHz")]
    times, loudest = times_of(heatmap), heatmap.z.argmax(axis=0)
    assert np.all(np.abs(loudest[times > 2.05] - row) <= 0.6)  # it lies between two rows
    assert heatmap.z[:, times > 2.05].max() == TOP_DB
    assert not heatmap.z[:, times < 1.95].any()
    assert (heatmap.zmin, heatmap.zmax) == (0, TOP_DB)


def test_no_timeline_without_a_second_window():
    figure = recording_figure(noise(3), short_answer(3.0))
    assert not has_timeline(short_answer(3.0))
    assert not areas_of(figure, "model")
    assert figure.layout.showlegend is False
    assert figure.layout.hovermode is False
    assert has_timeline(make_answer(9.0, windows((0, 9)), windows((0, 5), (4, 9))))
    assert not has_timeline({"file": "bad.wav", "reason": "unreadable", "error": "bad.wav cannot be read"})


def test_probabilities_at_each_moment_sum_to_one_or_it_is_silence(analyser, recordings):
    path = recordings / "long.flac"
    answer = analyser.analyse(str(path))
    figure = recording_figure(read_audio(path).samples, answer)
    for part in ("model", "baseline"):
        areas = areas_of(figure, part)
        assert list(areas) == [f"{symbol(label)} {label}" for label in LABELS]
        totals = sum(area.y for area in areas.values())
        assert np.all(np.isclose(totals, 1, atol=1e-4) | (totals == 0))
        times = times_of(next(iter(areas.values())))
        heard = np.any([(w["start"] <= times) & (times <= w["end"]) for w in answer[part]["timeline"]], axis=0)
        np.testing.assert_array_equal(totals > 0, heard)
        assert not heard[times > answer[part]["timeline"][0]["start"]].all()  # there is silence inside


def test_windows_share_the_time_in_which_they_overlap():
    timeline = windows((0, 4), (2, 6), (8, 10))
    found = timeline_scores(timeline, LABELS, np.array([1.0, 2.9, 3.1, 5.9, 7.0, 8.5, 11.0]))
    expected = [0, 0, 1, 1, None, 2, None]
    assert [None if np.isnan(row).any() else row.argmax() for row in found.T] == expected


def test_hovering_says_what_both_models_hear_and_dashes_in_silence():
    figure = recording_figure(noise(17), LONG, [stretch(3.0, 1.0)])
    assert figure.layout.hovermode == "x unified"
    assert figure.layout.hoversubplots == "axis"
    first = areas_of(figure, "model")[f"{symbol(LABELS[0])} {LABELS[0]}"]
    said = dict(zip(np.round(times_of(first), 2), first.text, strict=True))
    nearest = {second: said[min(said, key=lambda time: abs(time - second))] for second in (3, 7, 11, 14)}
    assert nearest == {3: "65 % · 65 %", 7: "5 % · 65 %", 11: "– · –", 14: "5 % · 5 %"}
    others = [trace for trace in figure.data if trace.name not in areas_of(figure, "model") or not trace.text]
    assert {trace.hoverinfo for trace in others} == {"none"}  # "skip" would leave them without the line of the moment


def test_a_label_that_only_one_model_knows_is_a_dash_of_the_other():
    other = ["bored", *LABELS[1:]]
    answer = make_answer(8.0, windows((0, 4), (4, 8)), windows((0, 4), (4, 8), labels=other))
    figure = recording_figure(noise(8), answer)
    areas = areas_of(figure, "model")
    assert list(areas)[-1] == f"{symbol('bored')} bored"
    assert areas[f"{symbol('bored')} bored"].text[10] == "– · 65 %"
    assert areas[f"{symbol(LABELS[0])} {LABELS[0]}"].text[10] == "65 % · –"
    for part in ("model", "baseline"):
        np.testing.assert_allclose(sum(area.y for area in areas_of(figure, part).values()), 1, atol=1e-4)


def test_legend_names_each_emotion_once_in_its_colour():
    figure = recording_figure(noise(17), LONG)
    areas = [trace for trace in figure.data if "stackgroup" in trace and trace.stackgroup]
    legend = [trace for trace in areas if trace.showlegend is not False]
    assert [(trace.name, trace.fillcolor) for trace in legend] == [
        (f"{symbol(label)} {label}", EMOTION_COLORS[label]) for label in LABELS
    ]


def test_what_counted_most_is_outlined_and_counterevidence_is_not_drawn():
    stretches = [stretch(0.2, 0.5), stretch(1.0, 2.5), stretch(1.2, -4.0), stretch(2.0, 1.0)]
    figure = recording_figure(noise(3), short_answer(3.0), stretches)
    bars = next(trace for trace in figure.data if trace.type == "bar")
    np.testing.assert_allclose(bars.x, [0.4, 1.2, 2.2])
    np.testing.assert_allclose(bars.width, 0.4)
    assert list(bars.y) == [0.5, 2.5, 1.0]
    assert figure.layout[f"yaxis{bars.yaxis[1:]}"].range == (0, 2.5)
    assert counted_most(stretches) == stretches[1]
    panel = f"{heatmap_of(figure).yaxis} domain"
    assert {(shape.x0, shape.x1, shape.yref) for shape in figure.layout.shapes} == {(1.0, 1.4, panel)}
    assert [note.text for note in figure.layout.annotations].count("counted most") == 1


@pytest.mark.parametrize("stretches", [[], [stretch(1.0, COUNTS - 0.01), stretch(2.0, -3.0)]])
def test_nothing_is_outlined_where_no_stretch_counts(stretches):
    figure = recording_figure(noise(3), short_answer(3.0), stretches)
    assert counted_most(stretches) is None
    assert not figure.layout.shapes
    assert "counted most" not in [note.text for note in figure.layout.annotations]


@pytest.mark.parametrize(("start", "side"), [(0.0, "left"), (1.4, "left"), (2.6, "right")])
def test_label_of_what_counted_most_stays_inside(start, side):
    figure = recording_figure(noise(3), short_answer(3.0), [stretch(start, 1.0)])
    label = next(note for note in figure.layout.annotations if note.text == "counted most")
    assert label.xanchor == side
    assert label.x == pytest.approx(start + 0.4 if side == "left" else start)


def test_label_begins_within_a_stretch_that_is_the_whole_recording():
    figure = recording_figure(noise(0.4), short_answer(0.4), [stretch(0.0, 1.0)])
    label = next(note for note in figure.layout.annotations if note.text == "counted most")
    assert (label.x, label.xanchor) == (0.0, "left")


def test_description_tells_the_length_and_what_is_there():
    assert describe(short_answer(3.04)) == "Waveform and spectrogram of 3.0 seconds of sound."
    assert "each model" in describe(LONG)


def test_a_short_recording_is_sent_as_a_small_figure():
    figure = recording_figure(noise(4), short_answer(4.0), [stretch(0.2 * i, i) for i in range(18)])
    assert len(figure.to_json()) < 150_000


def test_ten_minutes_are_drawn_in_little_memory_and_sent_as_a_small_figure():
    samples = noise(600)
    answer = make_answer(
        600.0, windows(*((s, s + 4) for s in range(0, 597, 2))), windows(*((s, s + 5) for s in range(0, 596, 5)))
    )
    tracemalloc.start()
    try:
        figure = recording_figure(samples, answer, [stretch(300 + 0.2 * i, i) for i in range(18)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6
    assert len(figure.to_json()) < 250_000
