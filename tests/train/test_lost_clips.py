"""A clip that disappears or is damaged while a command runs: it is named, and the run resumes when it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_hf.corpora import CorpusError, corpus_fingerprint, load_corpus
from ser_hf.evaluation.runs import read_predictions, read_run_json
from tests.synthetic import make_ravdess
from tests.tiny_bases import save_tiny_base
from train import baseline, evaluate, finetune, finetune_fold

FINETUNE = ["--window_seconds", "1", "--num_layers", "1", "--num_train_epochs", "0", "--folds", "0,3"]
BASELINE = ["--model", "decision-tree", "--features", "energy", "--folds", "0", "--importance_repeats", "0"]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    make_ravdess(tmp_path / "data" / "ravdess", emotions=("happy", "sad", "angry"), seconds=1.0)
    return ["--data_dir", str(tmp_path / "data")]


@pytest.fixture
def clip(data: list[str], tmp_path: Path) -> Path:
    """A test clip of fold 3."""
    return sorted(tmp_path.glob("data/ravdess/Actor_08/*.wav"))[0]


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
def test_finetune_resumes_when_a_lost_clip_is_back(data, clip, tmp_path, monkeypatch, capsys):
    words = ["--base_model", str(save_tiny_base("whisper", tmp_path / "base")), *data, *FINETUNE]
    words += ["--output_dir", str(tmp_path / "run")]
    kept = clip.with_suffix(".kept")
    with monkeypatch.context() as patch:
        patch.setattr(finetune_fold, "conclude", before(finetune_fold.conclude, lambda: clip.rename(kept), call=2))
        assert finetune.main(words) == 2
    assert str(clip) in capsys.readouterr().err
    resume = [*words, "--resume_from_checkpoint", "true"]
    assert finetune.main(resume) == 2  # kept results of the other clips are not taken for this corpus
    kept.rename(clip)
    first = tmp_path / "run/fold0/fold.json"
    written = first.stat().st_mtime_ns
    assert finetune.main(resume) == 0
    assert first.stat().st_mtime_ns == written
    assert clip.stem in set(read_predictions(tmp_path / "run")["clip"])


def test_baseline_names_a_damaged_clip(data, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path / "cache"))
    words = [*data, *BASELINE, "--n_jobs", "1", "--output_dir", str(tmp_path / "run")]
    content = clip.read_bytes()
    with monkeypatch.context() as patch:
        damage = before(baseline.extract_table, lambda: clip.write_bytes(b"no audio"))
        patch.setattr(baseline, "extract_table", damage)
        assert baseline.main(words) == 2
    assert str(clip) in capsys.readouterr().err
    assert list((tmp_path / "cache" / "features").glob("*.npz"))  # of the other clips
    clip.write_bytes(content)
    assert baseline.main([*words, "--overwrite_output_dir"]) == 0


def test_evaluate_lists_a_lost_clip(data, clip, tiny_svm, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "predict_clips", before(evaluate.predict_clips, clip.unlink))
    folder = tmp_path / "run"
    assert evaluate.main(["--model", str(tiny_svm), "--corpora", "ravdess", *data, "--output_dir", str(folder)]) == 0
    (failed,) = read_run_json(folder)["failed"]
    assert failed["clip"] == clip.stem
    assert str(clip) in failed["error"]
    assert clip.stem not in set(read_predictions(folder)["clip"])


def test_corpus_fingerprint_names_a_missing_clip(data, clip, tmp_path):
    table = load_corpus("ravdess", tmp_path / "data")
    clip.unlink()
    with pytest.raises(CorpusError, match=str(clip)):
        corpus_fingerprint(table)
