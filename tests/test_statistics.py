"""Bootstrap over speakers, McNemar's test, and correction for many tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_hf.evaluation.metrics import evaluate_predictions, score
from ser_hf.evaluation.statistics import (
    CALIBRATION_BINS,
    AlignmentError,
    bootstrap_intervals,
    confidence_bins,
    gender_gap,
    holm,
    mcnemar,
    percentile_interval,
    resampled_counts,
)
from tests.predictions import make_predictions, make_table


@pytest.fixture(scope="module")
def frame():
    return make_predictions(make_table())


@given(st.integers(1, 40), st.integers(0, 100))
def test_resamples_have_as_many_speakers(n_speakers, seed):
    drawn = resampled_counts(n_speakers, 50, seed)
    assert drawn.shape == (50, n_speakers)
    assert (drawn.sum(axis=1) == n_speakers).all()


@given(st.floats(0, 1))
def test_confidence_lies_in_its_bin(confidence):
    index = int(confidence_bins(np.array([confidence]))[0])
    assert 0 <= index < CALIBRATION_BINS
    assert index / CALIBRATION_BINS - 1e-12 <= confidence <= (index + 1) / CALIBRATION_BINS + 1e-12


def test_percentile_interval_is_the_central_95_percent():
    assert percentile_interval(np.array([*np.arange(1001.0), np.nan])) == pytest.approx([25, 975])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value(p_values):
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = np.array(holm(p_values))
    assert (adjusted >= np.array(p_values) - 1e-12).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


@settings(max_examples=15)
@given(n_speakers=st.integers(2, 5), seed=st.integers(0, 1000))
def test_bootstrap_resamples_speakers(n_speakers, seed):
    rng = np.random.default_rng(seed)
    speakers = np.concatenate([np.arange(n_speakers), rng.integers(n_speakers, size=3 * n_speakers)])
    labels = np.where(rng.random(len(speakers)) < 0.5, speakers % 4, rng.integers(4, size=len(speakers)))
    probabilities = rng.dirichlet(np.full(4, 0.5), len(speakers))
    predicted = probabilities.argmax(axis=1)
    intervals = bootstrap_intervals(labels, predicted, probabilities, speakers, n_bootstrap=25)
    figures = []
    for drawn in resampled_counts(n_speakers, 25):
        rows = np.repeat(np.arange(len(speakers)), drawn[speakers])
        figures.append(score(labels[rows], predicted[rows], list("abcd"), probabilities[rows]))
    assert set(intervals) == {"accuracy", "balanced_accuracy", "macro_f1", "ece", "nll"}
    for name, interval in intervals.items():
        assert interval == pytest.approx(percentile_interval(np.array([one[name] for one in figures]))), name


def test_intervals_hold_the_figure_in_any_order(frame):
    metrics, shuffled = evaluate_predictions(frame), evaluate_predictions(frame.sample(frac=1, random_state=3))
    assert metrics["intervals"] == {name: pytest.approx(one) for name, one in shuffled["intervals"].items()}
    for name, (low, high) in metrics["intervals"].items():
        assert low <= metrics[name] <= high, name
    assert evaluate_predictions(frame[frame["speaker"] == "01"])["intervals"] == {}


def test_mcnemar_counts_and_exact_p(frame):
    wrong = frame["emotion"].map(lambda emotion: "calm" if emotion == "neutral" else "neutral")
    first, second = (frame.assign(predicted=frame["emotion"].where(~frame.index.isin(rows), wrong))
                     for rows in ([0], range(10, 18)))  # fmt: skip
    result = mcnemar(first, second)
    assert (result["n"], result["b"], result["c"]) == (300, 8, 1)
    assert result["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)  # P(X <= 1) + P(X >= 8), X ~ B(9, 1/2)
    assert result["difference"] == pytest.approx(7 / 300)
    assert result["difference"] == pytest.approx(result["accuracy_a"] - result["accuracy_b"])
    itself = mcnemar(frame, frame)
    assert (itself["b"], itself["c"], itself["p_value"], itself["interval"]) == (0, 0, 1.0, [0, 0])


def test_mcnemar_is_symmetric_and_takes_any_order(frame):
    second = make_predictions(make_table(), 1.2, seed=1)
    one = mcnemar(frame, second, n_bootstrap=200)
    other = mcnemar(second.sample(frac=1, random_state=0), frame, n_bootstrap=200)
    assert (one["b"], one["c"]) == (other["c"], other["b"])
    assert one["p_value"] == pytest.approx(other["p_value"])
    assert one["interval"] == pytest.approx([-bound for bound in reversed(other["interval"])])
    assert one["interval"][0] <= one["difference"] <= one["interval"][1]


@pytest.mark.parametrize("n_speakers", [2, 3])
def test_mcnemar_resamples_speakers_of_both_runs_alike(n_speakers):
    rng = np.random.default_rng(n_speakers)
    speakers = np.repeat(np.arange(n_speakers), 6)
    runs = []
    for accuracy in (0.8, 0.5):
        right = rng.random(len(speakers)) < accuracy
        rows = {"corpus": "ravdess", "clip": [f"{i:02d}" for i in range(len(speakers))]}
        rows |= {"speaker": speakers.astype(str), "emotion": "sad"}
        runs.append(pd.DataFrame(rows | {"predicted": np.where(right, "sad", "calm")}))
    gains = (runs[0]["predicted"] == "sad").astype(int) - (runs[1]["predicted"] == "sad")
    drawn = resampled_counts(n_speakers, 50)
    expected = [gains[np.repeat(np.arange(len(speakers)), counts[speakers])].mean() for counts in drawn]
    assert mcnemar(*runs, n_bootstrap=50)["interval"] == pytest.approx(percentile_interval(np.array(expected)))


def test_mcnemar_needs_the_same_clips_and_labels(frame):
    with pytest.raises(AlignmentError, match=r"5 .* 0 .*ravdess/03-01"):
        mcnemar(frame, frame.iloc[5:])
    other = frame.copy()
    other.loc[0, "emotion"] = "sad"
    with pytest.raises(AlignmentError, match="emotion of 1 clips"):
        mcnemar(frame, other)


def test_gender_gap_resamples_each_gender_apart(frame):
    # Of one man's two clips and of another's four, so many are right; of the women's, all or none.
    rights = {"01": [1, 0], "03": [1, 1, 1, 0], "02": [1, 1], "04": [0, 0]}
    rows = [
        {"corpus": "ravdess", "speaker": speaker, "gender": "male" if int(speaker) % 2 else "female"}
        | {"emotion": "sad", "predicted": "sad" if right else "calm"}
        for speaker, clips in rights.items()
        for right in clips
    ]
    gap = gender_gap(pd.DataFrame(rows), n_bootstrap=400)
    assert gap["difference"] == pytest.approx(2 / 4 - 4 / 6)
    women, men = (resampled_counts(2, 400, seed) for seed in (0, 1))
    accuracies = women @ [2, 0] / (women @ [2, 2]) - men @ [1, 3] / (men @ [2, 4])
    assert gap["interval"] == pytest.approx(np.percentile(accuracies, [2.5, 97.5]))
    assert gender_gap(frame[frame["speaker"].isin(["01", "02", "04"])])["interval"] is None
    assert gender_gap(frame[frame["gender"] == "female"]) == {"difference": None, "interval": None}
