"""Figures: agreement with definitions, properties that hold for any answers, calibration and significance."""

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

from ser_hf.labels import LABELS
from ser_hf.metrics import (
    AlignmentError,
    confidence_threshold,
    coverage_table,
    evaluate_predictions,
    expected_calibration_error,
    fit_temperature,
    mcnemar,
    score,
    softmax,
    summary,
)
from tests.predictions import make_predictions, make_table


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.fixture(scope="module")
def frame(table):
    return make_predictions(table)


answers = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60).map(np.array)


@given(answers)
def test_figures_lie_between_0_and_1_and_count_every_clip(pairs):
    figures = score(pairs[:, 0], pairs[:, 1], LABELS)
    for key in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert 0 <= figures[key] <= 1
    assert np.sum(figures["confusion_matrix"]) == len(pairs)
    assert figures["accuracy"] == pytest.approx(np.trace(figures["confusion_matrix"]) / len(pairs))
    json.dumps(figures, allow_nan=False)


@given(answers)
def test_perfect_answers_score_1(pairs):
    figures = score(pairs[:, 0], pairs[:, 0], LABELS, np.eye(8)[pairs[:, 0]])
    assert figures["accuracy"] == figures["balanced_accuracy"] == figures["macro_f1"] == 1
    assert figures["ece"] == pytest.approx(0)
    assert figures["nll"] == pytest.approx(0)


@given(answers, st.randoms(use_true_random=False))
def test_order_of_clips_does_not_matter(pairs, random):
    shuffled = pairs.tolist()
    random.shuffle(shuffled)
    shuffled = np.array(shuffled)
    first, second = score(pairs[:, 0], pairs[:, 1], LABELS), score(shuffled[:, 0], shuffled[:, 1], LABELS)
    assert first["confusion_matrix"] == second["confusion_matrix"]
    assert first["macro_f1"] == pytest.approx(second["macro_f1"])


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    figures = score(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b"])
    assert figures["confusion_matrix"] == [[1, 1], [0, 1]]
    assert figures["per_class"]["a"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}


def test_classes_that_never_occur_are_left_out_without_warnings():
    labels, predicted = np.array([0, 0, 2, 2]), np.array([0, 5, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = score(labels, predicted, LABELS)
    assert figures["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["per_class"]["calm"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert figures["per_class"]["fearful"] == {"precision": 0.0, "recall": None, "f1": None, "support": 0}


def test_confidence_threshold_of_a_known_case():
    sure = np.array([0.9, 0.8, 0.7, 0.65, 0.6])
    rows, labels = np.column_stack([1 - sure, sure]), np.array([1, 1, 1, 0, 0])
    assert confidence_threshold(rows, labels) == 0.65  # 3 of 4 are right
    assert confidence_threshold(rows, labels, [1, 1, 1, 2, 1]) == 0.7
    assert confidence_threshold(rows, labels, [3, 3, 3, 2, 1]) == 0.6  # 9 of 12
    assert confidence_threshold(rows[::-1], labels[::-1]) == 0.65
    assert confidence_threshold(rows[3:], labels[3:]) == 1.0
    assert confidence_threshold(np.array([[0.123456, 0.876544]]), np.array([1])) == 0.8765  # four digits


def test_the_summary_is_the_main_figures_in_words():
    metrics = {"n_clips": 120, "n_speakers": 7, "per_fold": {"0": {}, "1": {}}, "fold_mean_accuracy": 0.7126}
    metrics |= {"accuracy": 0.7, "balanced_accuracy": 0.6, "macro_f1": 0.5, "ece": 0.04, "nll": 1.2}
    metrics |= {"intervals": {"accuracy": [0.65, 0.75], "nll": [1.1, 1.3]}}
    metrics |= {"per_gender": {"female": {"accuracy": 0.72}, "male": {"accuracy": 0.68}}}
    lines = [
        "accuracy  0.700  (95 %: 0.650 to 0.750)",
        "UAR       0.600",
        "macro F1  0.500",
        "ECE       0.040",
        "NLL       1.200  (95 %: 1.100 to 1.300)",
        "female    0.720",
        "male      0.680",
    ]
    head = ["120 clips of 7 speakers", "accuracy, mean over 2 folds 0.713"]
    assert summary(metrics).split("\n") == head + lines
    of_one_fold = metrics | {"per_fold": {"0": {}}, "per_corpus": {"emodb": {"accuracy": 0.5}}}
    assert summary(of_one_fold).split("\n") == head[:1] + lines[:5] + ["emodb     0.500"] + lines[5:]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 100))
def test_confidence_threshold_keeps_its_precision(seed, n):
    rng = np.random.default_rng(seed)
    rows, labels = rng.dirichlet(np.ones(3), n), rng.integers(3, size=n)
    threshold, confidence = confidence_threshold(rows, labels), rows.max(axis=1)
    right = rows.argmax(axis=1) == labels
    lower = [right[confidence >= other].mean() for other in confidence[confidence < threshold - 1e-4]]
    assert max(lower, default=0) < 0.75
    assert threshold == 1 or right[confidence >= threshold - 1e-4].mean() >= 0.75 - 1 / n


def test_coverage_of_a_known_case():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]])
    rows = coverage_table(probabilities, np.array([0, 1, 1, 0]), (1.0, 0.75, 0.5, 0.01))
    assert [row["accuracy"] for row in rows] == pytest.approx([3 / 4, 2 / 3, 1, 1])
    assert [row["confidence"] for row in rows] == pytest.approx([0.55, 0.6, 0.8, 0.9])
    assert [row["coverage"] for row in rows] == [1.0, 0.75, 0.5, 0.01]


