"""How sure a support vector machine of several labels is: from its margins between two labels each.

It answers by votes of its machines for two labels. scikit-learn's decision values count those votes, so that the label
that wins nearly always has one vote more than the next, however clear or close each vote was: they rank the labels, but
do not tell a sure answer from a doubtful one. `SVC(probability=True)`, which does, is fitted by clips at random, and so
by speakers who are also trained on.
"""

from __future__ import annotations

import copy

import numpy as np
from scipy.special import log_expit
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC


def is_pairwise(pipeline: Pipeline) -> bool:
    """Whether a pipeline ends in a machine of `pairwise_logits`."""
    return isinstance(pipeline.steps[-1][1], SVC)


def pairwise_logits(machine: SVC, inputs: np.ndarray) -> np.ndarray:
    """Logits whose largest is the label that the machine predicts, and which are further apart the clearer it wins.

    Each pair of labels is taken for a contest that the first wins with the probability of a logistic function of its
    margin; a label's logit is the logarithm of the probability that it wins all its contests (pairwise coupling, Hastie
    & Tibshirani 1998, in its plainest form). Where that favours another label than the votes do, the two logits change
    places.

    Args:
        machine: fitted.
        inputs: float (rows, features), scaled as those that it was fitted on.

    Returns:
        float64 (rows, labels), up to a temperature.
    """
    margins = pairwise_margins(machine, np.asarray(inputs, dtype=np.float64))
    if len(machine.classes_) == 2:  # one margin, above zero for the second
        return np.hstack([log_expit(-margins), log_expit(margins)])
    logits, votes, total = np.zeros((3, len(margins), len(machine.classes_)))
    for margin, first, second in zip(margins.T, *np.triu_indices(len(machine.classes_), 1), strict=True):
        for label, own in ((first, margin), (second, -margin)):
            logits[:, label] += log_expit(own)
            total[:, label] += own
        votes[:, first] += margin >= 0
        votes[:, second] += margin < 0
    votes += total / (3 * (np.abs(total) + 1))  # between labels with as many votes, as scikit-learn breaks ties
    rows, winner, best = np.arange(len(votes)), votes.argmax(axis=1), logits.argmax(axis=1)
    logits[rows, winner], logits[rows, best] = logits[rows, best], logits[rows, winner]
    return logits


def pairwise_margins(machine: SVC, inputs: np.ndarray) -> np.ndarray:
    """How far each row lies on the first label's side of each pair, of two labels alone on the second's.

    As scikit-learn has it, whose library multiplies with one support vector at a time; here, all are one product of
    matrices.

    Args:
        machine: fitted; one of a precomputed kernel is asked by scikit-learn.
        inputs: float64 (rows, features), or of a precomputed kernel (rows, rows that it was fitted on).

    Returns:
        float64 (rows, pairs), the pairs in the order of `numpy.triu_indices`.
    """
    if machine.kernel == "precomputed":
        contest = copy.copy(machine)
        contest.decision_function_shape = "ovo"
        return contest.decision_function(inputs).reshape(len(inputs), -1)
    settings = {"gamma": machine._gamma, "degree": machine.degree, "coef0": machine.coef0}
    kernel = pairwise_kernels(inputs, machine.support_vectors_, metric=machine.kernel, filter_params=True, **settings)
    ends = np.cumsum(machine.n_support_)
    of_label = [slice(end - count, end) for end, count in zip(ends, machine.n_support_, strict=True)]
    pairs = list(zip(*np.triu_indices(len(ends), 1), strict=True))
    weights = np.zeros((len(machine.support_vectors_), len(pairs)))
    for pair, (first, second) in enumerate(pairs):  # a vector has a weight for each label but its own
        weights[of_label[first], pair] = machine.dual_coef_[second - 1, of_label[first]]
        weights[of_label[second], pair] = machine.dual_coef_[first, of_label[second]]
    return kernel @ weights + machine.intercept_
