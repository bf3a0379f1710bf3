"""Trees as plain arrays, and back: a file holds numbers only, and they are checked before a tree is made of them.

scikit-learn follows the indices in a tree unchecked, so that a forged one crashes whoever asks it. That is why skops
trusts no tree, and why no tree is ever in a file of ours: the arrays are, all trees of a model one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import NODE_DTYPE, Tree

Arrays = dict[str, np.ndarray]

LEAF = -1  # the child and the feature of a leaf
NO_BITSETS = np.zeros((0, 8), dtype=np.uint32)  # of categories, which no feature of ours has
SUM_TOLERANCE = 1e-6
# No number of a model is as large; below it, no sum or square of such numbers leaves the range of float32.
MAX_NUMBER = 1e15


def pack_trees(model: Any) -> Arrays:
    """The trees of a fitted decision tree, random forest or histogram gradient boosting.

    Returns:
        sizes: (trees,) how many nodes each has, at least 1; a tree's first node is its root.
        left, right, feature, threshold: (nodes,) of all trees one after the other. A row whose ``feature`` is not above
            ``threshold`` goes left. Children are counted from the tree's root; a leaf has `LEAF` for both and for the
            feature.
        values: (leaves, outputs) in the order of the nodes: the probability of each label, or, with boosting, (leaves,
            1) what is added to the label's logit; there the trees of a round, one a label, follow each other.
        baseline: (outputs,) the logits before any tree; with boosting only.
    """
    if isinstance(model, HistGradientBoostingClassifier):
        parts = [_boosted_part(tree.nodes) for trees in model._predictors for tree in trees]
        baseline = {"baseline": np.asarray(model._baseline_prediction, dtype=np.float64).ravel()}
    else:
        trees = model.estimators_ if isinstance(model, RandomForestClassifier) else [model]
        parts = [_grown_part(tree.tree_) for tree in trees]
        baseline = {}
    packed = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {"sizes": np.array([len(part["left"]) for part in parts], dtype=np.int32), **packed, **baseline}


def _grown_part(tree: Tree) -> Arrays:
    leaf = tree.children_left == LEAF
    return {
        "left": tree.children_left.astype(np.int32),
        "right": tree.children_right.astype(np.int32),
        "feature": np.where(leaf, LEAF, tree.feature).astype(np.int32),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "values": tree.value[leaf, 0, :],
    }


def _boosted_part(nodes: np.ndarray) -> Arrays:
    leaf = nodes["is_leaf"].astype(bool)
    part = {key: np.where(leaf, LEAF, nodes[key]).astype(np.int32) for key in ("left", "right")}
    return {
        **part,
        "feature": np.where(leaf, LEAF, nodes["feature_idx"]).astype(np.int32),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
        "values": nodes["value"][leaf, np.newaxis],
    }


def check_trees(packed: Arrays, n_features: int, n_outputs: int, probabilities: bool) -> None:
    """Make sure that every row of ``n_features`` numbers comes to a leaf of every tree, and finds numbers there.

    Args:
        n_outputs: how many values a leaf holds.
        probabilities: whether they are probabilities of labels, which sum to 1.

    Raises:
        ValueError: what is wrong.
    """
    for name, kinds, dimensions in (
        ("sizes", "iu", 1),
        ("left", "iu", 1),
        ("right", "iu", 1),
        ("feature", "iu", 1),
        ("threshold", "f", 1),
        ("values", "f", 2),
    ):
        array = packed.get(name)
        if type(array) is not np.ndarray or array.dtype.kind not in kinds or array.ndim != dimensions:
            raise ValueError(f"the trees have no valid {name!r}")
    sizes = packed["sizes"].astype(np.int64)
    left, right, feature = (packed[name].astype(np.int64) for name in ("left", "right", "feature"))
    n_nodes = len(left)
    if not len(sizes) or sizes.min() < 1 or sizes.max() > n_nodes or sizes.sum() != n_nodes:
        raise ValueError(f"{n_nodes} nodes are not what the sizes of the trees say")
    if not len(right) == len(feature) == len(packed["threshold"]) == n_nodes:
        raise ValueError("the trees have columns of different lengths")
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place, size = np.arange(n_nodes) - starts, np.repeat(sizes, sizes)
    leaf = feature == LEAF
    if (left[leaf] != LEAF).any() or (right[leaf] != LEAF).any():
        raise ValueError("a leaf has children")
    inner = ~leaf
    if (feature[inner] < 0).any() or (feature[inner] >= n_features).any():
        raise ValueError(f"a node asks for a feature that is not among the {n_features}")
    for child in (left, right):
        # A child after its parent: so no way leads back, and every way ends in a leaf.
        if (child[inner] <= place[inner]).any() or (child[inner] >= size[inner]).any():
            raise ValueError("a node has a child that does not come after it in its tree")
    children = np.sort(np.concatenate([(starts + child)[inner] for child in (left, right)]))
    if not np.array_equal(children, np.flatnonzero(place > 0)):
        raise ValueError("a node has no parent, or more than one")
    values = packed["values"]
    if values.shape != (leaf.sum(), n_outputs) or not (np.abs(values) <= MAX_NUMBER).all():
        raise ValueError(f"the {leaf.sum()} leaves do not hold {n_outputs} finite values each")
    if not np.isfinite(packed["threshold"]).all():
        raise ValueError("a threshold is not finite")
    if probabilities and ((values < 0).any() or (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE).any()):
        raise ValueError("the values of a leaf are no probabilities")


def unpack_trees(model: Any, packed: Arrays, n_features: int, classes: np.ndarray) -> Any:
    """A new model with the settings of ``model`` that answers as the one did whose trees `pack_trees` packed.

    What only describes how a tree was grown (impurities, counts, and so the importance of features) is not kept.

    Raises:
        ValueError: the trees are not valid (see `check_trees`).
    """
    boosted = isinstance(model, HistGradientBoostingClassifier)
    rounds_of = 1 if len(classes) == 2 else len(classes)  # boosting gives two labels one logit
    check_trees(packed, n_features, 1 if boosted else len(classes), probabilities=not boosted)
    parts = _parts(packed)
    made = clone(model)
    if isinstance(made, DecisionTreeClassifier):
        if len(parts) != 1:
            raise ValueError(f"a decision tree is one tree, not {len(parts)}")
        return _grown(made, parts[0], n_features, classes)
    made.classes_, made.n_features_in_ = classes, n_features
    if isinstance(made, RandomForestClassifier):
        made.n_classes_, made.n_outputs_ = len(classes), 1
        made.estimator_ = DecisionTreeClassifier()
        made.estimators_ = [
            _grown(DecisionTreeClassifier(), part, n_features, np.arange(len(classes))) for part in parts
        ]
        return made.set_params(n_estimators=len(parts), n_jobs=None)
    baseline = packed.get("baseline")
    if type(baseline) is not np.ndarray or baseline.dtype.kind != "f" or baseline.shape != (rounds_of,):
        raise ValueError(f"boosting of {len(classes)} labels needs {rounds_of} logits to begin with")
    if len(parts) % rounds_of or not (np.abs(baseline) <= MAX_NUMBER).all():
        raise ValueError(
            f"boosting of {len(classes)} labels does not have {len(parts)} trees, or begins with no number"
        )
    trees = [TreePredictor(_boosted_nodes(part), NO_BITSETS, NO_BITSETS) for part in parts]
    made._predictors = [trees[start : start + rounds_of] for start in range(0, len(trees), rounds_of)]
    made._baseline_prediction = baseline.astype(np.float64).reshape(1, -1)
    made.n_trees_per_iteration_ = rounds_of
    made._loss = HalfBinomialLoss() if rounds_of == 1 else HalfMultinomialLoss(n_classes=rounds_of)
    made._preprocessor, made.is_categorical_, made._n_features = None, None, n_features
    made._bin_mapper = _BinMapper()
    made._bin_mapper.is_categorical_ = np.zeros(n_features, dtype=np.uint8)
    made._bin_mapper.bin_thresholds_ = []
    return made


def _parts(packed: Arrays) -> list[Arrays]:
    """The arrays of each tree, all (nodes,) but values: (nodes, outputs), zero but in the leaves."""
    values = np.zeros((len(packed["left"]), packed["values"].shape[1]))
    values[packed["left"] == LEAF] = packed["values"]
    ends = np.cumsum(packed["sizes"].astype(np.int64))[:-1]
    columns = {name: np.split(packed[name], ends) for name in ("left", "right", "feature", "threshold")}
    columns["values"] = np.split(values, ends)
    return [dict(zip(columns, part, strict=True)) for part in zip(*columns.values(), strict=True)]


def _grown(model: DecisionTreeClassifier, part: Arrays, n_features: int, classes: np.ndarray) -> DecisionTreeClassifier:
    nodes = np.zeros(len(part["left"]), dtype=NODE_DTYPE)
    nodes["left_child"], nodes["right_child"] = part["left"], part["right"]
    nodes["feature"], nodes["threshold"] = part["feature"], part["threshold"]
    tree = Tree(n_features, np.array([len(classes)], dtype=np.intp), 1)
    state = {
        "max_depth": len(nodes) // 2,  # no tree of so many nodes is deeper; scikit-learn makes room for so long a path
        "node_count": len(nodes),
        "nodes": nodes,
        "values": np.ascontiguousarray(part["values"][:, np.newaxis, :]),
    }
    tree.__setstate__(state)
    model.tree_, model.classes_, model.n_classes_ = tree, classes, len(classes)
    model.n_features_in_, model.n_outputs_ = n_features, 1
    return model


def _boosted_nodes(part: Arrays) -> np.ndarray:
    nodes = np.zeros(len(part["left"]), dtype=PREDICTOR_RECORD_DTYPE)
    leaf = part["left"] == LEAF
    nodes["is_leaf"], nodes["value"] = leaf, part["values"][:, 0]
    nodes["num_threshold"] = part["threshold"]
    for name, column in (("left", "left"), ("right", "right"), ("feature_idx", "feature")):
        nodes[name] = np.where(leaf, 0, part[column])
    return nodes
