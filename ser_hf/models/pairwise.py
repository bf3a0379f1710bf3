"""Calibratable logits of a support vector machine, from its margins between two labels each.

scikit-learn's decision values of several labels count votes: the winner nearly always leads by one vote, however close
each vote was, so they rank labels but say nothing of confidence. `SVC(probability=True)` is calibrated on random clips,
and so on speakers who are also trained on.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_expit
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC


def pairwise_logits(machine: SVC, inputs: np.ndarray) -> np.ndarray:
    """Logits whose largest is the label that the machine predicts, further apart the clearer it wins.

    The first label of each pair wins with the probability of a logistic function of the margin; a label's logit is the
    log-probability that it wins all its pairs (pairwise coupling, Hastie & Tibshirani 1998, in its plainest form).
    Where that favours another label than the votes do, the two logits change places.

    Args:
        machine: fitted.
        inputs: float (rows, features), or of a precomputed kernel (rows, rows that it was fitted on).

    Returns:
        float64 (rows, labels), up to a temperature.
    """
    margins = pairwise_margins(machine, np.asarray(inputs, dtype=np.float64))
    first, second = np.triu_indices(len(machine.classes_), 1)
    wins, loses = np.eye(len(machine.classes_))[first], np.eye(len(machine.classes_))[second]  # (pairs, labels)
    if len(machine.classes_) == 2:
        margins = -margins  # the only margin is that of the second label
    logits = log_expit(margins) @ wins + log_expit(-margins) @ loses
    total = margins @ (wins - loses)
    votes = (margins >= 0) @ wins + (margins < 0) @ loses
    votes += total / (3 * (np.abs(total) + 1))  # scikit-learn breaks ties like this
    rows, winner, best = np.arange(len(votes)), votes.argmax(axis=1), logits.argmax(axis=1)
    logits[rows, winner], logits[rows, best] = logits[rows, best], logits[rows, winner]
    return logits


def pairwise_margins(machine: SVC, inputs: np.ndarray) -> np.ndarray:
    """The machine's one-against-one decision values, as one matrix product instead of libsvm's loops.

    Args:
        machine: fitted.
        inputs: float64, as for `pairwise_logits`.

    Returns:
        float64 (rows, pairs), the pairs in the order of `numpy.triu_indices`.
    """
    if machine.kernel == "precomputed":
        kernel = inputs[:, machine.support_]
    else:
        settings = {"gamma": machine._gamma, "degree": machine.degree, "coef0": machine.coef0}
        kernel = pairwise_kernels(inputs, machine.support_vectors_, machine.kernel, filter_params=True, **settings)
    first, second = np.triu_indices(len(machine.classes_), 1)
    label = np.repeat(np.arange(len(machine.classes_)), machine.n_support_)[:, None]  # of each support vector
    # A support vector has a coefficient for each label but its own.
    as_second = np.where(label == second, machine.dual_coef_[first].T, 0)
    return kernel @ np.where(label == first, machine.dual_coef_[second - 1].T, as_second) + machine.intercept_
