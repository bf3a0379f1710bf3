"""Where results cannot be written: told in words, before anything is computed, by every command that writes some.

Below a file, and below /proc, nobody can make a folder or a file, the administrator no more than others.
"""

from __future__ import annotations

import pytest

from ser_hf import predict
from ser_hf.runs import write_predictions, write_run_json
from tests.predictions import make_predictions, make_table
from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_svm
from train import baseline, compare, evaluate, finetune, publish


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    make_ravdess(folder / "data" / "ravdess", emotions=("happy", "sad"), seconds=0.5)
    save_tiny_base("whisper", folder / "base")
    save_tiny_svm(folder / "svm")
    for seed in (0, 1):
        run = folder / f"run{seed}"
        run.mkdir()
        write_predictions(run, make_predictions(make_table(actors=range(1, 5)), seed=seed))
        write_run_json(run, protocol="actor", model="svm")
    return folder


def command_lines(material):
    data, svm = ["--data_dir", str(material / "data")], str(material / "svm")
    return {
        "finetune": (finetune, ["--base_model", str(material / "base"), *data, "--output_dir"], 1),
        "baseline": (baseline, ["--features", "energy", *data, "--output_dir"], 1),
        "evaluate": (evaluate, ["--model", svm, "--corpora", "ravdess", *data, "--output_dir"], 2),
        "compare": (compare, [str(material / "run0"), str(material / "run1"), "--output"], 2),
        "publish": (publish, ["--dry_run", "--dataset", "user/clips", *data, "--output"], 2),
        "predict": (predict, [str(material / "data"), "--model", svm, "--output"], 2),
    }


@pytest.mark.parametrize("name", ["finetune", "baseline", "evaluate", "compare", "publish", "predict"])
@pytest.mark.parametrize("where", ["below a file", "/proc"])
def test_an_output_that_cannot_be_written_is_told_in_words_before_anything_is_computed(
    material, tmp_path, monkeypatch, capsys, name, where
):
    (tmp_path / "file").write_text("no folder")
    target = str(tmp_path / "file" / "results") if where == "below a file" else "/proc/ser_hf-results/of/a/run"
    command, words, status = command_lines(material)[name]

    def computed(*args, **kwargs):
        raise AssertionError("it computes first")

    for module, function in ((finetune, "load_clips"), (baseline, "extract_table"), (evaluate, "predict_table")):
        monkeypatch.setattr(module, function, computed)
    monkeypatch.setattr(compare, "read_run", computed)
    monkeypatch.setattr(publish, "build_dataset", computed)
    monkeypatch.setattr(predict, "predict_rows", computed)
    assert command.main([*words, target]) == status
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert target.rsplit("/", 3)[0] in error or target.rsplit("/", 1)[0] in error
