import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.feature_table import extract_table
from ser_hf.features import feature_names
from ser_hf.labels import LABELS
from ser_hf.models import ModelError, tuning
from ser_hf.models.classical import ClassicalModel, fit_classical, load_classical, save_classical
from ser_hf.models.families import DEFAULT_GROUPS, FAMILIES, build_pipeline
from ser_hf.models.stored import TRUSTED
from ser_hf.models.tuning import inner_folds
from tests.synthetic import make_clip

GROUPS = ["spectral"]
EVERY = [
    "svm",
    "svm-textbook",
    "knn",
    "decision-tree",
    "gradient-boosting",
    pytest.param("random-forest", marks=pytest.mark.slow),
]


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
    assert set(model.config["parameters"]) == set(FAMILIES[family].search_space(16, 96))


@pytest.mark.parametrize("family", EVERY)
def test_saved_model_answers_alike_and_needs_no_trust(family, tmp_path):
    model = fit(family)
    features = make_table(seed=1)[0]
    features.iloc[::5, 3] = np.nan
    probabilities = model.predict_features(features)
    folder = save_classical(model, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "pipeline.skops"]
    assert set(skops.io.get_untrusted_types(file=folder / "pipeline.skops")) <= set(TRUSTED)
    loaded = load_classical(folder)
    np.testing.assert_array_equal(loaded.predict_features(features), probabilities)
    assert loaded.config == model.config
    assert loaded.feature_statistics() == model.feature_statistics()
    again = load_classical(save_classical(loaded, tmp_path / "again"))
    np.testing.assert_array_equal(again.predict_features(features), probabilities)


def only(table, labels):
    """The rows of a table that have these labels, by name."""
    keep = np.isin(table[1], [LABELS.index(label) for label in labels])
    return tuple(part[keep] for part in table)