@given(answers)
def test_who_answers_all_has_the_accuracy_of_all_and_confidence_rises_as_fewer_are_answered(pairs):
    probabilities = softmax(np.random.default_rng(len(pairs)).normal(size=(len(pairs), 8)))
    figures = score(pairs[:, 0], probabilities.argmax(axis=1), LABELS, probabilities)
    assert figures["coverage"][0]["accuracy"] == pytest.approx(figures["accuracy"])
    confidence = [row["confidence"] for row in figures["coverage"]]
    assert confidence == sorted(confidence)
    assert figures["coverage"][-1]["confidence"] <= probabilities.max()


def test_calibration_error_of_a_known_case():
    # Ten answers at confidence 0.9, eight right: |0.9 - 0.8|; ten at 0.5, five right: no gap.
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.5 + 1e-9, 0.5 - 1e-9]] * 10)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 5 + [1] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.1 / 2)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_labels_drawn_from_the_probabilities_are_calibrated(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), size=20_000)
    labels = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    assert expected_calibration_error(probabilities, labels) < 0.02


@settings(max_examples=15)
@given(st.floats(0.2, 8), st.integers(0, 2**32 - 1))
def test_temperature_finds_the_scale_of_the_logits_again(scale, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, size=(4000, 8))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # calibrated at temperature 1
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.12)


def test_temperature_never_makes_the_loss_worse(frame):
    probabilities = frame.filter(like="p_").to_numpy(dtype=float)
    labels = frame["emotion"].map(LABELS.index).to_numpy()
    for sharpness in (0.3, 1, 4):
        logits = np.log(probabilities) * sharpness
        calibrated = softmax(logits / fit_temperature(logits, labels))
        before = score(labels, logits.argmax(1), LABELS, softmax(logits))["nll"]
        assert score(labels, logits.argmax(1), LABELS, calibrated)["nll"] <= before + 1e-9


