"""scikit-learn families: logits, tuning without leaks, model folders, and feature-group importance."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser_hf.features import feature_names
from ser_hf.features.table import extract_table
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.classical import (
    TRUSTED,
    ClassicalModel,
    fit_classical,
    group_importance,
    load_classical,
    save_classical,
)
from ser_hf.models.families import DEFAULT_GROUPS, FAMILIES, build_pipeline, pairwise_logits, pairwise_margins
from ser_hf.models.tuning import held_out_logits, inner_folds
from tests.synthetic import make_clip

GROUPS = ["spectral"]
THREE = ["happy", "sad", "surprised"]
CASES = [("svm", list(LABELS)), ("svm", ["calm", "disgust"]), *((family, THREE) for family in sorted(FAMILIES))]


def make_table(n_speakers=6, n_clips=2, spread=0.5, seed=0):
    """Features around a centre for each label, shifted by the speaker; labels; speakers."""
    rng = np.random.default_rng(seed)
    names = feature_names(GROUPS)
    centres = np.random.default_rng(0).normal(size=(len(LABELS), len(names)))
    labels = np.tile(np.arange(len(LABELS)), n_speakers * n_clips)
    speakers = np.repeat([f"{speaker:02d}" for speaker in range(n_speakers)], len(LABELS) * n_clips)
    shifts = np.repeat(rng.normal(0, 0.3, (n_speakers, len(names))), len(LABELS) * n_clips, axis=0)
    rows = centres[labels] + shifts + rng.normal(0, spread, (len(labels), len(names)))
    return pd.DataFrame(rows.astype(np.float32), columns=names), labels, speakers


def select(table, keep):
    return tuple(part[keep] for part in table)


def only(table, labels):
    """The rows of a table that have these labels, by name."""
    return select(table, np.isin(table[1], [LABELS.index(label) for label in labels]))


def fit(family="svm", table=None, **options):
    features, labels, speakers = make_table() if table is None else table
    return fit_classical(family, features, labels, speakers, GROUPS, n_jobs=1, **options)


@pytest.fixture(scope="module")
def svm():
    return fit()


@pytest.mark.parametrize(("family", "labels"), CASES, ids=lambda value: value if isinstance(value, str) else len(value))
def test_families_fit_predict_save_and_load(family, labels, tmp_path, monkeypatch):
    for size in ("max_iter", "n_estimators"):  # fewer trees, so that it takes a second
        if getattr(FAMILIES[family].estimator, size, -1) > 0:
            monkeypatch.setattr(FAMILIES[family].estimator, size, 10)
    model = fit(family, only(make_table(n_clips=2 if len(labels) == 8 else 6), labels))
    features, true, _ = only(make_table(seed=1), labels)
    probabilities = model.predict_features(features, LABELS)
    assert probabilities.shape == (len(true), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[:, [index for index, label in enumerate(LABELS) if label not in labels]] == 0).all()
    assert (probabilities.argmax(axis=1) == true).mean() > 0.5
    own = model.predict_features(features)
    np.testing.assert_array_equal(own.argmax(axis=1), model.pipeline.predict(features))
    assert model.labels == labels
    assert 0 < model.config["cross_validation_accuracy"] <= 1
    assert set(model.config["parameters"]) == set(FAMILIES[family].search_space(16, 96))
    features.iloc[::5, 3] = np.nan
    expected = model.predict_features(features)
    folder = save_classical(model, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "pipeline.skops"]
    assert set(skops.io.get_untrusted_types(file=folder / "pipeline.skops")) <= set(TRUSTED)
    loaded = load_classical(folder)
    assert (loaded.config, loaded.labels) == (model.config, labels)
    assert loaded.feature_statistics() == model.feature_statistics()
    for one in (model, loaded, load_classical(save_classical(loaded, tmp_path / "again"))):
        np.testing.assert_array_equal(one.predict_features(features), expected)


def test_fit_takes_labels_of_other_vocabularies():
    features, labels, speakers = make_table()
    assert fit(table=(features, labels + 1, speakers), label_names=["boredom", *LABELS]).labels == list(LABELS)


def test_calibration_ignores_labels_of_one_speaker(svm):
    table = make_table()
    model = fit(table=select(table, (table[1] != 2) | (table[2] == "00")))
    assert model.labels == list(LABELS)
    assert model.config["temperature"] < 3 * svm.config["temperature"]


def test_fit_of_random_labels_is_not_confident():
    features, labels, speakers = make_table(n_speakers=10)
    model = fit(table=(features, np.random.default_rng(0).permutation(labels), speakers))
    assert model.predict_features(make_table(seed=1)[0]).max(axis=1).mean() < 0.3


def test_fit_imputes_features_that_are_missing_everywhere():
    features, labels, speakers = make_table()
    features["centroid_mean"] = np.nan
    features.loc[::3, "rolloff_std"] = np.nan
    model = fit(table=(features, labels, speakers))
    assert model.pipeline["impute"].transform(features).shape == features.shape
    assert np.isfinite(model.predict_features(features.fillna(0.5))).all()


def test_predict_proba_extracts_the_features(svm):
    clips = [make_clip("happy"), make_clip("sad", seconds=2)]
    table = extract_table(clips, GROUPS, n_jobs=1, progress=False)
    np.testing.assert_allclose(svm.predict_proba(clips), svm.predict_features(table))
    assert svm.predict_proba([]).shape == (0, len(LABELS))


def test_families_have_permissive_default_groups():
    assert not {"textbook", "egemaps"} & set(DEFAULT_GROUPS)
    assert "egemaps" not in {group for family in FAMILIES.values() for group in family.groups}


def test_smote_sees_training_parts_only(monkeypatch):
    sampler = pytest.importorskip("imblearn.over_sampling").SMOTE
    table = make_table()
    features, labels, speakers = select(table, (table[1] != 0) | (np.arange(len(table[1])) % 16 == 0))
    features, sampled, resample = features.reset_index(drop=True), [], sampler.fit_resample

    def spy(self, rows, classes):
        sampled.append((rows, *resample(self, rows, classes)))
        return sampled[-1][1:]

    monkeypatch.setattr(sampler, "fit_resample", spy)
    model = fit(table=(features, labels, speakers), smote=True)
    parts = [*(train for train, _ in inner_folds(labels, speakers)), np.arange(len(labels))]  # the whole at last
    for train, (rows, made, classes) in zip(parts, sampled, strict=True):
        expected = (features.iloc[train] - features.iloc[train].mean()) / features.iloc[train].std(ddof=0)
        np.testing.assert_allclose(rows, expected, atol=1e-3)
        np.testing.assert_array_equal(made[: len(rows)], rows)
        assert (np.bincount(classes) == np.bincount(labels[train]).max()).all()
    assert model.pipeline[-1].shape_fit_ == sampled[-1][1].shape  # the model is fitted on what was made
    assert [name for name, _ in model.pipeline.steps] == ["impute", "scale", "model"]
    assert model.config["smote"] is True


@settings(max_examples=20)
@given(n_speakers=st.integers(2, 24), seed=st.integers(0, 100))
def test_inner_folds_hold_out_each_speaker_once(n_speakers, seed):
    rng = np.random.default_rng(seed)
    speakers = np.concatenate([np.arange(n_speakers), rng.integers(n_speakers, size=100)])
    folds = inner_folds(rng.integers(8, size=len(speakers)), speakers)
    assert len(folds) == min(5, n_speakers)
    assert not any(set(speakers[train]) & set(speakers[held_out]) for train, held_out in folds)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(len(speakers)))


def test_inner_folds_are_stratified_without_speakers():
    labels = np.repeat(np.arange(8), [5, 10, 10, 10, 10, 10, 10, 10])
    for _, held_out in inner_folds(labels, None):
        assert np.bincount(labels[held_out]).tolist() == [1, 2, 2, 2, 2, 2, 2, 2]


def test_held_out_logits_match_the_plain_pipeline(svm):
    features, labels, speakers = make_table()
    folds = inner_folds(labels, speakers)
    candidate, values = svm.config["parameters"], features.to_numpy()
    logits = held_out_logits(build_pipeline("svm"), [candidate], values, labels, folds, n_jobs=1)[0]
    for train, held_out in folds:
        pipeline = build_pipeline("svm").set_params(**{f"model__{name}": value for name, value in candidate.items()})
        predicted = pipeline.fit(values[train], labels[train]).predict(values[held_out])
        np.testing.assert_array_equal(logits[held_out].argmax(axis=1), predicted)


def test_fit_refuses_too_little_data():
    features, labels, speakers = table = make_table()
    one_each = np.isin(speakers, ["00", "01"]) & (labels == speakers.astype(int))
    for words, too_little, smote in (
        ("have: calm", only(table, ["calm"]), False),
        ("only one label", select(table, one_each), False),
        ("two of each", (features, labels, np.full(len(labels), "01")), False),
        ("SMOTE", select(table, (labels != 3) | (np.arange(len(labels)) == 3)), True),
    ):
        with pytest.raises(ModelError, match=words):
            fit(table=too_little, smote=smote)


class Ours(ClassifierMixin, BaseEstimator):
    """A type that is not scikit-learn's own."""


