"""Robustness: the same clips under every condition, asked of the model that never heard their speakers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from ser_hf import EmotionClassifier
from ser_hf.conditions import CONDITIONS, NO_SPEECH
from ser_hf.corpora import load_corpus
from ser_hf.features import feature_names
from ser_hf.labels import LABELS
from ser_hf.prediction import Prediction
from ser_hf.runs import create_run, prediction_frame, write_predictions
from tests.tiny_models import save_tiny_whisper
from train import robustness, tested_run


@pytest.fixture(scope="module")
def table(corpus_dir):
    return load_corpus("ravdess", corpus_dir).select(range(16))  # two actors


@pytest.fixture
def run(table, tmp_path):
    """A run of two folds, an actor each, with a model each."""
    folder = create_run(tmp_path / "tiny-actor")
    frames = []
    for fold in (0, 1):
        rows = np.arange(8 * fold, 8 * fold + 8)
        frames.append(prediction_frame(table, rows, fold, np.full((8, 8), 1 / 8)))
        save_tiny_whisper(folder / f"fold{fold}" / "model", seed=fold)
    write_predictions(folder, pd.concat(frames))
    return folder


@pytest.fixture(autouse=True)
def three_conditions(monkeypatch):
    chosen = {name: CONDITIONS[name] for name in ("as recorded", "noise 0 dB", "first 1 s")}
    monkeypatch.setattr(robustness, "CONDITIONS", chosen)


def test_each_clip_is_asked_of_its_own_fold_under_every_condition(run, corpus_dir):
    assert robustness.main([str(run), "--data_dir", str(corpus_dir)]) == 0
    found = json.loads((run / "conditions.json").read_text())
    assert list(found) == ["as recorded", "noise 0 dB", "first 1 s"]
    table = load_corpus("ravdess", corpus_dir).select(range(16))
    right = []
    for fold in (0, 1):
        classifier = EmotionClassifier.from_pretrained(run / f"fold{fold}" / "model")
        for row in table.select(range(8 * fold, 8 * fold + 8)):
            right.append(classifier.predict(row["audio"]).label == LABELS[row["emotion"]])
    assert found["as recorded"]["accuracy"] == pytest.approx(np.mean(right))
    assert list(found["as recorded"]) == ["accuracy", "changed", "confidence", "unfamiliar", "answered", "n"]
    assert found["as recorded"]["answered"] == 1.0
    assert found["as recorded"]["n"] == 16


def test_measured_twice_it_is_the_same_and_noise_changes_the_answers(run, corpus_dir):
    first = robustness.measure([run], str(corpus_dir))[run][0]
    (run / "conditions.json").unlink()
    assert robustness.measure([run], str(corpus_dir))[run][0] == first
    assert first["noise 0 dB"]["confidence"] != first["as recorded"]["confidence"]


def test_changed_is_the_share_of_labels_that_differ_from_those_as_recorded(run, corpus_dir):
    folds = [EmotionClassifier.from_pretrained(run / f"fold{fold}" / "model") for fold in (0, 1)]
    table = load_corpus("ravdess", corpus_dir).select(range(16))
    labels = [folds[row // 8].predict(audio).label for row, audio in enumerate(table["audio"])]
    frame = pd.read_parquet(run / "predictions.parquet").assign(predicted=labels)
    frame.to_parquet(run / "predictions.parquet")
    assert robustness.measure([run], str(corpus_dir))[run][0]["as recorded"]["changed"] == 0.0
    other = [*LABELS[1:], LABELS[0]]
    frame.loc[:3, "predicted"] = [other[LABELS.index(label)] for label in labels[:4]]
    frame.to_parquet(run / "predictions.parquet")
    (run / "conditions.json").unlink()
    assert robustness.measure([run], str(corpus_dir))[run][0]["as recorded"]["changed"] == 4 / 16


def test_what_was_measured_already_is_kept_and_each_clip_is_changed_once_for_all_runs(
    run, corpus_dir, tmp_path, monkeypatch
):
    other = shutil.copytree(run, tmp_path / "other-actor")
    together = robustness.measure([run, other], str(corpus_dir))
    assert together[run] == together[other]
    known = together[run][0]["first 1 s"]
    changed = {"as recorded": together[run][0]["as recorded"], "noise 0 dB": {"accuracy": 0.75}}
    (run / "conditions.json").write_text(json.dumps(changed))
    (other / "conditions.json").unlink()
    made = []
    changed_clip = robustness.changed_clip
    monkeypatch.setattr(robustness, "changed_clip", lambda *words: made.append(words[1:]) or changed_clip(*words))
    found = robustness.measure([run, other], str(corpus_dir))
    assert found[run][0]["noise 0 dB"] == {"accuracy": 0.75}
    assert found[run][0]["first 1 s"] == known
    assert found[other] == together[other]
    assert len(made) == len(set(made)) == 3 * 16
    assert json.loads((run / "conditions.json").read_text()) == found[run][0]


def test_it_can_be_asked_in_parts(run, corpus_dir, capsys):
    whole = robustness.measure([run], str(corpus_dir))[run]
    for file in ("conditions.json", "no_speech.json"):
        (run / file).unlink()
    words = [str(run), "--data_dir", str(corpus_dir), "--conditions"]
    assert robustness.main([*words, "noise 0 dB"]) == 0
    assert list(json.loads((run / "conditions.json").read_text())) == ["noise 0 dB"]
    assert not robustness.is_measured(run)
    assert robustness.main([*words, "as recorded,first 1 s"]) == 0
    assert json.loads((run / "conditions.json").read_text()) == whole[0]
    assert robustness.is_measured(run)
    assert robustness.main([*words, "noise 7 dB"]) == 2
    assert "noise 7 dB" in capsys.readouterr().err


def test_what_is_no_voice_is_answered_by_each_fold_and_held_against_how_sure_it_is_of_voices(
    run, corpus_dir, monkeypatch
):
    frame = pd.read_parquet(run / "predictions.parquet")
    columns = [f"p_{label}" for label in LABELS]

    def sure_of_voices(confidence: float) -> dict:
        rest = (1 - confidence) / (len(LABELS) - 1)
        frame[columns] = [[confidence, *[rest] * (len(LABELS) - 1)]] * len(frame)
        frame.to_parquet(run / "predictions.parquet")
        (run / "no_speech.json").unlink(missing_ok=True)
        assert robustness.main([str(run), "--data_dir", str(corpus_dir)]) == 0
        return json.loads((run / "no_speech.json").read_text())

    kinds = {kind: NO_SPEECH[kind] for kind in ("tones", "pauses")} | {
        "nothing": lambda rng: np.zeros(64_000, np.float32)
    }
    monkeypatch.setattr(robustness, "NO_SPEECH", kinds)
    hardly, very = sure_of_voices(0.126), sure_of_voices(0.999)
    assert list(hardly) == ["tones", "pauses", "nothing"]
    for kind, found in hardly.items():
        assert list(found) == ["sure", "confidence", "unfamiliar", "answered", "n"]
        assert found["n"] == (16 if kind == "pauses" else 2 * robustness.SOUNDS_A_KIND)
        # The tiny models are sure of nothing: above one threshold with all that they answer, below the other with all.
        assert found["sure"] == found["answered"]
        assert very[kind] == found | {"sure": 0.0}
    assert hardly["tones"]["answered"] == 1.0
    none = {"sure": 0.0, "confidence": None, "unfamiliar": None, "answered": 0.0, "n": 2 * robustness.SOUNDS_A_KIND}
    assert hardly["nothing"] == none


def test_what_is_hardly_a_voice_is_no_sure_answer_and_strangers_are_counted(run, corpus_dir, monkeypatch):
    monkeypatch.setattr(tested_run.TestedRun, "_load", lambda self, fold, memory: AtADistance())
    monkeypatch.setattr(robustness, "NO_SPEECH", {"hum": NO_SPEECH["hum"], "noise": NO_SPEECH["noise"]})
    held_up, sounds = robustness.measure([run], str(corpus_dir))[run]
    assert {row["unfamiliar"] for row in held_up.values()} == {1.0}
    assert (sounds["hum"]["sure"], sounds["noise"]["sure"]) == (1.0, 0.0)


class AtADistance:
    """Takes everything for a stranger's voice, and noise for none."""

    def predict_many(self, recordings):
        for recording in recordings:
            distance = 2.4 if recording.name == "noise" else 1.2
            yield Prediction(recording.name, "sad", {"sad": 1.0}, 4.0, distance=distance)


