"""Figures: what they draw is what the metrics say, and they can be written for any corpus."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from ser_hf import plots
from ser_hf.labels import LABELS
from ser_hf.marks import EMOTION_COLORS, EMOTION_SYMBOLS
from ser_hf.metrics import evaluate_predictions
from ser_hf.plots.style import DPI, WIDTH
from tests.predictions import make_predictions, make_table

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture(scope="module")
def frame():
    return make_predictions(make_table())


@pytest.fixture(scope="module")
def metrics(frame):
    return evaluate_predictions(frame, n_bootstrap=50)


def lab(color: str, matrix) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as somebody with this kind of colour blindness sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(matrix) @ linear, 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_emotion_has_a_colour_and_a_symbol_of_its_own():
    assert list(EMOTION_COLORS) == list(EMOTION_SYMBOLS) == list(LABELS)
    assert len(set(EMOTION_SYMBOLS.values())) == len(LABELS)


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_colours_stay_apart_for_colour_blind_people(kind):
    seen = {name: lab(color, COLOUR_BLINDNESS[kind]) for name, color in EMOTION_COLORS.items()}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)}
    assert min(distances.values()) > 10, min(distances, key=distances.get)


def test_confusion_matrix_shows_shares_of_each_row(metrics):
    (axes,) = plots.confusion_matrix(metrics).axes
    counts = np.array(metrics["confusion_matrix"])
    expected = [f"{100 * value:.0f}" for value in (counts / counts.sum(axis=1, keepdims=True)).ravel()]
    assert [text.get_text() for text in axes.texts] == expected
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{name}  ({metrics['per_class'][name]['support']})" for name in LABELS
    ]


def test_confusion_matrix_has_no_row_for_what_never_occurs(frame):
    fewer = evaluate_predictions(frame[~frame["emotion"].isin(["calm", "surprised"])], n_bootstrap=50)
    (axes,) = plots.confusion_matrix(fewer).axes
    assert len(axes.get_yticklabels()) == 6
    assert len(axes.get_xticklabels()) == 8


def test_speakers_are_sorted_by_accuracy(metrics):
    (axes,) = plots.per_speaker(metrics).axes
    named = [label.get_text() for label in axes.get_xticklabels()]
    accuracies = [metrics["per_speaker"][name]["accuracy"] for name in named]
    assert sorted(named) == sorted(metrics["per_speaker"])
    assert accuracies == sorted(accuracies)


def test_many_speakers_are_not_named():
    metrics = evaluate_predictions(make_predictions(make_table(range(1, 60), repetitions=1)), n_bootstrap=50)
    (axes,) = plots.per_speaker(metrics).axes
    assert not axes.get_xticklabels()


def test_reliability_diagram_says_the_calibration_error(frame, metrics):
    figure = plots.reliability(frame)
    assert f"calibration error {100 * metrics['ece']:.1f} %" in figure.axes[0].texts[0].get_text()
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(frame)


def test_comparison_is_sorted_and_takes_a_missing_interval():
    entries = [
        {"name": "worse", "accuracy": 0.4, "interval": [0.3, 0.5]},
        {"name": "better", "accuracy": 0.6, "interval": None},
    ]
    (axes,) = plots.comparison(entries).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["better", "worse"]
    assert [text.get_text() for text in axes.texts] == ["60.0", "40.0"]


def test_spread_has_a_mark_for_every_speaker_of_every_run(metrics):
    (axes,) = plots.speaker_spread([{"name": "a", "metrics": metrics}, {"name": "b", "metrics": metrics}]).axes
    assert len(axes.lines) == 20


def test_pictures_are_wide_enough_opaque_and_the_same_every_time(frame, metrics, tmp_path):
    for path in plots.save_run_plots(frame, metrics, tmp_path / "one", title="svm"):
        with Image.open(path) as image:
            assert image.width == WIDTH * DPI
            assert image.convert("RGBA").getextrema()[3] == (255, 255)
        assert path.stat().st_size < 60_000
    again = plots.save_run_plots(frame, metrics, tmp_path / "two", title="svm")
    assert [path.read_bytes() for path in sorted((tmp_path / "one").iterdir())] == [
        path.read_bytes() for path in sorted(again)
    ]


def test_the_fall_from_heard_to_unseen_voices_is_drawn_for_every_model():
    entries = [
        {"name": "a", "heard": 0.9, "unseen": 0.5, "interval": [0.45, 0.55]},
        {"name": "b", "heard": 0.8, "unseen": 0.7, "interval": None},
    ]
    axes = plots.generalisation(entries).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]  # the best on unseen voices first
    assert {text.get_text() for text in axes.texts} == {"90.0", "50.0", "80.0", "70.0"}


def test_conditions_are_drawn_from_the_easiest_to_the_hardest():
    noise, length = (
        {"as recorded": np.inf, "noise 0 dB": 0.0, "noise 20 dB": 20.0},
        {"first 1 s": 1.0, "first 2 s": 2.0},
    )
    found = {"as recorded": 0.8, "noise 20 dB": 0.7, "noise 0 dB": 0.2, "first 1 s": 0.4, "first 2 s": 0.6}
    measured = {"cnn": {name: {"accuracy": value} for name, value in found.items()}}
    left, right = plots.condition_curves(measured, noise, length).axes
    assert left.lines[0].get_ydata().tolist() == pytest.approx([80, 70, 20])
    assert right.lines[0].get_ydata().tolist() == pytest.approx([60, 40])
    assert [label.get_text() for label in left.get_xticklabels()] == ["none", "20", "0"]


def test_coverage_curves_have_a_line_a_model_best_first(metrics):
    worse = [row | {"accuracy": row["accuracy"] / 2} for row in metrics["coverage"]]
    entries = [{"name": "worse", "coverage": worse}, {"name": "better", "coverage": metrics["coverage"]}]
    figure = plots.coverage_curves(entries)
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["better", "worse"]
    best = axes.lines[0]
    assert best.get_xdata()[0] == 100
    assert best.get_ydata()[0] == pytest.approx(100 * metrics["accuracy"])
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 2
