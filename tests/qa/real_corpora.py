"""What only RAVDESS itself can show: accuracy on unseen speakers, and that fast paths agree; needs $SER_HF_DATA."""

from __future__ import annotations

from experiments.speed import MAX_DIFFERENCE, SAME_LABEL, compare_fast_paths
from ser_hf.classifier import DEFAULT_MODEL
from ser_hf.evaluation.runs import read_predictions
from train.baseline import main


def test_svm_on_unseen_actors(real_data, tmp_path):
    folder = tmp_path / "run"
    groups = "energy,zcr,spectral,covariance"
    assert main(["--data_dir", str(real_data), "--output_dir", str(folder), "--folds", "0", "--features", groups]) == 0
    frame = read_predictions(folder)
    assert sorted(frame["speaker"].unique()) == ["02", "05", "14", "15", "16"]
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.45


def test_fast_paths_agree_with_float32(real_data, tmp_path):
    """Every fortieth clip; ``python -m experiments.speed --only exactness`` compares all of them."""
    rows = compare_fast_paths(DEFAULT_MODEL, real_data, 40, tmp_path)
    assert {path for path, *_ in rows} == {"bfloat16", "onnx"}
    for path, clips, largest, same in rows:
        assert largest <= MAX_DIFFERENCE, path
        assert same >= min(SAME_LABEL, 1 - 1 / clips), path  # of so few clips, one may differ
