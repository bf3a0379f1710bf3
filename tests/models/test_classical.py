import json

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ser_hf.features import extract_table, feature_names
from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.classical import (
    FAMILIES,
    ClassicalModel,
    build_pipeline,
    fit_classical,
    inner_folds,
    load_classical,
    save_classical,
)
from tests.synthetic import make_clip

GROUPS = ["spectral"]
EVERY = ["svm", "svm-textbook", "knn", "decision-tree", pytest.param("random-forest", marks=pytest.mark.slow)]


def make_table(n_speakers=6, n_clips=2, spread=0.5, seed=0):
    """Features that lie around a centre for each label and are shifted by the speaker; labels; speakers."""
    rng = np.random.default_rng(seed)
    names = feature_names(GROUPS)
    centres = np.random.default_rng(0).normal(size=(len(LABELS), len(names)))
    labels = np.tile(np.arange(len(LABELS)), n_speakers * n_clips)
    speakers = np.repeat([f"{speaker:02d}" for speaker in range(n_speakers)], len(LABELS) * n_clips)
    shifts = np.repeat(rng.normal(0, 0.3, (n_speakers, len(names))), len(LABELS) * n_clips, axis=0)
    rows = centres[labels] + shifts + rng.normal(0, spread, (len(labels), len(names)))
    return pd.DataFrame(rows.astype(np.float32), columns=names), labels, speakers


def fit(family="svm", table=None, **options):
    features, labels, speakers = make_table() if table is None else table
    return fit_classical(family, features, labels, speakers, GROUPS, n_jobs=1, **options)


@pytest.fixture(scope="module")
def svm():
    return fit()


