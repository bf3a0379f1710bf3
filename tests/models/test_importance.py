import numpy as np
import pandas as pd
import pytest

from ser_hf.features import feature_names
from ser_hf.labels import LABELS
from ser_hf.models.classical import ClassicalModel, fit_classical
from ser_hf.models.importance import group_importance


def two_groups(seed=0):
    """A table in which "zcr" tells the label and "chroma" is noise; labels; speakers."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(LABELS)), 12)
    speakers = np.repeat([f"{speaker:02d}" for speaker in range(6)], 16)
    names = feature_names(["zcr", "chroma"])
    rows = rng.normal(size=(len(labels), len(names)))
    telling = len(feature_names(["zcr"]))
    rows[:, :telling] += 3 * np.random.default_rng(0).normal(size=(len(LABELS), telling))[labels]
    return pd.DataFrame(rows.astype(np.float32), columns=names), labels, speakers


def test_importance_tells_the_group_that_is_used_from_the_one_that_is_not():
    features, labels, speakers = two_groups()
    model = fit_classical("svm", features, labels, speakers, ["zcr", "chroma"], n_jobs=1)
    tested, true, _ = two_groups(seed=1)
    before = tested.copy()
    names = np.array(LABELS)[true]
    found = group_importance(model, tested, names, ["chroma", "zcr"], seed=3, repeats=4)
    pd.testing.assert_frame_equal(tested, before)
    accuracy = (model.predict_features(tested).argmax(axis=1) == true).mean()
    assert list(found) == ["chroma", "zcr"]
    assert found["zcr"][0] == pytest.approx(accuracy - 1 / 8, abs=0.15)  # chance is left
    assert abs(found["chroma"][0]) < 0.15
    assert found["zcr"][0] > found["chroma"][0] + 0.3
    assert all(deviation >= 0 for _, deviation in found.values())
    assert group_importance(model, tested, names, ["chroma", "zcr"], seed=3, repeats=4) == found
    assert group_importance(model, tested, names, ["chroma", "zcr"], seed=4, repeats=4) != found


def test_importance_moves_the_columns_of_a_group_together(monkeypatch):
    features, labels, speakers = two_groups()
    model = fit_classical("decision-tree", features, labels, speakers, ["zcr", "chroma"], n_jobs=1)
    asked = []
    answer = ClassicalModel.predict_features
    monkeypatch.setattr(
        ClassicalModel, "predict_features", lambda self, table: asked.append(table) or answer(self, table)
    )
    group_importance(model, features, np.array(LABELS)[labels], ["zcr"], repeats=2)
    intact, both = (table.to_numpy() for table in asked)
    permuted = np.split(both, 2)
    zcr = len(feature_names(["zcr"]))
    rows = sorted(map(tuple, intact[:, :zcr]))
    for table in permuted:
        np.testing.assert_array_equal(table[:, zcr:], intact[:, zcr:])
        assert sorted(map(tuple, table[:, :zcr])) == rows
        assert not np.array_equal(table[:, :zcr], intact[:, :zcr])
    with pytest.raises(ValueError, match="at least one permutation"):
        group_importance(model, features, np.array(LABELS)[labels], ["zcr"], repeats=0)
