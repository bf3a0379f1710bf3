"""An output that cannot be written is refused by every command, by name and before anything is computed."""

from __future__ import annotations

import pytest

from ser_hf import predict
from ser_hf.evaluation.runs import write_predictions, write_run_json
from tests.predictions import make_predictions, make_table
from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base
from train import baseline, compare, evaluate, finetune, publish

# Each command, the function that computes, its arguments below the folder of the material, and its exit status.
COMMANDS = {
    "finetune": (finetune, "load_clips", "--base_model {0}/base --data_dir {0}/data --output_dir", 1),
    "baseline": (baseline, "extract_table", "--features energy --data_dir {0}/data --output_dir", 1),
    "evaluate": (evaluate, "predict_clips", "--model {0}/svm --corpora ravdess --data_dir {0}/data --output_dir", 2),
    "compare": (compare, "read_run", "{0}/run0 {0}/run1 --output", 2),
    "publish": (publish, "build_dataset", "--dry_run --dataset user/clips --data_dir {0}/data --output", 2),
    "predict": (predict, "predict_rows", "{0}/data --model {0}/svm --output", 2),
}


@pytest.fixture(scope="module")
def material(tmp_path_factory, tiny_svm):
    folder = tmp_path_factory.mktemp("material")
    make_ravdess(folder / "data" / "ravdess", emotions=("happy", "sad"), seconds=0.5)
    save_tiny_base("whisper", folder / "base")
    (folder / "svm").symlink_to(tiny_svm)
    for seed in (0, 1):
        run = folder / f"run{seed}"
        run.mkdir()
        write_predictions(run, make_predictions(make_table(actors=range(1, 5)), seed=seed))
        write_run_json(run, protocol="actor", model="svm")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_unwritable_output_is_refused_before_computing(material, tmp_path, monkeypatch, capsys, name):
    command, computing, words, status = COMMANDS[name]

    def computed(*args, **kwargs):
        raise AssertionError("it computes first")

    monkeypatch.setattr(command, computing, computed)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")  # below a file, not even root can create anything
    assert command.main([*words.format(material).split(), str(blocked / "results")]) == status
    error = capsys.readouterr().err
    assert str(blocked) in error
    assert "Traceback" not in error
