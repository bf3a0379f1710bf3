"""The parts of the bootstrap, and correction for many tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_hf.metrics import score
from ser_hf.statistics import (
    bootstrap_intervals,
    confidence_bins,
    gender_gap,
    holm,
    mcnemar,
    percentile_interval,
    resampled_counts,
)
from tests.predictions import make_predictions, make_table


@given(st.integers(1, 40), st.integers(0, 100))
def test_every_resample_has_as_many_speakers_as_there_are(n_speakers, seed):
    drawn = resampled_counts(n_speakers, 50, seed)
    assert drawn.shape == (50, n_speakers)
    assert (drawn.sum(axis=1) == n_speakers).all()


@given(st.floats(0, 1), st.integers(1, 30))
def test_confidence_lies_in_its_bin(confidence, bins):
    index = int(confidence_bins(np.array([confidence]), bins)[0])
    assert 0 <= index < bins
    assert index / bins - 1e-12 <= confidence <= (index + 1) / bins + 1e-12


def test_interval_is_the_central_95_per_cent():
    assert percentile_interval(np.array([*np.arange(1001.0), np.nan])) == pytest.approx([25, 975])


def test_holm_of_a_known_case():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values):
    adjusted = np.array(holm(p_values))
    assert (adjusted >= np.array(p_values) - 1e-12).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


@settings(max_examples=15)
@given(n_speakers=st.integers(2, 5), seed=st.integers(0, 1000))
def test_intervals_are_those_of_tables_in_which_speakers_stand_as_often_as_they_were_drawn(n_speakers, seed):
    rng = np.random.default_rng(seed)
    speakers = np.concatenate([np.arange(n_speakers), rng.integers(n_speakers, size=3 * n_speakers)])
    labels = np.where(rng.random(len(speakers)) < 0.5, speakers % 4, rng.integers(4, size=len(speakers)))
    probabilities = rng.dirichlet(np.full(4, 0.5), len(speakers))
    predicted = probabilities.argmax(axis=1)
    intervals = bootstrap_intervals(labels, predicted, probabilities, speakers, n_bootstrap=25, seed=seed)
    figures = []
    for drawn in resampled_counts(n_speakers, 25, seed):
        rows = np.repeat(np.arange(len(speakers)), drawn[speakers])
        figures.append(score(labels[rows], predicted[rows], list("abcd"), probabilities[rows]))
    assert set(intervals) == {"accuracy", "balanced_accuracy", "macro_f1", "ece", "nll"}
    for name, interval in intervals.items():
        assert interval == pytest.approx(percentile_interval(np.array([one[name] for one in figures]))), name


@pytest.mark.parametrize("n_speakers", [2, 3])
def test_the_interval_of_a_difference_is_that_of_speakers_drawn_alike_for_both(n_speakers):
    rng = np.random.default_rng(n_speakers)
    speakers = np.repeat(np.arange(n_speakers), 6)
    runs = []
    for accuracy in (0.8, 0.5):
        right = rng.random(len(speakers)) < accuracy
        rows = {"corpus": "ravdess", "clip": [f"{i:02d}" for i in range(len(speakers))]}
        rows |= {"speaker": speakers.astype(str), "emotion": "sad"}
        runs.append(pd.DataFrame(rows | {"predicted": np.where(right, "sad", "calm")}))
    gains = (runs[0]["predicted"] == "sad").astype(int) - (runs[1]["predicted"] == "sad")
    drawn = resampled_counts(n_speakers, 50, seed=9)
    expected = [gains[np.repeat(np.arange(len(speakers)), counts[speakers])].mean() for counts in drawn]
    assert mcnemar(*runs, n_bootstrap=50, seed=9)["interval"] == pytest.approx(percentile_interval(np.array(expected)))


class TestGenderGap:
    def test_is_the_difference_of_the_two_accuracies(self):
        frame = make_predictions(make_table())
        right = frame["emotion"] == frame["predicted"]
        women = frame["gender"] == "female"
        gap = gender_gap(frame)
        assert gap["difference"] == pytest.approx(right[women].mean() - right[~women].mean())
        assert gap["interval"][0] < gap["difference"] < gap["interval"][1]

    def test_turns_its_sign_when_the_genders_are_exchanged(self):
        frame = make_predictions(make_table())
        turned = frame.assign(gender=frame["gender"].map({"female": "male", "male": "female"}))
        assert gender_gap(turned)["difference"] == pytest.approx(-gender_gap(frame)["difference"])

    def test_its_interval_is_of_the_speakers_of_each_gender_resampled_apart(self):
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

    def test_one_speaker_of_a_gender_has_no_interval_and_none_no_gap(self):
        frame = make_predictions(make_table(actors=[1, 2, 4]))
        assert gender_gap(frame)["interval"] is None
        assert gender_gap(frame[frame["gender"] == "female"]) == {"difference": None, "interval": None}