@pytest.mark.parametrize("labels", [["calm", "disgust"], ["happy", "sad", "surprised"]])
@pytest.mark.parametrize("family", EVERY)
def test_labels_that_were_never_met_are_never_answered(family, labels, tmp_path):
    model = fit(family, only(make_table(n_clips=6), labels))
    assert model.labels == labels
    features, true, _ = only(make_table(seed=1), labels)
    probabilities = model.predict_features(features, LABELS)
    assert probabilities.shape == (len(true), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    never = [index for index, label in enumerate(LABELS) if label not in labels]
    assert (probabilities[:, never] == 0).all()
    assert (probabilities.argmax(axis=1) == true).mean() > 0.8
    loaded = load_classical(save_classical(model, tmp_path / "model"))
    assert loaded.labels == labels
    np.testing.assert_array_equal(loaded.predict_features(features, LABELS), probabilities)


def test_label_that_is_none_of_the_common_ones_can_be_learned():
    features, labels, speakers = make_table()
    model = fit(table=(features, labels + 1, speakers), label_names=["boredom", *LABELS])
    assert model.labels == list(LABELS)
    labels = np.where(labels == 0, len(LABELS), labels)
    assert fit(table=(features, labels, speakers), label_names=[*LABELS, "boredom"]).labels[-1] == "boredom"


def test_label_of_a_single_speaker_does_not_break_the_tuning():
    features, labels, speakers = make_table()
    keep = (labels != 2) | (speakers == "00")
    model = fit(table=(features[keep], labels[keep], speakers[keep]))
    assert model.labels == list(LABELS)
    complete = fit()
    assert (
        model.config["temperature"] < 3 * complete.config["temperature"]
    )  # what it could not know is not held against it


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


def test_groups_that_a_model_is_given_unasked():
    assert not {"textbook", "egemaps"} & set(DEFAULT_GROUPS)
    assert "egemaps" not in {group for family in FAMILIES.values() for group in family.groups}


def test_synthetic_rows_are_made_of_what_is_trained_on_and_of_nothing_else(monkeypatch):
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    features, labels, speakers = make_table()
    rare = (labels != 0) | (np.arange(len(labels)) % 16 == 0)  # half of the clips of one label
    features, labels, speakers = features[rare].reset_index(drop=True), labels[rare], speakers[rare]
    sampled, fitted, asked = [], [], []
    sampler, classifier = over_sampling.SMOTE, type(FAMILIES["svm"].estimator)
    resample, fit_svm, distances = sampler.fit_resample, classifier.fit, tuning._squared_distances

    def spy_resample(self, rows, classes, **options):
        made = resample(self, rows, classes, **options)
        sampled.append((rows, classes, *made))
        return made

    def spy_fit(self, rows, classes):
        fitted.append((rows, classes))
        return fit_svm(self, rows, classes)

    def spy_distances(rows, others):
        asked.append((rows, others))
        return distances(rows, others)

    monkeypatch.setattr(sampler, "fit_resample", spy_resample)
    monkeypatch.setattr(classifier, "fit", spy_fit)
    monkeypatch.setattr(tuning, "_squared_distances", spy_distances)
    model = fit(table=(features, labels, speakers), smote=True)
    folds = inner_folds(labels, speakers)
    n_candidates = 6
    assert (len(sampled), len(fitted)) == (len(folds) + 1, n_candidates * len(folds) + 1)
    # Each part was sampled alone, and all candidates fitted on that; the last is the whole.
    parts = [*(train for train, _ in folds), np.arange(len(labels))]
    for number, (train, (rows, classes, made, made_classes)) in enumerate(zip(parts, sampled, strict=True)):
        np.testing.assert_array_equal(classes, labels[train])
        expected = (features.iloc[train] - features.iloc[train].mean()) / features.iloc[train].std(ddof=0)
        np.testing.assert_allclose(rows, expected, atol=1e-3)
        np.testing.assert_array_equal(made[: len(rows)], rows)
        assert (np.bincount(made_classes) == np.bincount(labels[train]).max()).all()
        assert len(made) > len(rows)
        for seen, seen_classes in fitted[number * n_candidates :][:n_candidates]:
            assert len(seen) == len(made)
            np.testing.assert_array_equal(seen_classes, made_classes)
    np.testing.assert_array_equal(fitted[-1][0], sampled[-1][2])
    # The machines of a fold know the rows that were made of it, and are asked of those held out, scaled as its part is.
    assert len(asked) == 2 * len(folds)
    for number, (train, held_out) in enumerate(folds):
        (known, others), (unknown, known_again) = asked[2 * number :][:2]
        assert known is others is known_again
        np.testing.assert_array_equal(known, sampled[number][2])
        scaled = (features.iloc[held_out] - features.iloc[train].mean()) / features.iloc[train].std(ddof=0)
        np.testing.assert_allclose(unknown, scaled, atol=1e-3)
    assert [name for name, _ in model.pipeline.steps] == ["impute", "scale", "model"]
    assert model.config["smote"] is True


def test_synthetic_rows_are_seeded_and_help_a_rare_label(tmp_path):
    pytest.importorskip("imblearn")
    features, labels, speakers = make_table(spread=1.5, n_clips=4)
    rare = (labels != 0) | (np.arange(len(labels)) % 32 == 0)
    table = features[rare], labels[rare], speakers[rare]
    probe, true, _ = make_table(seed=1, spread=1.5)
    plain, first, second = (fit("knn", table, smote=smote, seed=7) for smote in (False, True, True))
    np.testing.assert_array_equal(first.predict_features(probe), second.predict_features(probe))
    found = [(model.predict_features(probe)[true == 0].argmax(axis=1) == 0).mean() for model in (plain, first)]
    assert found[1] > found[0]
    loaded = load_classical(save_classical(first, tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_features(probe), first.predict_features(probe))


def test_synthetic_rows_need_two_clips_to_lie_between():
    pytest.importorskip("imblearn")
    features, labels, speakers = make_table()
    single = (labels != 3) | (np.arange(len(labels)) == 3)
    with pytest.raises(ModelError, match="SMOTE needs at least two clips of each label"):
        fit(table=(features[single], labels[single], speakers[single]), smote=True)


def test_textbook_is_plain_but_not_weakened():
    pipeline = build_pipeline("svm-textbook")
    assert FAMILIES["svm-textbook"].groups == ("textbook",)
    assert FAMILIES["svm-textbook"].search_space(80, 1152) == {"C": [1, 10, 100]}
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
    with pytest.raises(ModelError, match="no two labels to tell apart, only: calm"):
        fit(table=only((features, labels, speakers), ["calm"]))
    each_their_own = np.isin(speakers, ["00", "01"]) & (labels == speakers.astype(int))
    with pytest.raises(ModelError, match="only one label is left"):
        fit(table=(features[each_their_own], labels[each_their_own], speakers[each_their_own]))
    with pytest.raises(ModelError, match="two of each"):
        fit(table=(features, labels, np.full(len(labels), "01")))


def test_temperature_of_the_model_folder_is_used(svm):
    features = make_table(seed=1)[0]
    softer = ClassicalModel(svm.pipeline, {**svm.config, "temperature": 4 * svm.config["temperature"]})
    assert softer.predict_features(features).max(axis=1).mean() < svm.predict_features(features).max(axis=1).mean()
