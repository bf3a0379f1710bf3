"""How sure a support vector machine is: the label of its votes, and clear answers told from close ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_expit
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_hf.models.pairwise import is_pairwise, pairwise_logits, pairwise_margins

CENTRES = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])


def cloud(n_labels: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_labels), 30)
    return table(CENTRES[labels] + rng.normal(0, 0.8, (len(labels), 2))), labels


def fitted(n_labels: int = 3, seed: int = 0):
    return make_pipeline(StandardScaler(), SVC(C=5, break_ties=True)).fit(*cloud(n_labels, seed))


def table(rows) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(rows, dtype=float), columns=["a", "b"])


def logits_of(pipeline, rows) -> np.ndarray:
    return pairwise_logits(pipeline[-1], pipeline[:-1].transform(rows))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 3))
def test_the_largest_is_what_the_pipeline_predicts(seed, n_labels):
    pipeline = fitted(n_labels, seed)
    rows = table(np.random.default_rng(seed).uniform(-4, 7, (100, 2)))
    logits = logits_of(pipeline, rows)
    assert logits.shape == (100, n_labels)
    np.testing.assert_array_equal(logits.argmax(axis=1), pipeline.predict(rows))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 5), kernel=st.sampled_from(["rbf", "linear", "poly"]))
def test_margins_are_those_of_scikit_learn(seed, n_labels, kernel):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_labels), rng.integers(n_labels, size=40)])
    rows = rng.normal(size=(len(labels), 3)) + labels[:, None]
    machine = SVC(kernel=kernel, gamma=0.3, coef0=0.5, decision_function_shape="ovo").fit(rows, labels)
    expected = machine.decision_function(rows).reshape(len(rows), -1)
    assert np.allclose(pairwise_margins(machine, rows), expected, atol=1e-9)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_machine_that_is_fitted_by_the_whole_kernel_answers_as_any_other(n_labels):
    rows, labels = cloud(n_labels)
    expected = SVC(C=5, gamma=0.3).fit(rows.to_numpy(), labels)
    kernel = rbf_kernel(rows, gamma=0.3)
    machine = SVC(C=5, kernel="precomputed").fit(kernel, labels)
    assert np.allclose(pairwise_logits(machine, kernel), pairwise_logits(expected, rows.to_numpy()), atol=1e-9)


def test_a_clear_case_is_surer_than_a_close_one_although_both_get_all_votes():
    pipeline = fitted()
    between = CENTRES[0] + [1.0, -0.5]  # a little nearer than to the next
    rows = table([CENTRES[0], between])
    assert pipeline.predict(rows).tolist() == [0, 0]
    votes = pipeline.decision_function(rows)
    assert np.round(votes.max(axis=1)).tolist() == [2, 2]
    lead = np.diff(np.sort(logits_of(pipeline, rows), axis=1)[:, -2:], axis=1).ravel()
    assert lead[0] > 2 * lead[1] > 0


def test_two_labels_differ_by_their_one_margin():
    pipeline = fitted(2)
    rows = table([[0.0, 0.0], [1.5, 0.0], [3.0, 0.0]])
    logits = logits_of(pipeline, rows)
    assert logits[:, 1] - logits[:, 0] == pytest.approx(pipeline.decision_function(rows))


def test_a_logit_is_the_logarithm_of_winning_all_contests():
    pipeline = fitted()
    rows = table(CENTRES)
    one_against_one = clone(pipeline).set_params(svc__decision_function_shape="ovo", svc__break_ties=False)
    margins = one_against_one.fit(*cloud()).decision_function(rows)  # of 0 and 1, 0 and 2, 1 and 2
    wins = log_expit(np.stack([margins, -margins]))
    expected = [wins[0, :, 0] + wins[0, :, 1], wins[1, :, 0] + wins[0, :, 2], wins[1, :, 1] + wins[1, :, 2]]
    assert logits_of(pipeline, rows) == pytest.approx(np.stack(expected, axis=1))


def test_it_leaves_the_machine_as_it_was():
    pipeline = fitted()
    logits_of(pipeline, table(CENTRES))
    assert pipeline.steps[-1][1].decision_function_shape == "ovr"


def test_other_classifiers_are_not_meant():
    assert is_pairwise(fitted())
    assert not is_pairwise(make_pipeline(StandardScaler(), DecisionTreeClassifier()))
