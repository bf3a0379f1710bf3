"""Folders of classical models that are damaged, forged or of another version: refused in words."""

from __future__ import annotations

import json

import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_hf.labels import LABELS
from ser_hf.models import ModelError
from ser_hf.models.classical import load_classical, save_classical
from ser_hf.models.families import build_pipeline
from tests.models.test_classical import fit


@pytest.fixture(scope="module")
def svm():
    return fit()


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


def config_of_numbers(folder):
    rewrite(folder, id2label={str(index): index for index in range(8)})


def temperature_of_zero(folder):
    rewrite(folder, temperature=0)


def unknown_classifier(folder):
    steps = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    skops.io.dump(steps.set_params(simpleimputer__keep_empty_features=True), folder / "pipeline.skops")


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


def older_logits(folder):
    rewrite(folder, logits=None)


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
        (config_of_numbers, "id2label must number"),
        (temperature_of_zero, "temperature must be a positive number"),
        (damaged_pipeline, "cannot be loaded"),
        (text_as_pipeline, "cannot be loaded"),
        (untrusted_type, "not scikit-learn's own.*Ours"),
        (no_pipeline, "does not hold an imputer, a scaler and a classifier that is known here, but LogisticRegression"),
        (no_imputer, "does not hold an imputer.*LogisticRegression"),
        (unknown_classifier, "does not hold an imputer.*LogisticRegression"),
        (not_fitted, "has 0 labels"),
        (fewer_labels, "has 8 labels"),
        (other_groups, "fitted on other features"),
        (unknown_group, "no feature group 'formants'.*another version"),
        (other_version, "version 99"),
        (older_logits, "temperature is for decision values that are no longer used: train it again"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_model_folder_that_does_not_fit_is_refused_in_words(svm, tmp_path, damage, message):
    folder = save_classical(svm, tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_classical(folder)
    assert str(folder) in str(caught.value)