def test_temperature_weighs_clips():
    rng = np.random.default_rng(0)
    logits, times = 2 * rng.normal(size=(50, 3)), rng.integers(1, 5, size=50)
    labels = (logits + 2 * rng.gumbel(size=logits.shape)).argmax(axis=1)
    repeated = fit_temperature(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert fit_temperature(logits, labels, times / 7) == pytest.approx(repeated, rel=1e-4)
    assert fit_temperature(logits, labels) != pytest.approx(repeated, rel=1e-3)


@pytest.mark.parametrize("logits", [np.zeros((0, 8)), np.zeros(8), np.full((3, 8), -np.inf)])
def test_temperature_refuses_what_it_cannot_use(logits):
    with pytest.raises(ValueError, match="logits"):
        fit_temperature(logits, np.zeros(len(logits), dtype=int))


def test_metrics_of_a_run(frame):
    metrics = evaluate_predictions(frame)
    ids = {name: index for index, name in enumerate(LABELS)}
    labels, predicted = frame["emotion"].map(ids), frame["predicted"].map(ids)
    assert metrics["accuracy"] == pytest.approx((labels == predicted).mean())
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert metrics["labels"] == list(LABELS)
    assert (metrics["n_clips"], metrics["n_speakers"]) == (300, 10)
    for groups in ("per_speaker", "per_gender", "per_intensity", "per_fold"):
        total = sum(group["n"] * group["accuracy"] for group in metrics[groups].values())
        assert total / metrics["n_clips"] == pytest.approx(metrics["accuracy"]), groups
    assert metrics["per_speaker"]["02"]["gender"] == "female"
    assert metrics["fold_mean_accuracy"] == pytest.approx(
        np.mean([group["accuracy"] for group in metrics["per_fold"].values()])
    )
    json.dumps(metrics, allow_nan=False)


def test_fold_mean_differs_from_pooled_accuracy_when_folds_differ_in_size(table):
    frame = make_predictions(table)
    frame["fold"] = (frame["speaker"] == "01").astype(int)
    frame.loc[frame["fold"] == 1, "predicted"] = frame.loc[frame["fold"] == 1, "emotion"]
    metrics = evaluate_predictions(frame, n_bootstrap=10)
    assert metrics["fold_mean_accuracy"] > metrics["accuracy"] + 0.05


@settings(max_examples=12)
@given(skill=st.floats(0.5, 3), seed=st.integers(0, 1000))
def test_intervals_hold_the_figure(table, skill, seed):
    metrics = evaluate_predictions(make_predictions(table, skill, seed), n_bootstrap=300)
    # Resampling bins of confidence can only add to the calibration error, so ECE is checked from one side.
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll"):
        low, high = metrics["intervals"][name]
        assert low <= metrics[name] <= high, name
    assert metrics["intervals"]["ece"][1] >= metrics["ece"]


def test_intervals_are_the_same_for_a_seed_and_in_any_order(frame):
    shuffled = frame.sample(frac=1, random_state=3)
    first, second = (
        evaluate_predictions(frame, seed=5)["intervals"],
        evaluate_predictions(shuffled, seed=5)["intervals"],
    )
    assert first == {name: pytest.approx(interval) for name, interval in second.items()}
    assert first != evaluate_predictions(frame, seed=6)["intervals"]


def test_intervals_agree_with_resampling_speakers_one_by_one(frame):
    by_speaker = list(frame.groupby("speaker").indices.values())
    right = (frame["emotion"] == frame["predicted"]).to_numpy()
    emotion = frame["emotion"].map(LABELS.index).to_numpy()
    rng = np.random.default_rng(1)
    accuracies, recalls = [], []
    for _ in range(1000):
        rows = np.concatenate([by_speaker[i] for i in rng.integers(len(by_speaker), size=len(by_speaker))])
        accuracies.append(right[rows].mean())
        recalls.append(np.mean(np.bincount(emotion[rows], weights=right[rows]) / np.bincount(emotion[rows])))
    intervals = evaluate_predictions(frame)["intervals"]
    assert intervals["accuracy"] == pytest.approx(np.quantile(accuracies, [0.025, 0.975]), abs=0.012)
    assert intervals["balanced_accuracy"] == pytest.approx(np.quantile(recalls, [0.025, 0.975]), abs=0.012)


def test_a_speaker_is_corpus_and_name(table):
    both = pd.concat([make_predictions(table), make_predictions(make_table(corpus="other"), seed=1)])
    metrics = evaluate_predictions(both, n_bootstrap=50)
    assert metrics["n_speakers"] == 20
    assert {"ravdess/01", "other/01"} <= set(metrics["per_speaker"])


def test_of_several_corpora_each_has_its_own_figures(table):
    one, other = make_predictions(table), make_predictions(make_table(corpus="other"), skill=0.0)
    metrics = evaluate_predictions(pd.concat([one, other]), n_bootstrap=10)
    assert list(metrics["per_corpus"]) == ["other", "ravdess"]
    for frame, name in ((one, "ravdess"), (other, "other")):
        alone = evaluate_predictions(frame, n_bootstrap=10)
        assert "per_corpus" not in alone
        assert metrics["per_corpus"][name]["accuracy"] == pytest.approx(alone["accuracy"])
        assert metrics["per_corpus"][name]["n"] == alone["n_clips"]
        assert f"{name:<9} {alone['accuracy']:.3f}" in summary(metrics)


def test_per_corpus_figures_and_their_mean(table):
    one, other = make_predictions(table), make_predictions(make_table(corpus="other"), skill=0.0)
    other = other[other["emotion"].isin(["sad", "angry"])]  # UAR is over these two
    frame = pd.concat([one, other], ignore_index=True)
    metrics = evaluate_predictions(frame, n_bootstrap=10)
    alone = [evaluate_predictions(part, n_bootstrap=10) for part in (one, other)]
    for key in ("accuracy", "balanced_accuracy", "ece"):
        expected = [figures[key] for figures in alone]
        assert [metrics["per_corpus"][name][key] for name in ("ravdess", "other")] == pytest.approx(expected)
        assert metrics["mean_over_corpora"][key] == pytest.approx(np.mean(expected))
    assert "mean_over_corpora" not in alone[0]
    assert "confident_share" not in metrics["per_corpus"]["other"]
    frame["confident"] = (frame["corpus"] == "ravdess") & (frame["emotion"] == frame["predicted"])
    groups = evaluate_predictions(frame, n_bootstrap=10)["per_corpus"]
    assert groups["ravdess"]["confident_share"] == pytest.approx(groups["ravdess"]["accuracy"])
    assert groups["ravdess"]["confident_accuracy"] == 1
    assert (groups["other"]["confident_share"], groups["other"]["confident_accuracy"]) == (0, None)
    assert "distance_auroc" not in groups["other"]
    frame["distance"] = np.where(frame["emotion"] == frame["predicted"], 0.5, 2.0)
    groups = evaluate_predictions(frame, n_bootstrap=10)["per_corpus"]
    assert groups["ravdess"]["distance_auroc"] == 1
    assert 0.5 < groups["ravdess"]["auroc"] < 1


def test_one_speaker_has_no_interval():
    metrics = evaluate_predictions(make_predictions(make_table(actors=[1]), folds=1))
    assert metrics["intervals"] == {}


def test_no_predictions_are_an_error(frame):
    with pytest.raises(ValueError, match="no predictions"):
        evaluate_predictions(frame.iloc[:0])


def test_mcnemar_counts_and_exact_p(table):
    frame = make_predictions(table)
    first, second = frame.copy(), frame.copy()
    for one in (first, second):
        one["predicted"] = one["emotion"]
    wrong = {"neutral": "calm"}
    first.loc[:0, "predicted"] = first.loc[:0, "emotion"].map(lambda emotion: wrong.get(emotion, "neutral"))
    second.loc[10:17, "predicted"] = second.loc[10:17, "emotion"].map(lambda emotion: wrong.get(emotion, "neutral"))
    result = mcnemar(first, second)
    assert (result["n"], result["b"], result["c"]) == (300, 8, 1)
    assert result["p_value"] == pytest.approx(2 * (1 + 9) / 2**9)  # P(X <= 1) + P(X >= 8), X ~ B(9, 1/2)
    assert result["difference"] == pytest.approx(7 / 300)
    assert result["difference"] == pytest.approx(result["accuracy_a"] - result["accuracy_b"])


@settings(max_examples=12)
@given(seed=st.integers(0, 1000))
def test_mcnemar_is_symmetric_and_blind_to_order(table, seed):
    first, second = make_predictions(table, 2.0, seed), make_predictions(table, 1.2, seed + 1)
    one = mcnemar(first, second, n_bootstrap=200)
    other = mcnemar(second.sample(frac=1, random_state=seed), first, n_bootstrap=200)
    assert (one["b"], one["c"]) == (other["c"], other["b"])
    assert one["p_value"] == pytest.approx(other["p_value"])
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["interval"] == pytest.approx([-bound for bound in reversed(other["interval"])])
    assert one["interval"][0] <= one["difference"] <= one["interval"][1]


def test_mcnemar_of_a_run_with_itself(frame):
    result = mcnemar(frame, frame)
    assert (result["b"], result["c"], result["p_value"], result["interval"]) == (0, 0, 1.0, [0, 0])


def test_mcnemar_needs_the_same_clips(frame):
    with pytest.raises(AlignmentError, match="5 are only in the first and 0 only in the second, such as ravdess/03-01"):
        mcnemar(frame, frame.iloc[5:])


def test_mcnemar_needs_the_same_truth(frame):
    other = frame.copy()
    other.loc[0, "emotion"] = "sad"
    with pytest.raises(AlignmentError, match="disagree on the true emotion of 1 clips"):
        mcnemar(frame, other)


def test_metric_works_without_a_network_and_gives_the_same_figures(frame):
    from ser_hf.metrics import EmotionMetrics

    metric = EmotionMetrics()
    labels = frame["emotion"].map(LABELS.index).to_numpy()
    predicted = frame["predicted"].map(LABELS.index).to_numpy()
    probabilities = frame.filter(like="p_").to_numpy(dtype=float)
    expected = score(labels, predicted, list(LABELS), probabilities)
    assert metric.compute(predictions=predicted, references=labels, probabilities=probabilities) == expected
    without = metric.compute(predictions=predicted, references=labels)
    assert "ece" not in without
    assert without["accuracy"] == expected["accuracy"]
    for start in (0, 100, 200):
        metric.add_batch(predictions=predicted[start : start + 100], references=labels[start : start + 100])
    assert metric.compute()["confusion_matrix"] == expected["confusion_matrix"]


def test_metric_names_probabilities_of_a_wrong_shape():
    from ser_hf.metrics import EmotionMetrics

    with pytest.raises(ValueError, match="2 rows of 8"):
        EmotionMetrics().compute(predictions=[0, 1], references=[0, 1], probabilities=np.eye(2))


def test_metrics_do_not_import_torch():
    code = "import sys, ser_hf.metrics, ser_hf.runs; sys.exit('torch' in sys.modules or 'evaluate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}).returncode == 0


def test_speakers_of_unknown_gender_have_none(frame):
    figures = evaluate_predictions(frame.assign(gender=None), n_bootstrap=2)
    assert {group["gender"] for group in figures["per_speaker"].values()} == {None}
    assert figures["per_gender"] == {}
