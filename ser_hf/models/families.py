"""Families of scikit-learn models on engineered features: estimators, settings that are tuned, and logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_expit
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_hf.features import GROUPS

# Without the tutorials' features, and without those whose licence forbids products.
DEFAULT_GROUPS = tuple(group for group in GROUPS if group not in ("textbook", "egemaps"))
# Boosting bins every feature and keeps a histogram of each: most of its time would go into the 780 covariances.
FEWER_GROUPS = tuple(group for group in DEFAULT_GROUPS if group != "covariance")
MIN_PROBABILITY = 1e-3  # of a label for which no neighbour or leaf votes


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        estimator: what follows imputing and scaling.
        search_space: parameters of ``estimator`` to try in every combination, given the number of features and the
            rows of the smallest part that is fitted.
        groups: its default feature groups.
    """

    estimator: BaseEstimator
    search_space: Callable[[int, int], dict[str, list[Any]]]
    groups: tuple[str, ...] = DEFAULT_GROUPS


# break_ties: without it, the label with the highest decision value is not always the one that SVC predicts.
FAMILIES: dict[str, Family] = {
    "svm": Family(
        SVC(class_weight="balanced", break_ties=True),
        lambda n, rows: {"C": [2, 8], "gamma": [0.25 / n, 0.5 / n, 1 / n]},
    ),
    "svm-textbook": Family(SVC(break_ties=True), lambda n, rows: {"C": [1, 10, 100]}, groups=("textbook",)),
    "logistic": Family(
        LogisticRegression(class_weight="balanced", max_iter=1000),
        lambda n, rows: {"C": [2 / rows, 20 / rows, 200 / rows]},
    ),
    "knn": Family(
        KNeighborsClassifier(algorithm="brute"),
        lambda n, rows: {
            "n_neighbors": [k for k in (5, 11, 21, 41) if k <= rows] or [rows],
            "weights": ["uniform", "distance"],
        },
    ),
    "random-forest": Family(
        RandomForestClassifier(n_estimators=200, class_weight="balanced"),
        lambda n, rows: {"max_features": ["sqrt", "log2"], "min_samples_leaf": [1, 3]},
    ),
    "decision-tree": Family(
        DecisionTreeClassifier(class_weight="balanced"),
        lambda n, rows: {"max_depth": [4, 8, 16], "min_samples_leaf": [1, 5, 15]},
    ),
    "gradient-boosting": Family(
        HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=8,
            max_features=0.1,
            max_bins=32,  # some thirty clips of RAVDESS in each
            class_weight="balanced",
            early_stopping=False,
        ),
        lambda n, rows: {"learning_rate": [0.1, 0.2]},
        groups=FEWER_GROUPS,
    ),
}


def build_pipeline(family: str, seed: int = 0) -> Pipeline:
    """Impute (median of the training clips), scale to unit variance, classify; not fitted."""
    model = clone(FAMILIES[family].estimator)
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    # keep_empty_features: a training part in which nothing is voiced must not lose its pitch columns.
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("impute", imputer), ("scale", StandardScaler()), ("model", model)])


def model_logits(model: BaseEstimator, rows: np.ndarray) -> np.ndarray:
    """Logits of a support vector machine, or logarithms of another model's probabilities: (rows, labels)."""
    if isinstance(model, SVC):
        return pairwise_logits(model, rows)
    if isinstance(model, LogisticRegression):
        return model.predict_log_proba(rows)  # logits up to a constant, so that a linear layer can stand for it
    return np.log(np.maximum(model.predict_proba(rows), MIN_PROBABILITY))


def pairwise_logits(machine: SVC, inputs: np.ndarray) -> np.ndarray:
    """Logits whose largest is the label that the machine predicts, further apart the clearer it wins.

    scikit-learn's decision values count votes, so they rank labels but say nothing of confidence. Here the first label
    of each pair wins with the probability of a logistic function of the margin; a label's logit is the log-probability
    that it wins all its pairs (pairwise coupling, Hastie & Tibshirani 1998, in its plainest form). Where that favours
    another label than the votes do, the two logits change places.

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
    """One-against-one decision values, float64 (rows, pairs), as one matrix product instead of libsvm's loops."""
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
