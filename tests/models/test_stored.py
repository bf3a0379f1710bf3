"""Pipelines as skops files: the same predictions after loading, and a ModelError for what is no such pipeline."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer

from ser_hf.models import ModelError
from ser_hf.models.families import FAMILIES, build_pipeline
from ser_hf.models.stored import dump_pipeline, load_pipeline

NAMES = [f"feature{index}" for index in range(6)]


def make_rows(n_labels=3, n_rows=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % n_labels
    centres = np.random.default_rng(1).normal(0, 2, (n_labels, len(NAMES)))
    rows = centres[labels] + rng.normal(size=(n_rows, len(NAMES)))
    return pd.DataFrame(rows.astype(np.float32), columns=NAMES), labels


def make_pipeline(family, n_labels=3):
    return build_pipeline(family).fit(*make_rows(n_labels))


def scores(pipeline, rows):
    method = "decision_function" if hasattr(pipeline, "decision_function") else "predict_proba"
    return getattr(pipeline, method)(rows)


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_pipeline_predicts_the_same(family, n_labels, tmp_path):
    pipeline = make_pipeline(family, n_labels)
    rows = make_rows(n_labels, seed=5)[0]
    rows.iloc[::4, 2] = np.nan
    expected = scores(pipeline, rows)
    dump_pipeline(pipeline, tmp_path / "pipeline.skops")
    np.testing.assert_array_equal(scores(pipeline, rows), expected)  # and is left as it was
    loaded = load_pipeline(tmp_path / "pipeline.skops", NAMES, n_labels)
    np.testing.assert_array_equal(scores(loaded, rows), expected)
    np.testing.assert_array_equal(loaded.predict(rows), pipeline.predict(rows))


def test_bundled_family_needs_no_trust(tmp_path):
    dump_pipeline(make_pipeline("svm"), tmp_path / "pipeline.skops")
    assert skops.io.get_untrusted_types(file=tmp_path / "pipeline.skops") == []


def test_other_types_are_refused(tmp_path):
    pipeline = make_pipeline("svm")
    pipeline.steps[1] = ("scale", FunctionTransformer(np.abs))
    dump_pipeline(pipeline, tmp_path / "pipeline.skops")
    with pytest.raises(ModelError, match="does not hold an imputer, a scaler"):
        load_pipeline(tmp_path / "pipeline.skops", NAMES, 3)
