"""Run folders: what is written, what is refused, and that what is read back is what was written."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ser_hf.evaluation import runs
from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import (
    RunError,
    create_run,
    finish_run,
    prediction_frame,
    read_predictions,
    read_run_json,
    write_predictions,
    write_run_json,
)
from ser_hf.labels import LABELS
from tests.predictions import make_predictions, make_table

HOW = pytest.mark.parametrize("how", ["overwrite", "resume"])


@pytest.fixture(scope="module")
def table():
    return make_table(actors=range(1, 5))


@pytest.fixture
def frame(table):
    return make_predictions(table)


def test_create_run_writes_the_environment(tmp_path):
    facts = read_run_json(create_run(tmp_path / "runs" / "new"))
    assert facts["versions"]["numpy"] == np.__version__
    assert {"git_commit", "python", "platform", "processor", "cpu_flags", "cores"} <= set(facts)


def test_create_run_overwrites_or_resumes_only_if_asked(tmp_path):
    assert create_run(tmp_path) == tmp_path  # empty
    (tmp_path / "fold0.txt").write_text("kept")
    with pytest.raises(RunError, match=f"{tmp_path.name}.*--overwrite_output_dir"):
        create_run(tmp_path)
    assert (create_run(tmp_path, resume=True) / "fold0.txt").exists()
    assert not (create_run(tmp_path, overwrite=True) / "fold0.txt").exists()
    with pytest.raises(RunError, match=r"run\.json is a file"):
        create_run(tmp_path / "run.json")


@HOW
def test_create_run_leaves_other_folders_alone(tmp_path, how):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(RunError, match="is no run"):
        create_run(tmp_path, **{how: True})
    assert (tmp_path / "thesis.doc").exists()


@HOW
def test_create_run_takes_a_run_killed_at_its_first_file(tmp_path, how):
    (tmp_path / "run.json.part").write_text('{"versi')
    assert read_run_json(create_run(tmp_path, **{how: True}))["versions"]
    assert not (tmp_path / "run.json.part").exists()


@HOW
def test_create_run_never_resumes_half_a_deletion(tmp_path, monkeypatch, how):
    def killed(path):
        raise KeyboardInterrupt

    folder = create_run(tmp_path / "run")
    (folder / "fold0").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(runs.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            create_run(folder, overwrite=True)
    create_run(folder, **{how: True})
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_run_json_keeps_earlier_fields(tmp_path):
    folder = create_run(tmp_path / "run")
    write_run_json(folder, protocol="actor", seed=np.int64(3), arguments={"path": tmp_path})
    write_run_json(folder, seconds=np.float32(1.5))
    facts = read_run_json(folder)
    assert (facts["protocol"], facts["seed"], facts["seconds"]) == ("actor", 3, 1.5)
    assert facts["arguments"] == {"path": str(tmp_path)}


def test_prediction_frame_has_one_row_per_clip(table):
    probabilities = np.full((2, 8), 0.02)
    probabilities[[0, 1], [4, 0]] = 0.86
    frame = prediction_frame(table, [35, 3], 2, probabilities)
    assert frame["clip"].tolist() == [table[35]["clip"], table[3]["clip"]]
    assert frame["speaker"].tolist() == ["02", "01"]
    assert frame["gender"].tolist() == ["female", "male"]
    assert frame["fold"].tolist() == [2, 2]
    assert frame["emotion"].tolist() == [LABELS[table[35]["emotion"]], LABELS[table[3]["emotion"]]]
    assert frame["predicted"].tolist() == ["angry", "neutral"]
    assert (frame[[f"p_{label}" for label in LABELS]].dtypes == np.float32).all()
    with pytest.raises(RunError, match=r"fold 3: .*\(2, 8\).*\(2, 7\)"):
        prediction_frame(table, [0, 1], 3, np.ones((2, 7)) / 7)


@pytest.mark.parametrize("sharpness", [0.1, 1, 40])
def test_predictions_are_read_as_written(table, tmp_path, sharpness):
    frame = make_predictions(table, sharpness=sharpness)
    write_predictions(tmp_path, frame)
    pd.testing.assert_frame_equal(read_predictions(tmp_path), frame)


def test_finish_run_writes_predictions_metrics_and_plots(frame, tmp_path):
    folder = create_run(tmp_path / "run")
    metrics = finish_run(folder, [frame[frame["fold"] == fold] for fold in (0, 1)])
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics == evaluate_predictions(read_predictions(folder))
    assert {path.name for path in (folder / "plots").iterdir()} == {"confusion.png", "speakers.png", "reliability.png"}
    with pytest.raises(RunError, match="no fold"):
        finish_run(folder, [])


def test_reading_names_what_is_missing(tmp_path):
    with pytest.raises(RunError, match="nowhere"):
        read_predictions(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"no predictions\.parquet"):
        read_predictions(tmp_path)
    with pytest.raises(RunError, match=r"run\.json"):
        read_run_json(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        read_run_json(tmp_path)
    (tmp_path / "predictions.parquet").write_text("clip,emotion")
    with pytest.raises(RunError, match="Parquet"):
        read_predictions(tmp_path)


HALF = np.float32(0.5)
DAMAGES = {
    "columns are missing: speaker": lambda frame: frame.drop(columns=["speaker", "p_sad"]),
    "emotion holds .*: sad": lambda frame: frame.drop(columns=["p_sad"]),
    "no predictions": lambda frame: frame.iloc[:0],
    "predicted holds .*: sadness": lambda frame: frame.assign(predicted=frame["predicted"].replace("sad", "sadness")),
    "emotion holds .*: nan": lambda frame: frame.assign(emotion=[None, *frame["emotion"][1:]]),
    "sum to 1, such as ravdess/03-01": lambda frame: frame.assign(p_sad=HALF * frame["p_sad"]),
    "not sum to 1": lambda frame: frame.assign(p_sad=np.float32("nan")),
    "do not sum to 1": lambda frame: frame.assign(p_sad=-HALF, p_calm=frame["p_calm"] + frame["p_sad"] + HALF),
    "not the most probable label": lambda frame: frame.assign(predicted="sad"),
    "2 clips are .* more than once, such as ravdess/": lambda frame: pd.concat([frame, frame.iloc[:2]]),
    "in the order of neutral": lambda frame: frame[[*frame.columns[:-2], "p_surprised", "p_disgust"]],
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damaged_predictions_are_refused(frame, tmp_path, message):
    damaged = DAMAGES[message](frame)
    with pytest.raises(RunError, match=message):
        write_predictions(tmp_path, damaged)
    assert not any(tmp_path.iterdir())
    damaged.to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(RunError, match=rf"predictions\.parquet: .*{message}"):
        read_predictions(tmp_path)
