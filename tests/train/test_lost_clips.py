"""A clip that vanishes or turns into rubbish in the middle: named, nothing lost, the same end once it is back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ser_hf.corpora import CorpusError, corpus_fingerprint, load_corpus
from ser_hf.runs import read_predictions, read_run_json
from tests.tiny_models import save_tiny_svm
from tests.train import killed
from train import baseline, evaluate, finetune, finetune_fold

BASELINE = ["--model", "decision-tree", "--features", "energy", "--folds", "0,3", "--importance_repeats", "0"]


@pytest.fixture
def common(tmp_path):
    return killed.prepare(tmp_path)


@pytest.fixture
def clip(common, tmp_path):
    """One that fold 3 tests."""
    return sorted(tmp_path.glob("data/ravdess/Actor_08/*.wav"))[0]


def spoil(clip: Path, how: str) -> None:
    clip.rename(clip.with_suffix(".kept"))
    if how == "rubbish":
        clip.write_bytes(b"rubbish")


def bring_back(clip: Path) -> None:
    clip.with_suffix(".kept").rename(clip)


def before(function, action):
    """The function, with an action before its second call."""
    calls = []

    def changed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            action()
        return function(*args, **kwargs)

    return changed


def at_once(function, action):
    def changed(*args, **kwargs):
        action()
        return function(*args, **kwargs)

    return changed


@pytest.mark.slow
@pytest.mark.parametrize("how", ["gone", "rubbish"])
def test_a_clip_lost_between_training_and_testing_is_named_and_the_run_goes_on_when_it_is_back(
    common, clip, tmp_path, monkeypatch, capsys, how
):
    words = [*common, *killed.RECIPES["gradient"], "--output_dir"]
    assert finetune.main([*words, str(tmp_path / "unbroken")]) == 0
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(finetune_fold, "conclude", before(finetune_fold.conclude, lambda: spoil(clip, how)))
        assert finetune.main([*words, str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"error: {clip}: " in error
    assert "--resume_from_checkpoint true" in error
    assert (folder / "fold0" / "fold.json").is_file()
    # Without the clip, what is kept of the others would be taken for that of their neighbours.
    resume = [*words, str(folder), "--resume_from_checkpoint", "true"]
    assert finetune.main(resume) == 2
    told = str(clip) if how == "rubbish" else f"{folder} was started on other clips"
    assert told in capsys.readouterr().err
    bring_back(clip)
    assert finetune.main(resume) == 0
    assert killed.difference(killed.content(tmp_path / "unbroken"), killed.content(folder)) == ""


@pytest.mark.parametrize("how", ["gone", "rubbish"])
def test_a_clip_lost_before_it_is_heard_is_named(common, clip, tmp_path, monkeypatch, capsys, how):
    words = [*common, *killed.RECIPES["gradient"], "--output_dir", str(tmp_path / "run")]
    monkeypatch.setattr(finetune, "load_clips", at_once(finetune.load_clips, lambda: spoil(clip, how)))
    assert finetune.main(words) == 2
    assert f"error: {clip}: " in capsys.readouterr().err


@pytest.mark.parametrize("how", ["gone", "rubbish"])
def test_the_baseline_names_a_lost_clip_and_keeps_the_features_of_the_others(
    common, clip, tmp_path, monkeypatch, capsys, how
):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path / "cache"))
    words = [*common[2:4], *BASELINE, "--n_jobs", "1", "--output_dir"]
    assert baseline.main([*words, str(tmp_path / "unbroken"), "--no_cache"]) == 0
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(baseline, "extract_table", at_once(baseline.extract_table, lambda: spoil(clip, how)))
        assert baseline.main([*words, str(folder)]) == 2
    assert f"error: {clip}: " in capsys.readouterr().err
    assert len(list((tmp_path / "cache" / "features").glob("*.npz"))) > 0
    bring_back(clip)
    assert baseline.main([*words, str(folder), "--overwrite_output_dir"]) == 0
    for name in ("predictions.parquet", "fold0/model/config.json", "fold3/model/config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_a_clip_lost_while_a_model_is_tested_is_told_among_those_that_failed(common, clip, tmp_path, monkeypatch):
    predict = at_once(evaluate.predict_table, lambda: spoil(clip, "gone"))
    monkeypatch.setattr(evaluate, "predict_table", predict)
    model, folder = save_tiny_svm(tmp_path / "svm"), tmp_path / "run"
    words = ["--model", str(model), "--corpora", "ravdess", *common[2:4], "--output_dir", str(folder)]
    assert evaluate.main(words) == 0
    (failed,) = read_run_json(folder)["failed"]
    assert failed["clip"] == clip.stem
    assert str(clip) in failed["error"]
    assert clip.stem not in set(read_predictions(folder)["clip"])


def test_a_fingerprint_without_a_file_is_refused_in_words(common, clip, tmp_path):
    table = load_corpus("ravdess", tmp_path / "data")
    shutil.move(clip, tmp_path)
    with pytest.raises(CorpusError, match=f"{clip} cannot be read: No such file"):
        corpus_fingerprint(table)