@pytest.mark.parametrize("family", EVERY)
def test_every_family_learns_and_answers_with_probabilities(family):
    model = fit(family)
    features, labels, _ = make_table(seed=1)
    probabilities = model.predict_features(features)
    assert probabilities.shape == (len(labels), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.5
    np.testing.assert_array_equal(probabilities.argmax(axis=1), model.pipeline.predict(features))
    assert model.labels == list(LABELS)
    assert 0 < model.config["cross_validation_accuracy"] <= 1
    assert set(model.config["parameters"]) == set(FAMILIES[family].search_space(16))


@pytest.mark.parametrize("family", ["svm", "svm-textbook", "knn"])
def test_saved_model_answers_alike_and_needs_no_trust(family, tmp_path):
    model = fit(family)
    features = make_table(seed=1)[0]
    features.iloc[::5, 3] = np.nan
    probabilities = model.predict_features(features)
    folder = save_classical(model, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "pipeline.skops"]
    assert skops.io.get_untrusted_types(file=folder / "pipeline.skops") == []
    loaded = load_classical(folder)
    np.testing.assert_allclose(loaded.predict_features(features), probabilities, atol=1e-9)
    assert loaded.config == model.config


def test_trees_are_not_saved(tmp_path):
    with pytest.raises(ModelError, match="decision-tree cannot be saved"):
        save_classical(fit("decision-tree"), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@given(seed=st.integers(0, 1000))
def test_probabilities_name_the_label_that_the_pipeline_predicts_wherever_one_looks(svm, seed):
    names = feature_names(GROUPS)
    rows = np.random.default_rng(seed).normal(
        0, 3, (50, len(names))
    )  # mostly far from all training clips, where ties are
    features = pd.DataFrame(rows.astype(np.float32), columns=names)
    np.testing.assert_array_equal(svm.predict_features(features).argmax(axis=1), svm.pipeline.predict(features))


@pytest.mark.parametrize("family", ["svm", "decision-tree"])
def test_two_fits_with_one_seed_agree(family):
    features = make_table(seed=2)[0]
    first, second = (fit(family, seed=3).predict_features(features) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_learned_is_answered_without_confidence():
    features, labels, speakers = make_table(n_speakers=10)
    model = fit(table=(features, np.random.default_rng(0).permutation(labels), speakers))
    assert model.predict_features(make_table(seed=1)[0]).max(axis=1).mean() < 0.3


def test_features_that_are_missing_everywhere_are_imputed():
    features, labels, speakers = make_table()
    features["centroid_mean"] = np.nan
    features.loc[::3, "rolloff_std"] = np.nan
    model = fit(table=(features, labels, speakers))
    assert model.pipeline.n_features_in_ == features.shape[1]
    assert model.pipeline["impute"].transform(features).shape == features.shape
    present = features.fillna(0.5)
    assert np.isfinite(model.predict_features(present)).all()


def test_clips_are_answered_as_their_features_are(svm):
    clips = [make_clip("happy"), make_clip("sad", seconds=2)]
    table = extract_table(clips, GROUPS, n_jobs=1, progress=False)
    np.testing.assert_allclose(svm.predict_proba(clips), svm.predict_features(table))
    assert svm.predict_proba([]).shape == (0, len(LABELS))


def test_textbook_is_plain_but_not_weakened():
    pipeline = build_pipeline("svm-textbook")
    assert FAMILIES["svm-textbook"].groups == ("textbook",)
    assert FAMILIES["svm-textbook"].search_space(80) == {"C": [1, 10, 100]}
    assert (pipeline["model"].C, pipeline["model"].kernel, pipeline["model"].gamma) == (1.0, "rbf", "scale")


@given(n_speakers=st.integers(2, 24), seed=st.integers(0, 100))
def test_tuning_holds_out_whole_speakers_each_once(n_speakers, seed):
    rng = np.random.default_rng(seed)
    speakers = np.concatenate([np.arange(n_speakers), rng.integers(n_speakers, size=100)])
    folds = inner_folds(rng.integers(8, size=len(speakers)), speakers)
    assert len(folds) == min(5, n_speakers)
    for train, held_out in folds:
        assert not set(speakers[train]) & set(speakers[held_out])
    np.testing.assert_array_equal(
        np.sort(np.concatenate([held_out for _, held_out in folds])), np.arange(len(speakers))
    )


def test_tuning_is_stratified_where_speakers_overlap():
    labels = np.repeat(np.arange(8), [5, 10, 10, 10, 10, 10, 10, 10])
    for _, held_out in inner_folds(labels, None):
        assert np.bincount(labels[held_out]).tolist() == [1, 2, 2, 2, 2, 2, 2, 2]


def test_too_little_to_train_on_is_refused():
    features, labels, speakers = make_table()
    keep = ~np.isin(labels, [1, 7])
    with pytest.raises(ModelError, match="no example of: calm, surprised"):
        fit(table=(features[keep], labels[keep], speakers[keep]))
    with pytest.raises(ModelError, match="two of each"):
        fit(table=(features, labels, np.full(len(labels), "01")))


class Ours(ClassifierMixin, BaseEstimator):
    """A type that is not scikit-learn's own."""


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_config(folder):
    (folder / "config.json").unlink()


def without_pipeline(folder):
    (folder / "pipeline.skops").unlink()


def damaged_config(folder):
    (folder / "config.json").write_text("{")


def config_of_a_list(folder):
    (folder / "config.json").write_text("[]")


def config_without_temperature(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["temperature"]
    (folder / "config.json").write_text(json.dumps(config))


def another_kind(folder):
    rewrite(folder, model_type="whisper")


def damaged_pipeline(folder):
    path = folder / "pipeline.skops"
    path.write_bytes(path.read_bytes()[:-100])


def text_as_pipeline(folder):
    (folder / "pipeline.skops").write_text("hello")


def untrusted_type(folder):
    skops.io.dump(make_pipeline(Ours()), folder / "pipeline.skops")


def no_pipeline(folder):
    skops.io.dump(LogisticRegression(), folder / "pipeline.skops")


def no_imputer(folder):
    skops.io.dump(make_pipeline(LogisticRegression()), folder / "pipeline.skops")


def not_fitted(folder):
    skops.io.dump(build_pipeline("svm"), folder / "pipeline.skops")


def fewer_labels(folder):
    rewrite(folder, id2label={str(index): label for index, label in enumerate(LABELS[:7])})


def other_groups(folder):
    rewrite(folder, feature_groups=["energy"])


def unknown_group(folder):
    rewrite(folder, feature_groups=["formants"])


def other_version(folder):
    rewrite(folder, features_version=99)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_config, "holds no config.json"),
        (without_pipeline, "holds no pipeline.skops"),
        (damaged_config, "not valid JSON"),
        (config_of_a_list, "does not describe a classical model"),
        (config_without_temperature, "does not describe a classical model.*temperature"),
        (another_kind, "does not describe a classical model.*whisper"),
        (damaged_pipeline, "cannot be loaded"),
        (text_as_pipeline, "cannot be loaded"),
        (untrusted_type, "not scikit-learn's own.*Ours"),
        (no_pipeline, "holds a LogisticRegression that does not impute"),
        (no_imputer, "holds a Pipeline that does not impute"),
        (not_fitted, "answers 0 labels"),
        (fewer_labels, "answers 8 labels"),
        (other_groups, "fitted on other features"),
        (unknown_group, "no feature group 'formants'.*another version"),
        (other_version, "version 99"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_model_folder_that_does_not_fit_is_refused_in_words(svm, tmp_path, damage, message):
    folder = save_classical(svm, tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_classical(folder)
    assert str(folder) in str(caught.value)


def test_temperature_of_the_model_folder_is_used(svm):
    features = make_table(seed=1)[0]
    softer = ClassicalModel(svm.pipeline, {**svm.config, "temperature": 4 * svm.config["temperature"]})
    assert softer.predict_features(features).max(axis=1).mean() < svm.predict_features(features).max(axis=1).mean()
