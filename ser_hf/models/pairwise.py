"""How sure a support vector machine of several labels is: from its margins between two labels each.

It answers by votes of its machines for two labels. scikit-learn's decision values count those votes, so that the label
that wins nearly always has one vote more than the next, however clear or close each vote was: they rank the labels, but
do not tell a sure answer from a doubtful one. `SVC(probability=True)`, which does, is fitted by clips at random, and so
by speakers who are also trained on.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
from scipy.special import log_expit
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC


def is_pairwise(pipeline: Pipeline) -> bool:
    """Whether a pipeline ends in a machine of `pairwise_logits`."""
    return isinstance(pipeline.steps[-1][1], SVC)


def pairwise_logits(pipeline: Pipeline, features: pd.DataFrame) -> np.ndarray:
    """Logits whose largest is the label that the pipeline predicts, and which are further apart the clearer it wins.

    Each pair of labels is taken for a contest that the first wins with the probability of a logistic function of its
    margin; a label's logit is the logarithm of the probability that it wins all its contests (pairwise coupling, Hastie
    & Tibshirani 1998, in its plainest form). Where that favours another label than the votes do, the two logits change
    places.

    Args:
        pipeline: fitted, with an `SVC` as its last step.
        features: one row a clip.

    Returns:
        float64 (rows, labels), up to a temperature.
    """
    inputs, voting = pipeline[:-1].transform(features), pipeline.steps[-1][1]
    votes = voting.decision_function(inputs)
    if votes.ndim == 1:  # two labels: one margin, above zero for the second
        return np.stack([log_expit(-votes), log_expit(votes)], axis=1)
    contest = copy.copy(voting)
    contest.decision_function_shape = "ovo"
    margins = contest.decision_function(inputs)
    logits = np.zeros_like(votes)
    for margin, first, second in zip(margins.T, *np.triu_indices(votes.shape[1], 1), strict=True):
        logits[:, first] += log_expit(margin)
        logits[:, second] += log_expit(-margin)
    rows, winner, best = np.arange(len(votes)), votes.argmax(axis=1), logits.argmax(axis=1)
    logits[rows, winner], logits[rows, best] = logits[rows, best], logits[rows, winner]
    return logits
