"""Recipes that are run one after the other: their commands, and what is told of those that are kept."""

from __future__ import annotations

import pytest

from tests.train.test_leaderboard import finished_run
from train.arguments import read_recipe
from train.jobs import Job, keep, run_jobs, with_base_model

SVM = Job("svm-actor", "svm", "actor", "baseline", {})
WHISPER = Job("whisper-actor-seed42", "whisper", "actor", "finetune", {"weighted_layer_sum": True, "speed": 0.2})


def test_a_command_names_recipe_protocol_and_what_is_told_beside(tmp_path):
    line = " ".join(WHISPER.command_line(tmp_path / "new"))
    assert f"-m train.finetune --recipe {WHISPER.recipe} --protocol actor --output_dir {tmp_path}/new" in line
    assert line.endswith("--weighted_layer_sum true --speed 0.2")
    assert WHISPER.recipe.is_file()


def test_what_broke_off_goes_on_or_is_made_anew(tmp_path):
    assert WHISPER.command_line(tmp_path)[-2:] == ["--resume_from_checkpoint", "true"]
    assert SVM.command_line(tmp_path)[-1] == "--overwrite_output_dir"


@pytest.mark.parametrize(("job", "has_one"), [(SVM, False), (WHISPER, True)])
def test_a_local_copy_goes_to_what_has_a_pretrained_model(job, has_one):
    assert ("base_model" in with_base_model(job, "folder").arguments) == has_one
    assert with_base_model(job, None) is job


@pytest.mark.parametrize(("seed", "changed"), [(0, ["conditions.json"]), (1, ["conditions.json", "run.json"])])
def test_a_run_made_again_adds_what_it_was_asked_and_replaces_what_it_answered_otherwise(tmp_path, seed, changed):
    kept = tmp_path / "kept"
    keep(finished_run(tmp_path / "first"), kept)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    again = finished_run(tmp_path / "again", seed=seed, seconds=1.0)
    (again / "conditions.json").write_text("{}")
    keep(again, kept)
    after = {path.name: path.read_bytes() for path in kept.iterdir()}
    files = {"conditions.json", "run.json"}
    assert sorted(name for name in files if after.get(name) != before.get(name)) == changed


def test_what_is_kept_names_no_folder_of_the_machine_that_ran_it(tmp_path):
    arguments = {
        "base_model": "/home/ann/whisper",
        "base_model_id": "openai/whisper-base",
        "data_dir": "/home/ann/data",
    }
    keep(finished_run(tmp_path / "run", arguments=arguments), tmp_path / "kept")
    text = (tmp_path / "kept" / "run.json").read_text()
    assert "/home" not in text
    assert '"base_model": "openai/whisper-base"' in text


def test_a_kept_run_of_an_older_recipe_is_told(tmp_path, capsys):
    kept = finished_run(tmp_path / WHISPER.name, arguments={"max_steps": 3, "speed": 0.2, "corpora": "ravdess"})
    assert run_jobs([WHISPER], tmp_path / "runs", kept.parent) == []
    told = capsys.readouterr().err
    assert f"max_steps 3 (recipe: {read_recipe(WHISPER.recipe)['max_steps']})" in told
    assert "speed" not in told
