"""The evaluate command: a model folder and a corpus in, a run folder out."""

from __future__ import annotations

import json
import shutil

import pytest
import soundfile

import train.evaluate
from ser_hf.classifier import EmotionClassifier
from ser_hf.evaluation.runs import read_predictions, read_run_json
from ser_hf.hub import trained_on
from ser_hf.labels import LABELS
from tests.corpora.trees import make_emodb, make_savee
from tests.synthetic import make_ravdess
from train.evaluate import main


def run(model, data_dir, folder, *more):
    return main(
        ["--model", str(model), "--corpora", "ravdess", "--data_dir", str(data_dir), "--output_dir", str(folder), *more]
    )


@pytest.fixture(scope="module")
def run_folder(tiny_whisper, corpus_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny-cross"
    assert run(tiny_whisper, corpus_dir, folder) == 0
    return folder


def test_run_folder_has_predictions_and_record(run_folder, tiny_whisper, corpus_dir):
    frame = read_predictions(run_folder)
    assert len(frame) == 24 * 8
    assert (frame["fold"] == 0).all()
    row = frame.iloc[17]
    clip = next((corpus_dir / "ravdess").rglob(f"{row['clip']}.*"))
    scores = EmotionClassifier.from_pretrained(tiny_whisper).predict(clip).scores
    assert row[[f"p_{label}" for label in LABELS]].tolist() == pytest.approx(list(scores.values()), abs=1e-4)
    facts = read_run_json(run_folder)
    assert (facts["protocol"], facts["model"], facts["failed"]) == ("cross", "tiny", [])
    assert facts["command"].startswith(f"python -m train.evaluate --model {tiny_whisper}")
    assert facts["arguments"]["corpora"] == ["ravdess"]
    assert set(facts["corpus_fingerprint"]) == {"ravdess"}
    assert json.loads((run_folder / "metrics.json").read_text())["n_clips"] == 24 * 8


@pytest.fixture
def two_actors(tmp_path, monkeypatch):
    """A data folder with 16 clips of two actors, and a loader that asks for no more."""
    make_ravdess(tmp_path / "ravdess", actors=[1, 2])
    load = train.evaluate.load_corpus
    monkeypatch.setattr(train.evaluate, "load_corpus", lambda name, data_dir: load(name, data_dir, actors=[1, 2]))
    return tmp_path


def test_run_lists_clips_that_cannot_be_used(tiny_whisper, two_actors, tmp_path, capsys):
    silent, short = sorted((two_actors / "ravdess" / "Actor_02").iterdir())[:2]
    soundfile.write(silent, [0.0] * 16_000, 16_000)
    soundfile.write(short, [0.1, -0.1] * 400, 16_000)
    assert run(tiny_whisper, two_actors, tmp_path / "run") == 0
    assert short.name in capsys.readouterr().out
    assert len(read_predictions(tmp_path / "run")) == 14
    failed = read_run_json(tmp_path / "run")["failed"]
    assert [one["clip"] for one in failed] == [silent.stem, short.stem]
    assert short.name in failed[1]["error"]


def test_run_warns_of_training_corpora(tiny_whisper, two_actors, tmp_path, capsys):
    copy = shutil.copytree(tiny_whisper, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    for value in (["emodb", "ravdess"], ["emodb"], []):  # an empty list: config.json does not say
        (copy / "config.json").write_text(json.dumps(config | {"trained_on": value}))
        assert run(copy, two_actors, tmp_path / "run", "--overwrite_output_dir") == 0
        assert ("warning" in capsys.readouterr().err) == (value != ["emodb"])
        assert read_run_json(tmp_path / "run")["heard_in_training"] == [name for name in value if name == "ravdess"]


@pytest.mark.filterwarnings("ignore:.*of the official record")
def test_run_takes_several_corpora(tiny_whisper, tmp_path, capsys):
    make_emodb(tmp_path / "emodb", letters="WLN")
    make_savee(tmp_path / "savee")
    words = ["--model", str(tiny_whisper), "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "run")]
    with pytest.warns(UserWarning, match="emodb: 10 clips of boredom were left out"):
        assert main([*words, "--corpora", "emodb,savee"]) == 0
    frame = read_predictions(tmp_path / "run")
    assert frame["corpus"].value_counts().to_dict() == {"emodb": 20, "savee": 28}
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["n_speakers"] == 14
    assert set(metrics["per_speaker"]) >= {"emodb/03", "savee/DC"}
    assert metrics["per_intensity"] == {}  # neither corpus has any
    assert read_run_json(tmp_path / "run")["arguments"]["corpora"] == ["emodb", "savee"]


def test_trained_on_reads_config_of_every_version(tmp_path):
    for config, expected in (
        ({"trained_on": ["tess"], "learned_from": ["ravdess"], "corpora": ["emodb"]}, ["tess"]),
        ({"corpora": "ravdess,tess"}, ["ravdess", "tess"]),
        ({"learned_from": 7}, None),
        ({"trained_on": []}, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert trained_on(tmp_path) == expected


def test_main_names_what_is_missing(tiny_whisper, tmp_path, capsys):
    for changed, missing in (("--model", "models/none"), ("--corpora", "ravdes")):
        usual = {"--model": str(tiny_whisper), "--corpora": "ravdess", "--output_dir": str(tmp_path / "run")}
        assert main([word for pair in (usual | {changed: missing}).items() for word in pair]) == 2
        assert repr(missing) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
