"""Own recordings through the commands: trained, tested with speakers apart, and used as any model."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import soundfile
from transformers import pipeline

from ser_hf import EmotionClassifier, embed, predict
from ser_hf.evaluation.runs import read_predictions
from ser_hf.models import ModelError
from ser_hf.models.familiarity import fit_familiarity, save_familiarity
from ser_hf.models.neural import load_neural
from tests.synthetic import make_clip
from train import baseline, evaluate, finetune

MADE_AS = {"bored": "sad", "glad": "happy", "cross": "angry"}
PATTERN = r"/(\d+)-"
SPEAKERS = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder per label, with two clips of each of six speakers in each."""
    folder = tmp_path_factory.mktemp("own") / "clips"
    for label, emotion in MADE_AS.items():
        (folder / label).mkdir(parents=True)
        for speaker in range(1, SPEAKERS + 1):
            for take in (1, 2):
                samples = make_clip(emotion, speaker, seconds=0.8 + 0.1 * take)
                soundfile.write(folder / label / f"{speaker}-{take}.wav", samples, 16_000)
    return folder


@pytest.fixture(scope="module")
def run(clips, tiny_whisper, tmp_path_factory):
    """A cross-validated run on embeddings, and the model that was fitted on all clips."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--dataset", str(clips), "--speaker_pattern", PATTERN, "--features", "embeddings"]
    words += ["--base_model", str(tiny_whisper), "--n_jobs", "1"]
    assert baseline.main([*words, "--output_dir", str(folder / "tested")]) == 0
    full = ["--protocol", "full", "--reference_run", str(folder / "tested"), "--output_dir", str(folder / "full")]
    assert baseline.main([*words, *full]) == 0
    return folder


def test_group_protocol_keeps_speakers_apart(run):
    record, frame = json.loads((run / "tested/run.json").read_text()), read_predictions(run / "tested")
    assert (record["protocol"], len(record["folds"])) == ("group", 5)
    assert len(frame) == 36
    assert (frame.groupby("speaker")["fold"].nunique() == 1).all()
    assert [name for name in frame if name.startswith("p_")] == ["p_bored", "p_cross", "p_glad"]


def test_embeddings_model_is_a_stock_network(run, clips):
    folder, clip = run / "full/model", clips / "glad/1-1.wav"
    config = json.loads((folder / "config.json").read_text())
    assert sorted(config["label2id"]) == sorted(MADE_AS)
    assert 0 <= config["answer_threshold"] <= 1
    samples, _ = soundfile.read(clip, dtype="float32")
    stock = {one["label"]: one["score"] for one in pipeline("audio-classification", model=str(folder))(samples)}
    classifier = EmotionClassifier.from_pretrained(folder)
    ours = dict(zip(classifier.labels, classifier.probabilities([samples])[0], strict=True))
    assert stock == pytest.approx(ours, abs=1e-4)
    card = (folder / "README.md").read_text()
    assert "RAVDESS" not in card
    assert "bored" in card


def test_embeddings_model_predicts_as_its_run(run, clips):
    """The head in the saved network gives what the pipeline on embeddings gave, on clips that are one window."""
    frame = read_predictions(run / "tested").set_index("clip")
    fold = frame["fold"].iloc[0]
    classifier = EmotionClassifier.from_pretrained(run / f"tested/fold{fold}/model")
    for clip in frame.index[frame["fold"] == fold]:
        scores = classifier.predict(clips / clip).scores
        assert scores == pytest.approx({label: frame.loc[clip, f"p_{label}"] for label in MADE_AS}, abs=0.02)


def test_embeddings_model_takes_its_clips_as_in_domain(clips, tiny_whisper, tmp_path):
    """The out-of-domain score is that of the base, made smaller where own recordings are far from its training data."""
    base = shutil.copytree(tiny_whisper, tmp_path / "base")
    files = sorted(clips.rglob("*.wav"))
    rng = np.random.default_rng(0)
    states = load_neural(base).mean_states([np.zeros(16_000, np.float32)], 1) + rng.normal(0, 1e-3, (40, 1))
    save_familiarity(fit_familiarity(states, np.arange(40) % 4, 1), base)
    words = ["--dataset", str(clips), "--features", "embeddings", "--base_model", str(base), "--n_jobs", "1"]
    assert baseline.main([*words, "--protocol", "full", "--output_dir", str(tmp_path / "run")]) == 0
    before, after = (
        np.array([one.distance for one in EmotionClassifier.from_pretrained(folder).predict_many(files)])
        for folder in (base, tmp_path / "run/model")
    )
    assert np.quantile(before, 0.99) > 1
    assert np.quantile(after, 0.99) == pytest.approx(1, rel=0.01)
    np.testing.assert_allclose(before / after, before[0] / after[0], rtol=0.01)  # float16


def test_embed_gives_what_the_head_sees(tiny_whisper, clips, tmp_path):
    classifier = EmotionClassifier.from_pretrained(tiny_whisper)
    files = sorted(clips.glob("glad/*.wav"))[:3]
    rows = classifier.embed(files)
    model = classifier.model.model
    weight, bias = (part.detach().numpy() for part in (model.projector.weight, model.projector.bias))
    logits = model.classifier.weight.detach().numpy() @ (rows @ weight.T + bias).T
    scores = np.exp(logits.T + model.classifier.bias.detach().numpy())
    expected = [list(one.scores.values()) for one in classifier.predict_many(files)]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(scores / scores.sum(axis=1, keepdims=True), expected, atol=1e-5)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    words = [*map(str, files), str(tmp_path / "broken.wav"), "--model", str(tiny_whisper)]
    assert embed.main([*words, "--output", str(tmp_path / "e.parquet")]) == 1
    table = pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pylist()
    assert [row["file"] for row in table] == [str(file) for file in files]
    np.testing.assert_allclose([row["embedding"] for row in table], rows, rtol=1e-5)


def test_embed_needs_a_network(tiny_svm):
    with pytest.raises(ModelError):
        EmotionClassifier.from_pretrained(tiny_svm).embed([])


def test_adapt_changes_predictions_of_one_speaker(run, clips):
    classifier = EmotionClassifier.from_pretrained(run / "full/model")
    files = sorted(clips.glob("*/1-*.wav"))
    adapted = classifier.adapt(files)
    before, after = classifier.predict(files[0]), adapted.predict(files[0])
    assert sum(after.scores.values()) == pytest.approx(1)
    assert before.scores != after.scores
    assert classifier.predict(files[0]).scores == before.scores
    with pytest.raises(ValueError, match="recordings"):
        classifier.adapt(files[:1])
    with pytest.raises(ModelError):
        classifier.adapt(files, neutral=True)


def test_group_by_adapts_to_each_speaker(run, clips, tmp_path, capsys):
    """Speakers found in paths or by folder are adapted to by all of their recordings; who has too few is reported."""
    model = ["--model", str(run / "full/model"), "--format", "jsonl"]
    single = tmp_path / "9-1.wav"
    shutil.copy(clips / "glad/1-1.wav", single)

    def rows(*words):
        assert predict.main([*map(str, words), *model]) == 0
        return {row["file"]: row["scores"] for row in map(json.loads, capsys.readouterr().out.splitlines())}

    plain, by_speaker = rows(clips, single), rows(clips, single, "--group_by", "speaker", "--speaker_pattern", PATTERN)
    by_folder = rows(clips, single, "--group_by", "folder")
    classifier = EmotionClassifier.from_pretrained(run / "full/model")
    for pattern, found in (("*/1-*.wav", by_speaker), ("glad/*.wav", by_folder)):
        files = sorted(clips.glob(pattern))
        adapted = classifier.adapt(files).predict(files[0])
        assert found[str(files[0])] == pytest.approx(adapted.scores, abs=1e-5)
    assert by_speaker[str(single)] == by_folder[str(single)] == plain[str(single)]
    first = str(clips / "glad/1-1.wav")
    assert len({str(found[first]) for found in (plain, by_speaker, by_folder)}) == 3
    for words in (
        ["--group_by", "speaker"],
        ["--speaker_pattern", PATTERN],
        ["--group_by", "folder", "--adapt_to", first],
    ):
        assert predict.main([first, *model, *words]) == 2
    for pattern in ("spk", "("):
        assert predict.main([first, *model, "--group_by", "speaker", "--speaker_pattern", pattern]) == 2


def test_split_column_is_used_as_given(clips, tmp_path):
    files = sorted(path.relative_to(clips) for path in clips.rglob("*.wav"))
    speakers = [path.name[0] for path in files]
    rows = pd.DataFrame({"file": [str(clips / path) for path in files], "label": [path.parent.name for path in files]})
    rows["speaker"], rows["split"] = speakers, ["test" if speaker in "56" else "train" for speaker in speakers]
    rows.to_csv(tmp_path / "clips.csv", index=False)
    words = ["--dataset", str(tmp_path / "clips.csv"), "--model", "knn", "--features", "zcr", "--n_jobs", "1"]
    assert baseline.main([*words, "--no_cache", "--output_dir", str(tmp_path / "run")]) == 0
    frame = read_predictions(tmp_path / "run")
    assert set(frame["speaker"]) == {"5", "6"}


def test_unknown_speakers_are_called_speaker_dependent(clips, tmp_path, capsys):
    words = ["--dataset", str(clips), "--model", "knn", "--features", "zcr", "--n_jobs", "1", "--no_cache"]
    assert baseline.main([*words, "--output_dir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["protocol"] == "random"
    assert json.loads((tmp_path / "run/metrics.json").read_text())["n_speakers"] == 0
    assert "speaker-dependent" in capsys.readouterr().err


def test_evaluate_tests_own_recordings(run, clips, tiny_whisper, tmp_path, capsys):
    words = ["--dataset", str(clips), "--speaker_pattern", PATTERN]
    model = ["--model", str(run / "full/model")]
    assert evaluate.main([*words, *model, "--output_dir", str(tmp_path / "run")]) == 0
    assert len(read_predictions(tmp_path / "run")) == 36
    assert "trained on clips" in capsys.readouterr().err
    assert evaluate.main([*words, "--model", str(tiny_whisper), "--output_dir", str(tmp_path / "other")]) == 2
    assert "--label_map" in capsys.readouterr().err


def test_finetune_takes_own_recordings(clips, tiny_whisper, tmp_path):
    words = ["--dataset", str(clips), "--speaker_pattern", PATTERN, "--base_model", str(tiny_whisper), "--folds", "0,1"]
    words += ["--max_steps", "2", "--window_seconds", "2", "--num_layers", "1", "--hold_out_validation", "false"]
    assert finetune.main([*words, "--output_dir", str(tmp_path / "run"), "--report_to", "none", "--use_cpu"]) == 0
    frame = read_predictions(tmp_path / "run")
    assert [name for name in frame if name.startswith("p_")] == ["p_bored", "p_cross", "p_glad"]
    config = json.loads((tmp_path / "run/fold0/model/config.json").read_text())
    assert config["trained_on"] == ["clips"]
