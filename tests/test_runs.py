"""Run folders: what is written, what is refused, and that what is read back is what was written."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_hf import runs
from ser_hf.files import write_json
from ser_hf.labels import LABELS
from ser_hf.metrics import evaluate_predictions
from ser_hf.runs import (
    RunError,
    create_run,
    finish_run,
    prediction_frame,
    read_predictions,
    read_run_json,
    write_predictions,
    write_run_json,
)
from tests.predictions import make_predictions, make_table


@pytest.fixture(scope="module")
def table():
    return make_table(actors=range(1, 5))


@pytest.fixture
def frame(table):
    return make_predictions(table)


def test_a_new_run_knows_its_environment(tmp_path):
    folder = create_run(tmp_path / "runs" / "new")
    facts = read_run_json(folder)
    assert facts["versions"]["numpy"] == np.__version__
    assert {"git_commit", "python", "platform", "processor", "cpu_flags", "cores"} <= set(facts)


def test_a_run_folder_that_exists_is_refused(tmp_path):
    create_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"run exists and is not empty.*--overwrite_output_dir"):
        create_run(tmp_path / "run")


def test_an_empty_folder_may_be_used(tmp_path):
    assert create_run(tmp_path) == tmp_path


def test_overwrite_empties_and_resume_keeps(tmp_path):
    folder = create_run(tmp_path / "run")
    (folder / "fold0.txt").write_text("kept")
    assert (create_run(folder, resume=True) / "fold0.txt").exists()
    assert not (create_run(folder, overwrite=True) / "fold0.txt").exists()


@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path, how):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(RunError, match="is no run"):
        create_run(tmp_path, **{how: True})
    assert (tmp_path / "thesis.doc").exists()


@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_a_run_that_was_killed_while_it_wrote_its_first_file_is_taken_up(tmp_path, how):
    (tmp_path / "run.json.part").write_text('{"versi')
    assert read_run_json(create_run(tmp_path, **{how: True}))["versions"]
    assert not (tmp_path / "run.json.part").exists()


@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_a_deletion_that_was_killed_is_finished_and_nothing_goes_on_from_its_rest(tmp_path, monkeypatch, how):
    class KilledError(Exception):
        pass

    def killed(path):
        raise KilledError

    folder = create_run(tmp_path / "run")
    for fold in ("fold0", "fold1"):
        (folder / fold).mkdir()
        write_json(folder / fold / "fold.json", {})
    with monkeypatch.context() as patch:
        patch.setattr(runs.shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            create_run(folder, overwrite=True)
    assert list(folder.glob("fold?"))
    create_run(folder, **{how: True})
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert "deleted" not in read_run_json(folder)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="run is a file"):
        create_run(tmp_path / "run")


def test_run_json_keeps_earlier_fields_and_takes_numpy_values(tmp_path):
    folder = create_run(tmp_path / "run")
    write_run_json(folder, protocol="actor", seed=np.int64(3), arguments={"path": tmp_path})
    write_run_json(folder, seconds=np.float32(1.5))
    facts = read_run_json(folder)
    assert (facts["protocol"], facts["seed"], facts["seconds"]) == ("actor", 3, 1.5)
    assert facts["arguments"] == {"path": str(tmp_path)}


def test_prediction_frame_says_who_spoke_and_what_was_answered(table):
    probabilities = np.full((2, 8), 0.02)
    probabilities[[0, 1], [4, 0]] = 0.86
    frame = prediction_frame(table, [35, 3], 2, probabilities)
    assert frame["clip"].tolist() == [table[35]["clip"], table[3]["clip"]]
    assert frame["speaker"].tolist() == ["02", "01"]
    assert frame["gender"].tolist() == ["female", "male"]
    assert frame["fold"].tolist() == [2, 2]
    assert frame["emotion"].tolist() == [LABELS[table[35]["emotion"]], LABELS[table[3]["emotion"]]]
    assert frame["predicted"].tolist() == ["angry", "neutral"]
    assert [column for column in frame if column.startswith("p_")] == [f"p_{label}" for label in LABELS]
    assert (frame.filter(like="p_").dtypes == np.float32).all()


def test_prediction_frame_refuses_probabilities_of_a_wrong_shape(table):
    with pytest.raises(RunError, match=r"fold 3: 2 clips need probabilities of shape \(2, 8\), not \(2, 7\)"):
        prediction_frame(table, [0, 1], 3, np.ones((2, 7)) / 7)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), skill=st.floats(0, 4), sharpness=st.floats(0.1, 40))
def test_what_is_written_is_read_back(table, tmp_path_factory, seed, skill, sharpness):
    folder = tmp_path_factory.mktemp("run")
    frame = make_predictions(table, skill, seed, sharpness)
    write_predictions(folder, frame)
    pd.testing.assert_frame_equal(read_predictions(folder), frame)


def test_finish_run_writes_predictions_metrics_and_plots(table, tmp_path):
    frame = make_predictions(table)
    folder = create_run(tmp_path / "run")
    metrics = finish_run(folder, [frame[frame["fold"] == 0], frame[frame["fold"] == 1]])
    assert (
        json.loads((folder / "metrics.json").read_text()) == metrics == evaluate_predictions(read_predictions(folder))
    )
    assert (folder / "predictions.parquet").stat().st_size < 20_000
    assert {path.name for path in (folder / "plots").iterdir()} == {"confusion.png", "speakers.png", "reliability.png"}


def test_finish_run_without_folds_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no fold was tested"):
        finish_run(tmp_path, [])


def test_reading_what_is_not_there_is_explained(tmp_path):
    with pytest.raises(RunError, match=r"there is no run folder .*nowhere"):
        read_predictions(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"holds no predictions\.parquet"):
        read_predictions(tmp_path)
    with pytest.raises(RunError, match=r"cannot read .*run\.json"):
        read_run_json(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        read_run_json(tmp_path)
    (tmp_path / "predictions.parquet").write_text("clip,emotion")
    with pytest.raises(RunError, match="cannot be read as Parquet"):
        read_predictions(tmp_path)


def _drop(frame):
    return frame.drop(columns=["speaker", "p_sad"])


def _rename_label(frame):
    return frame.assign(predicted=frame["predicted"].replace("sad", "sadness"))


def _no_truth(frame):
    return frame.assign(emotion=[None, *frame["emotion"][1:]])


def _halve(frame):
    return frame.assign(p_sad=np.float32(0.5) * frame["p_sad"])


def _nan(frame):
    return frame.assign(p_sad=np.float32("nan"))


def _negative(frame):
    return frame.assign(p_sad=np.float32(-0.5), p_calm=frame["p_calm"] + frame["p_sad"] + np.float32(0.5))


def _wrong_answer(frame):
    return frame.assign(predicted="sad")


def _twice(frame):
    return pd.concat([frame, frame.iloc[:2]])


def _reorder(frame):
    return frame[[*frame.columns[:-2], "p_surprised", "p_disgust"]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop, "columns are missing: speaker, p_sad"),
        (lambda frame: frame.iloc[:0], "there are no predictions"),
        (_rename_label, "column predicted holds unknown labels: sadness"),
        (_no_truth, "column emotion holds unknown labels"),
        (_halve, "do not sum to 1, such as ravdess/03-01"),
        (_nan, "do not sum to 1"),
        (_negative, "do not sum to 1"),
        (_wrong_answer, "are not the most probable label"),
        (_twice, "2 clips are there more than once, such as ravdess/03-01"),
        (_reorder, "in this order"),
    ],
)
def test_a_damaged_table_is_refused_with_the_reason(frame, tmp_path, damage, message):
    damaged = damage(frame)
    with pytest.raises(RunError, match=message):
        write_predictions(tmp_path, damaged)
    assert not any(tmp_path.iterdir())
    damaged.to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(RunError, match=rf"predictions\.parquet: .*{message}"):
        read_predictions(tmp_path)
