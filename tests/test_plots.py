"""Figures: what they draw is what the metrics say, and they can be written for any corpus."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ser_hf.evaluation import plots
from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.labels import EMOTION_COLORS, EMOTION_SYMBOLS, LABELS
from tests.predictions import make_predictions, make_table

SAVE = plots.save  # before it is replaced by one that draws nothing


@pytest.fixture(scope="module")
def frame():
    return make_predictions(make_table())


@pytest.fixture(scope="module")
def metrics(frame):
    return evaluate_predictions(frame, n_bootstrap=50)


def labels(ticks) -> list[str]:
    return [label.get_text() for label in ticks]


def test_every_label_has_its_own_colour_and_symbol():
    assert list(EMOTION_COLORS) == list(EMOTION_SYMBOLS) == list(LABELS)
    assert len(set(EMOTION_COLORS.values())) == len(set(EMOTION_SYMBOLS.values())) == len(LABELS)


def test_confusion_matrix_shows_shares_of_each_row(frame):
    fewer = evaluate_predictions(frame[~frame["emotion"].isin(["calm", "surprised"])], n_bootstrap=2)
    (axes,) = plots.confusion_matrix(fewer).axes
    counts = np.array([row for row in fewer["confusion_matrix"] if sum(row)])
    expected = [f"{100 * value:.0f}" for value in (counts / counts.sum(axis=1, keepdims=True)).ravel()]
    assert labels(axes.texts) == expected
    rows = [name for name in LABELS if name not in ("calm", "surprised")]
    assert labels(axes.get_yticklabels()) == [f"{name}  ({fewer['per_class'][name]['support']})" for name in rows]
    assert len(axes.get_xticklabels()) == 8


def test_per_speaker_sorts_by_accuracy_and_names_few(metrics):
    (axes,) = plots.per_speaker(metrics).axes
    named = labels(axes.get_xticklabels())
    accuracies = [metrics["per_speaker"][name]["accuracy"] for name in named]
    assert sorted(named) == sorted(metrics["per_speaker"])
    assert accuracies == sorted(accuracies)
    many = {f"{name}-{copy}": group for name, group in metrics["per_speaker"].items() for copy in range(5)}
    (axes,) = plots.per_speaker(metrics | {"per_speaker": many}).axes
    assert not axes.get_xticklabels()


def test_reliability_shows_the_calibration_error(frame, metrics):
    figure = plots.reliability(frame)
    assert f"calibration error {100 * metrics['ece']:.1f} %" in figure.axes[0].texts[0].get_text()
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(frame)


def test_figures_of_several_runs_have_a_row_or_line_each(metrics):
    other = metrics | {"accuracy": 0.4, "intervals": {}}
    runs = {"better": metrics, "worse": other}
    (bars,), (spread,), (curves,) = (
        draw(runs).axes for draw in (plots.comparison, plots.speaker_spread, plots.coverage_curves)
    )
    assert labels(bars.get_yticklabels()) == labels(spread.get_yticklabels()) == ["better", "worse"]
    assert labels(bars.texts) == [f"{100 * metrics['accuracy']:.1f}", "40.0"]
    assert len(spread.lines) == 20
    first, second = curves.lines
    assert first.get_xdata()[0] == 100
    assert first.get_ydata()[0] == pytest.approx(100 * metrics["accuracy"])
    assert (first.get_color(), first.get_marker()) != (second.get_color(), second.get_marker())


def test_save_run_plots_is_opaque_small_and_reproducible(frame, metrics, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", SAVE)
    one, two = (plots.save_run_plots(frame, metrics, tmp_path / name, title="svm") for name in ("one", "two"))
    for path in one:
        with Image.open(path) as image:
            assert image.width == plots.WIDTH * plots.DPI
            assert image.convert("RGBA").getextrema()[3] == (255, 255)
        assert path.stat().st_size < 60_000
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