def naive_bayes():
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), GaussianNB())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "config.json"),
        ("pipeline.skops", None, "pipeline.skops"),
        ("config.json", "{", "config.json"),
        ("config.json", "[]", "config.json"),
        ("config.json", {"temperature": None}, "cannot be used"),
        ("config.json", {"temperature": 0}, "probability"),
        ("config.json", {"temperature": -1}, "probability"),
        ("config.json", {"id2label": {str(index): index for index in range(8)}}, "id2label"),
        ("config.json", {"id2label": {str(index): LABELS[index] for index in range(7)}}, "7 labels"),
        ("config.json", {"feature_groups": ["energy"]}, "other features"),
        ("config.json", {"feature_groups": ["formants"]}, "formants"),
        ("config.json", {"features_version": 99}, "other features"),
        ("config.json", {"logits": None}, "train it again"),
        ("pipeline.skops", "hello", "cannot be loaded"),
        ("pipeline.skops", b"", "cannot be loaded"),
        ("pipeline.skops", make_pipeline(Ours()), "Ours"),
        ("pipeline.skops", LogisticRegression(), "but LogisticRegression"),
        ("pipeline.skops", naive_bayes(), "GaussianNB"),
        ("pipeline.skops", build_pipeline("svm"), "other features"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a division by a temperature of 0
def test_load_refuses_folders_that_do_not_fit(svm, tmp_path, name, content, message):
    path = save_classical(svm, tmp_path / "model") / name
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(path.read_bytes()[:-100])
    elif isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    else:
        skops.io.dump(content, path)
    with pytest.raises(ModelError, match=message) as caught:
        load_classical(path.parent)
    assert str(path.parent) in str(caught.value)


def two_groups(seed=0):
    """A table in which "zcr" depends on the label and "chroma" is noise; labels; speakers."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(LABELS)), 12)
    speakers = np.repeat([f"{speaker:02d}" for speaker in range(6)], 16)
    names = feature_names(["zcr", "chroma"])
    rows = rng.normal(size=(len(labels), len(names)))
    rows[:, :4] += 3 * np.random.default_rng(0).normal(size=(len(LABELS), 4))[labels]
    return pd.DataFrame(rows.astype(np.float32), columns=names), labels, speakers


def test_importance_finds_the_group_that_is_used(monkeypatch):
    features, labels, speakers = two_groups()
    model = fit_classical("svm", features, labels, speakers, ["zcr", "chroma"], n_jobs=1)
    tested, true, _ = two_groups(seed=1)
    names, before = np.array(LABELS)[true], tested.copy()
    found = group_importance(model, tested, names, ["chroma", "zcr"], seed=3, repeats=4)
    pd.testing.assert_frame_equal(tested, before)
    accuracy = (model.predict_features(tested).argmax(axis=1) == true).mean()
    assert list(found) == ["chroma", "zcr"]
    assert found["zcr"][0] == pytest.approx(accuracy - 1 / 8, abs=0.15)  # chance is left
    assert abs(found["chroma"][0]) < 0.15
    assert all(deviation >= 0 for _, deviation in found.values())
    assert group_importance(model, tested, names, ["chroma", "zcr"], seed=3, repeats=4) == found
    # Its columns are permuted together.
    tables, predict = [], ClassicalModel.predict_features
    monkeypatch.setattr(ClassicalModel, "predict_features", lambda *words: tables.append(words[1]) or predict(*words))
    group_importance(model, tested, names, ["zcr"], repeats=2)
    intact, both = (table.to_numpy() for table in tables)
    for permuted in np.split(both, 2):
        np.testing.assert_array_equal(permuted[:, 4:], intact[:, 4:])
        assert sorted(map(tuple, permuted[:, :4])) == sorted(map(tuple, intact[:, :4]))
        assert not np.array_equal(permuted[:, :4], intact[:, :4])


CENTRES = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])


def fitted(n_labels=3, seed=0):
    labels = np.repeat(np.arange(n_labels), 30)
    rows = CENTRES[labels] + np.random.default_rng(seed).normal(0, 0.8, (len(labels), 2))
    return SVC(C=5, gamma=0.3, break_ties=True).fit(rows, labels)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 3))
def test_pairwise_logits_are_largest_for_the_prediction(seed, n_labels):
    machine = fitted(n_labels, seed)
    rows = np.random.default_rng(seed).uniform(-4, 7, (100, 2))
    logits = pairwise_logits(machine, rows)
    assert logits.shape == (100, n_labels)
    np.testing.assert_array_equal(logits.argmax(axis=1), machine.predict(rows))


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 5), kernel=st.sampled_from(["rbf", "linear", "poly"]))
def test_pairwise_margins_are_those_of_scikit_learn(seed, n_labels, kernel):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_labels), rng.integers(n_labels, size=40)])
    rows = rng.normal(size=(len(labels), 3)) + labels[:, None]
    machine = SVC(kernel=kernel, gamma=0.3, coef0=0.5, decision_function_shape="ovo").fit(rows, labels)
    expected = machine.decision_function(rows).reshape(len(rows), -1)
    assert np.allclose(pairwise_margins(machine, rows), expected, atol=1e-9)


def test_pairwise_logits_are_log_probabilities():
    """Of winning all pairs; further apart for clear cases."""
    margins = pairwise_margins(fitted(), CENTRES)  # of 0 and 1, 0 and 2, 1 and 2
    wins = log_expit(np.stack([margins, -margins]))
    expected = [wins[0, :, 0] + wins[0, :, 1], wins[1, :, 0] + wins[0, :, 2], wins[1, :, 1] + wins[1, :, 2]]
    assert pairwise_logits(fitted(), CENTRES) == pytest.approx(np.stack(expected, axis=1))
    two = pairwise_logits(fitted(2), CENTRES)
    assert two[:, 1] - two[:, 0] == pytest.approx(fitted(2).decision_function(CENTRES))
    rows = np.array([CENTRES[0], CENTRES[0] + [1.0, -0.5]])  # the second is nearly between two labels
    assert np.round(fitted().decision_function(rows).max(axis=1)).tolist() == [2, 2]  # both win all votes
    lead = np.diff(np.sort(pairwise_logits(fitted(), rows), axis=1)[:, -2:], axis=1).ravel()
    assert lead[0] > 2 * lead[1] > 0
