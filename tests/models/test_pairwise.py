"""Logits of a support vector machine: its own predictions, and confidence that follows the margins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_expit
from sklearn.svm import SVC

from ser_hf.models.pairwise import pairwise_logits, pairwise_margins

CENTRES = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])


def cloud(n_labels=3, seed=0):
    labels = np.repeat(np.arange(n_labels), 30)
    return CENTRES[labels] + np.random.default_rng(seed).normal(0, 0.8, (len(labels), 2)), labels


def fitted(n_labels=3, seed=0):
    return SVC(C=5, gamma=0.3, break_ties=True).fit(*cloud(n_labels, seed))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 3))
def test_logits_are_largest_for_the_predicted_label(seed, n_labels):
    machine = fitted(n_labels, seed)
    rows = np.random.default_rng(seed).uniform(-4, 7, (100, 2))
    logits = pairwise_logits(machine, rows)
    assert logits.shape == (100, n_labels)
    np.testing.assert_array_equal(logits.argmax(axis=1), machine.predict(rows))


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 5), kernel=st.sampled_from(["rbf", "linear", "poly"]))
def test_margins_are_those_of_scikit_learn(seed, n_labels, kernel):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_labels), rng.integers(n_labels, size=40)])
    rows = rng.normal(size=(len(labels), 3)) + labels[:, None]
    machine = SVC(kernel=kernel, gamma=0.3, coef0=0.5, decision_function_shape="ovo").fit(rows, labels)
    expected = machine.decision_function(rows).reshape(len(rows), -1)
    assert np.allclose(pairwise_margins(machine, rows), expected, atol=1e-9)


def test_logits_are_further_apart_for_clear_cases():
    machine = fitted()
    rows = np.array([CENTRES[0], CENTRES[0] + [1.0, -0.5]])  # the second is nearly between two labels
    assert np.round(machine.decision_function(rows).max(axis=1)).tolist() == [2, 2]  # both win all votes
    lead = np.diff(np.sort(pairwise_logits(machine, rows), axis=1)[:, -2:], axis=1).ravel()
    assert lead[0] > 2 * lead[1] > 0


def test_logits_are_log_probabilities_of_winning_all_pairs():
    margins = pairwise_margins(fitted(), CENTRES)  # of 0 and 1, 0 and 2, 1 and 2
    wins = log_expit(np.stack([margins, -margins]))
    expected = [wins[0, :, 0] + wins[0, :, 1], wins[1, :, 0] + wins[0, :, 2], wins[1, :, 1] + wins[1, :, 2]]
    assert pairwise_logits(fitted(), CENTRES) == pytest.approx(np.stack(expected, axis=1))
    two = pairwise_logits(fitted(2), CENTRES)
    assert two[:, 1] - two[:, 0] == pytest.approx(fitted(2).decision_function(CENTRES))
