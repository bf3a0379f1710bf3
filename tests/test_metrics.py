"""Metrics: agreement with their definitions, properties that hold for any predictions, and calibration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from ser_hf.evaluation.emotion_metrics import EmotionMetrics
from ser_hf.evaluation.metrics import (
    COVERAGES,
    confidence_threshold,
    coverage_table,
    evaluate_predictions,
    expected_calibration_error,
    fit_temperature,
    label_indices,
    probability_matrix,
    score,
    softmax,
    summary,
)
from ser_hf.labels import LABELS
from tests.predictions import make_predictions, make_table

pairs_of_labels = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60).map(np.array)


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.fixture(scope="module")
def frame(table):
    return make_predictions(table)


@given(pairs_of_labels)
def test_score_has_its_bounds(pairs):
    labels, predicted = pairs.T
    figures, perfect = score(labels, predicted, LABELS), score(labels, labels, LABELS, np.eye(8)[labels])
    for key in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert 0 <= figures[key] <= perfect[key] == 1
    assert (perfect["ece"], perfect["nll"]) == pytest.approx((0, 0))
    assert np.sum(figures["confusion_matrix"]) == len(pairs)
    assert figures["accuracy"] == pytest.approx(np.trace(figures["confusion_matrix"]) / len(pairs))
    json.dumps(figures, allow_nan=False)
    again = score(labels[::-1], predicted[::-1], LABELS)
    assert again["confusion_matrix"] == figures["confusion_matrix"]
    assert again["macro_f1"] == pytest.approx(figures["macro_f1"])


def test_score_leaves_out_classes_that_never_occur():
    labels, predicted = np.array([0, 0, 2, 2]), np.array([0, 5, 2, 2])  # of neutral, neutral, happy, happy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = score(labels, predicted, LABELS)
    assert figures["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["confusion_matrix"][0] == [1, 0, 0, 0, 0, 1, 0, 0]  # rows are the true classes
    assert figures["per_class"]["neutral"] == {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert figures["per_class"]["calm"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert figures["per_class"]["fearful"] == {"precision": 0.0, "recall": None, "f1": None, "support": 0}


def test_confidence_threshold_of_a_known_case():
    confidence = np.array([0.9, 0.8, 0.7, 0.65, 0.6])
    rows, labels = np.column_stack([1 - confidence, confidence]), np.array([1, 1, 1, 0, 0])
    assert confidence_threshold(rows, labels) == 0.65  # 3 of 4 are right
    assert confidence_threshold(rows, labels, [1, 1, 1, 2, 1]) == 0.7
    assert confidence_threshold(rows, labels, [3, 3, 3, 2, 1]) == 0.6  # 9 of 12
    assert confidence_threshold(rows[::-1], labels[::-1]) == 0.65
    assert confidence_threshold(rows[3:], labels[3:]) == 1.0
    assert confidence_threshold(np.array([[0.123456, 0.876544]]), np.array([1])) == 0.8765  # four digits


def test_coverage_of_a_known_case():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]])
    rows = {row["coverage"]: row for row in coverage_table(probabilities, np.array([0, 1, 1, 0]))}
    assert list(rows) == list(COVERAGES)
    assert [rows[share]["accuracy"] for share in (1.0, 0.8, 0.5, 0.1)] == pytest.approx([3 / 4, 2 / 3, 1, 1])
    assert [rows[share]["confidence"] for share in (1.0, 0.8, 0.5, 0.1)] == pytest.approx([0.55, 0.6, 0.8, 0.9])


def test_calibration_error_of_a_known_case():
    # Ten predictions at confidence 0.9, eight right: |0.9 - 0.8|; ten at 0.5, five right: no gap.
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.5 + 1e-9, 0.5 - 1e-9]] * 10)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 5 + [1] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.1 / 2)


@settings(max_examples=10)
@given(st.floats(0.2, 8), st.integers(0, 2**32 - 1))
def test_fit_temperature_finds_the_scale_of_logits(scale, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, size=(4000, 8))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # calibrated at temperature 1
    temperature = fit_temperature(logits * scale, labels)
    assert temperature == pytest.approx(scale, rel=0.12)
    losses = [score(labels, logits.argmax(1), LABELS, softmax(logits * scale / one))["nll"] for one in (1, temperature)]
    assert losses[1] <= losses[0] + 1e-9


def test_fit_temperature_weighs_clips():
    rng = np.random.default_rng(0)
    logits, times = 2 * rng.normal(size=(50, 3)), rng.integers(1, 5, size=50)
    labels = (logits + 2 * rng.gumbel(size=logits.shape)).argmax(axis=1)
    repeated = fit_temperature(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert fit_temperature(logits, labels, times / 7) == pytest.approx(repeated, rel=1e-4)
    assert fit_temperature(logits, labels) != pytest.approx(repeated, rel=1e-3)


@pytest.mark.parametrize("logits", [np.zeros((0, 8)), np.zeros(8), np.full((3, 8), -np.inf)])
def test_fit_temperature_refuses_invalid_logits(logits):
    with pytest.raises(ValueError, match="logits"):
        fit_temperature(logits, np.zeros(len(logits), dtype=int))


def test_evaluate_predictions_agrees_with_scikit_learn(frame):
    metrics = evaluate_predictions(frame)
    labels, predicted = label_indices(frame), label_indices(frame, "predicted")
    assert labels.tolist() == [LABELS.index(label) for label in frame["emotion"]]
    assert metrics["accuracy"] == pytest.approx((labels == predicted).mean())
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert metrics["labels"] == list(LABELS)
    assert (metrics["n_clips"], metrics["n_speakers"]) == (300, 10)
    for groups in ("per_speaker", "per_gender", "per_intensity", "per_fold"):
        total = sum(group["n"] * group["accuracy"] for group in metrics[groups].values())
        assert total / metrics["n_clips"] == pytest.approx(metrics["accuracy"]), groups
    assert metrics["per_speaker"]["02"]["gender"] == "female"
    json.dumps(metrics, allow_nan=False)
    with pytest.raises(ValueError, match="no predictions"):
        evaluate_predictions(frame.iloc[:0])


def test_fold_mean_weighs_folds_alike(frame):
    first = frame["speaker"] == "01"
    predicted = frame["predicted"].where(~first, frame["emotion"])
    metrics = evaluate_predictions(frame.assign(fold=first.astype(int), predicted=predicted), n_bootstrap=10)
    assert metrics["fold_mean_accuracy"] == pytest.approx(np.mean([metrics["per_fold"]["0"]["accuracy"], 1]))
    assert metrics["fold_mean_accuracy"] > metrics["accuracy"] + 0.05


def test_per_corpus_figures_are_those_of_each_corpus(table):
    one, other = make_predictions(table), make_predictions(make_table(corpus="other"), skill=0.0)
    other = other[other["emotion"].isin(["sad", "angry"])]  # UAR is over these two
    frame = pd.concat([one, other], ignore_index=True)
    metrics = evaluate_predictions(frame, n_bootstrap=10)
    assert list(metrics["per_corpus"]) == ["other", "ravdess"]
    assert metrics["n_speakers"] == 20
    assert {"ravdess/01", "other/01"} <= set(metrics["per_speaker"])
    alone = [evaluate_predictions(part, n_bootstrap=10) for part in (one, other)]
    for key in ("accuracy", "balanced_accuracy", "ece"):
        expected = [figures[key] for figures in alone]
        assert [metrics["per_corpus"][name][key] for name in ("ravdess", "other")] == pytest.approx(expected)
        assert metrics["mean_over_corpora"][key] == pytest.approx(np.mean(expected))
    assert not {"per_corpus", "mean_over_corpora"} & set(alone[0])
    assert not {"confident_share", "distance_auroc"} & set(metrics["per_corpus"]["other"])
    right = frame["emotion"] == frame["predicted"]
    frame = frame.assign(confident=(frame["corpus"] == "ravdess") & right, distance=np.where(right, 0.5, 2.0))
    groups = evaluate_predictions(frame, n_bootstrap=10)["per_corpus"]
    assert groups["ravdess"]["confident_share"] == pytest.approx(groups["ravdess"]["accuracy"])
    assert groups["ravdess"]["confident_accuracy"] == 1
    assert (groups["other"]["confident_share"], groups["other"]["confident_accuracy"]) == (0, None)
    assert groups["ravdess"]["distance_auroc"] == 1
    assert 0.5 < groups["ravdess"]["auroc"] < 1


def test_unknown_gender_is_none(frame):
    figures = evaluate_predictions(frame.assign(gender=None), n_bootstrap=2)
    assert {group["gender"] for group in figures["per_speaker"].values()} == {None}
    assert figures["per_gender"] == {}


def test_summary_prints_the_main_figures(table):
    one, other = make_predictions(table), make_predictions(make_table(corpus="other"), seed=1)
    metrics = evaluate_predictions(pd.concat([one, other]), n_bootstrap=50)
    text = summary(metrics)
    for key in ("fold_mean_accuracy", "accuracy", "balanced_accuracy", "macro_f1", "ece", "nll"):
        assert f"{metrics[key]:.3f}" in text
    for name, group in [*metrics["per_corpus"].items(), *metrics["per_gender"].items()]:
        assert f"{name:<9} {group['accuracy']:.3f}" in text
    low, high = metrics["intervals"]["nll"]
    assert f"{low:.3f} to {high:.3f}" in text


def test_emotion_metrics_gives_the_figures_of_score(frame):
    metric, labels, predicted = EmotionMetrics(), label_indices(frame), label_indices(frame, "predicted")
    probabilities = probability_matrix(frame)[0]
    expected = score(labels, predicted, list(LABELS), probabilities)
    assert metric.compute(predictions=predicted, references=labels, probabilities=probabilities) == expected
    for start in (0, 100, 200):
        metric.add_batch(predictions=predicted[start : start + 100], references=labels[start : start + 100])
    found = metric.compute()
    assert "ece" not in found
    assert found["confusion_matrix"] == expected["confusion_matrix"]
    with pytest.raises(ValueError, match="2 rows of 8"):
        EmotionMetrics().compute(predictions=[0, 1], references=[0, 1], probabilities=np.eye(2))


def test_metrics_do_not_import_torch():
    code = (
        "import sys, ser_hf.evaluation.metrics, ser_hf.evaluation.runs; "
        "sys.exit('torch' in sys.modules or 'evaluate' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}).returncode == 0
