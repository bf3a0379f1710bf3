"""A clip that disappears or is damaged while a command runs: it is named, and the run resumes when it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_hf.corpora import CorpusError, corpus_fingerprint, load_corpus
from ser_hf.evaluation.runs import read_predictions, read_run_json
from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base
from tests.tiny_models import save_tiny_svm
from train import baseline, evaluate, finetune, finetune_fold

FINETUNE = ["--window_seconds", "1", "--num_layers", "2", "--frozen_layers", "1", "--num_train_epochs", "1"]
FINETUNE += ["--folds", "0,3", "--per_device_train_batch_size", "32", "--precision", "float32"]
BASELINE = ["--model", "decision-tree", "--features", "energy", "--folds", "0,3", "--importance_repeats", "0"]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    make_ravdess(tmp_path / "data" / "ravdess", emotions=("happy", "sad", "angry"), seconds=1.0)
    return ["--data_dir", str(tmp_path / "data")]


@pytest.fixture
def clip(data: list[str], tmp_path: Path) -> Path:
    """A test clip of fold 3."""
    return sorted(tmp_path.glob("data/ravdess/Actor_08/*.wav"))[0]


@pytest.fixture(params=["missing", "damaged"])
def lose(request: pytest.FixtureRequest, clip: Path):
    """A function that loses the clip; called again, it brings it back."""

    def toggle() -> None:
        kept = clip.with_suffix(".kept")
        if kept.exists():
            kept.rename(clip)
        else:
            clip.rename(kept)
            if request.param == "damaged":
                clip.write_bytes(b"no audio")

    return toggle


def before(function, action, call=1):
    """The function, with an action before its n-th call."""
    calls = []

    def changed(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            action()
        return function(*args, **kwargs)

    return changed


@pytest.mark.slow
def test_finetune_resumes_when_a_lost_clip_is_back(data, clip, lose, tmp_path, monkeypatch, capsys):
    words = ["--base_model", str(save_tiny_base("whisper", tmp_path / "base")), *data, *FINETUNE, "--output_dir"]
    assert finetune.main([*words, str(tmp_path / "whole")]) == 0
    resume = [*words, str(tmp_path / "run"), "--resume_from_checkpoint", "true"]
    with monkeypatch.context() as patch:
        patch.setattr(finetune_fold, "conclude", before(finetune_fold.conclude, lose, call=2))
        assert finetune.main(resume[:-2]) == 2
    assert str(clip) in capsys.readouterr().err
    assert finetune.main(resume) == 2  # kept results of the other clips are not taken for this corpus
    lose()
    assert finetune.main(resume) == 0
    for name in ("predictions.parquet", "fold3/model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_baseline_names_a_lost_clip(data, clip, lose, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path / "cache"))
    words = [*data, *BASELINE, "--n_jobs", "1", "--output_dir", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(baseline, "extract_table", before(baseline.extract_table, lose))
        assert baseline.main(words) == 2
    assert str(clip) in capsys.readouterr().err
    assert list((tmp_path / "cache" / "features").glob("*.npz"))  # of the other clips
    lose()
    assert baseline.main([*words, "--overwrite_output_dir"]) == 0


def test_evaluate_lists_a_lost_clip(data, clip, lose, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "predict_table", before(evaluate.predict_table, lose))
    model, folder = save_tiny_svm(tmp_path / "svm"), tmp_path / "run"
    assert evaluate.main(["--model", str(model), "--corpora", "ravdess", *data, "--output_dir", str(folder)]) == 0
    (failed,) = read_run_json(folder)["failed"]
    assert failed["clip"] == clip.stem
    assert str(clip) in failed["error"]
    assert clip.stem not in set(read_predictions(folder)["clip"])


def test_corpus_fingerprint_names_a_missing_clip(data, clip, tmp_path):
    table = load_corpus("ravdess", tmp_path / "data")
    clip.unlink()
    with pytest.raises(CorpusError, match=str(clip)):
        corpus_fingerprint(table)