def test_a_file_of_what_was_measured_that_cannot_be_read_is_said(run, corpus_dir, capsys):
    (run / "conditions.json").write_text("{")
    assert robustness.main([str(run), "--data_dir", str(corpus_dir)]) == 2
    assert "delete it to measure again" in capsys.readouterr().err


def test_what_gets_no_answer_counts_as_wrong(run, corpus_dir, monkeypatch):
    silent = {"silence": lambda samples, rng: np.zeros_like(samples)}
    monkeypatch.setattr(robustness, "CONDITIONS", silent)
    found = robustness.measure([run], str(corpus_dir))[run][0]
    row = {"accuracy": 0.0, "changed": 1.0, "confidence": None, "unfamiliar": None, "answered": 0.0, "n": 16}
    assert found == {"silence": row}


def test_a_run_without_its_models_is_said(run, corpus_dir, capsys):
    shutil.rmtree(run / "fold1" / "model")
    assert robustness.main([str(run), "--data_dir", str(corpus_dir)]) == 2
    assert "fold1/model is gone" in capsys.readouterr().err
    assert not (run / "conditions.json").exists()


def test_a_clip_that_is_not_in_the_corpus_is_named(run, corpus_dir):
    frame = pd.read_parquet(run / "predictions.parquet")
    frame.loc[3, "clip"] = "03-01-01-01-01-01-77"
    with pytest.raises(robustness.RunError, match="no clip 03-01-01-01-01-01-77"):
        robustness.read_clips(frame, str(corpus_dir))


def test_classical_models_share_the_features_of_a_clip_and_answer_as_they_do_alone(monkeypatch):
    from ser_hf.features import extract
    from ser_hf.models.classical import fit_classical

    rng = np.random.default_rng(0)
    clips = [(rng.normal(size=16_000) * level).astype(np.float32) for level in (0.1, 0.2, 0.3, 0.4)]
    computed = []
    monkeypatch.setattr(tested_run, "extract", lambda clip, groups: computed.append(groups) or extract(clip, groups))
    memory = tested_run.FeatureMemory()
    for groups in (["mfcc", "energy"], ["energy", "pitch", "mfcc"]):
        names = feature_names(groups)
        features = pd.DataFrame([extract(clip, groups) for clip in clips * 5], columns=names)
        model = fit_classical("decision-tree", features, np.array([0, 0, 1, 1] * 5), None, groups, n_jobs=1)
        answers = tested_run.RecallingModel(model, memory).predict_proba(clips)
        np.testing.assert_array_equal(answers, model.predict_proba(clips))
    assert computed == [["mfcc", "energy"]] * 4 + [["pitch"]] * 4
