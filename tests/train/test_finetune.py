"""Fine-tuning of a tiny encoder: runs, calibration, cached states, resumed runs, the published model."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ser_hf import EmotionClassifier
from ser_hf.evaluation.metrics import confidence_threshold, probability_matrix
from ser_hf.evaluation.runs import read_predictions, read_run_json, write_run_json
from ser_hf.labels import LABELS
from ser_hf.models import states
from ser_hf.models.training import EmotionTrainer
from tests.synthetic import make_clip
from tests.tiny_bases import save_tiny_base
from train import calibration, finetune, finetune_data, finetune_fold, publish
from train.arguments import parse_arguments
from train.common import UsageError, load_clip_table

SMALL = ["--window_seconds", "1", "--num_layers", "2", "--frozen_layers", "1", "--num_train_epochs", "2"]
SMALL += ["--per_device_train_batch_size", "32", "--disable_tqdm", "true", "--precision", "float32"]
CACHED = ["--copies", "1", "--ema_decay", "0.9", "--corpus_weights", "ravdess=0.5", "--keep_positions", "0.5"]
CACHED += ["--corpus_shift", "true"]
# In a window that holds each clip whole: else the mean over windows is calibrated here, and each window in the model.
TOGETHER = [*CACHED, "--folds", "0,3", "--hold_out_validation", "false", "--window_seconds", "3"]


class StopError(RuntimeError):
    """What interrupts a run."""


def stop(*args, **kwargs):
    raise StopError


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_HF_CACHE", str(folder))
        yield folder / "states"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base("whisper", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def common(base, corpus_dir):
    return ["--base_model", str(base), "--data_dir", str(corpus_dir), *SMALL]


@pytest.fixture(scope="module")
def actor_run(common, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whisper-actor"
    assert finetune.main([*common, "--folds", "0,3", "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def cached_run(common, tmp_path_factory):
    """On cached states, with averaged weights, and calibrated over its folds."""
    folder = tmp_path_factory.mktemp("runs") / "cached"
    assert finetune.main([*common, *TOGETHER, "--output_dir", str(folder)]) == 0
    return folder


def assert_same_model(one, two):
    weights, others = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert set(weights) == set(others)
    for name, tensor in weights.items():
        assert tensor.equal(others[name]), name


@pytest.mark.slow
def test_run_writes_predictions_and_arguments(actor_run):
    frame = read_predictions(actor_run)
    assert sorted(frame["fold"].unique()) == [0, 3]
    assert sorted(frame.loc[frame["fold"] == 0, "speaker"].unique()) == ["02", "05", "14", "15", "16"]
    assert len(frame) == 80
    run = read_run_json(actor_run)
    assert (run["command"], run["protocol"], run["model"], run["seed"]) == ("train.finetune", "actor", "whisper", 42)
    assert (run["arguments"]["window_seconds"], run["arguments"]["learning_rate"]) == (1, 6e-5)
    assert [record["index"] for record in run["folds"]] == [0, 3]
    assert json.loads((actor_run / "metrics.json").read_text())["n_clips"] == 80
    assert not list(actor_run.glob("fold*/checkpoint-*"))
    config = json.loads((actor_run / "fold0" / "model" / "config.json").read_text())
    assert config["trained_on"] == ["ravdess"]
    assert config["calibration_temperature"] == run["folds"][0]["temperature"]
    assert config["answer_threshold"] == run["folds"][0]["answer_threshold"]


@pytest.mark.slow
def test_interrupted_run_ends_the_same(common, cached_run, tmp_path, monkeypatch):
    """Stopped in the second epoch, with a checkpoint of the first, and again while it is calibrated."""
    again, step, apply = tmp_path / "again", EmotionTrainer.training_step, calibration.apply_calibration

    def stopped_training(self, *args, **kwargs):
        return stop() if self.state.epoch >= 1 else step(self, *args, **kwargs)

    def stopped_calibration(folder, fitted):
        if fitted.threshold is not None:
            shutil.rmtree(folder / "model")  # as when the new folder had not taken its place
            stop()
        return apply(folder, fitted)

    words = [*common, *TOGETHER, "--output_dir", str(again), "--resume_from_checkpoint", "true"]
    with monkeypatch.context() as patch:
        patch.setattr(EmotionTrainer, "training_step", stopped_training)
        with pytest.raises(StopError):
            finetune.main(words[:-2])
    (checkpoint,) = again.glob("fold0/checkpoint-*")
    assert (checkpoint / "averaged.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "apply_calibration", stopped_calibration)
        with pytest.raises(StopError):
            finetune.main(words)
    assert finetune.main(words) == 0
    for fold in ("fold0", "fold3"):
        assert_same_model(cached_run / fold, again / fold)
    assert read_predictions(cached_run).equals(read_predictions(again))
    monkeypatch.setattr(finetune, "run_fold", stop)  # finished folds are not trained again
    assert finetune.main(words) == 0


@pytest.mark.slow
def test_run_is_repeated_by_its_record(cached_run, cache, tmp_path, monkeypatch):
    again, files = tmp_path / "again", {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    monkeypatch.setattr(states, "lower_states", stop)  # all states are cached
    recipe = ["--recipe", str(cached_run / "run.json")]
    assert finetune.main([*recipe, "--output_dir", str(again)]) == 0
    assert (again / "predictions.parquet").read_bytes() == (cached_run / "predictions.parquet").read_bytes()
    first, second = (read_run_json(run)["arguments"] for run in (cached_run, again))
    assert {name for name in first if first[name] != second[name]} == {"output_dir"}
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == files
    with pytest.raises(StopError):
        finetune.main([*recipe, "--output_dir", str(tmp_path / "other"), "--speed", "0.2"])


@pytest.mark.slow
def test_temperature_is_fitted_on_validation(actor_run):
    for record in read_run_json(actor_run)["folds"]:
        validation = read_predictions(actor_run / f"fold{record['index']}", "validation.parquet")
        fitted = calibration.fitted_calibration([validation])
        assert (record["temperature"], record["answer_threshold"]) == (fitted.temperature, fitted.threshold)
        labels = validation["emotion"].map(LABELS.index).to_numpy()
        rows = probability_matrix(calibration.calibrated(validation, fitted))[0]
        assert confidence_threshold(rows, labels) == pytest.approx(record["answer_threshold"], abs=1e-3)


@pytest.mark.slow
def test_temperatures_are_cross_fitted(cached_run, common):
    """Each fold's model is calibrated on the predictions of the other, and the run's predictions are its own."""
    raw = {fold: read_predictions(cached_run / f"fold{fold}") for fold in (0, 3)}
    whole = read_predictions(cached_run)
    table = load_clip_table(parse_arguments(finetune.ARGUMENTS, common)[0])
    for record, other in zip(read_run_json(cached_run)["folds"], (3, 0), strict=True):
        fold = record["index"]
        assert not (cached_run / f"fold{fold}" / "validation.parquet").exists()
        fitted = calibration.fitted_calibration([raw[other]])
        assert (record["temperature"], record["answer_threshold"]) == (fitted.temperature, fitted.threshold)
        expected = probability_matrix(calibration.calibrated(raw[fold], fitted))[0]
        own = whole[whole["fold"] == fold]
        assert np.array_equal(probability_matrix(own)[0], expected)
        classifier = EmotionClassifier.from_pretrained(cached_run / f"fold{fold}" / "model")
        assert classifier.answer_threshold == fitted.threshold
        clips = [table[row]["audio"] for row in np.flatnonzero(np.isin(np.array(table["clip"]), own["clip"]))]
        found = np.array([[one.scores[label] for label in LABELS] for one in classifier.predict_many(clips)])
        # Float16 weights of a tiny encoder's head, which are in the hundreds, move probabilities by some 0.001.
        assert np.abs(found - expected).mean() < 0.2 * np.abs(found - probability_matrix(raw[fold])[0]).mean()


def test_calibration_weighs_folds_alike():
    rng, labels = np.random.default_rng(0), np.tile(np.arange(8), 5)
    frames = []
    for copies, share in ((1, 0.9), (20, 0.3)):
        rows = rng.dirichlet(np.ones(8), 40) * 0.2 + 0.8 * np.eye(8)[np.where(rng.random(40) < share, labels, 0)]
        frame = pd.DataFrame(rows, columns=[f"p_{label}" for label in LABELS])
        frames.append([frame.assign(emotion=[LABELS[label] for label in labels])] * copies)
    large = [pd.concat(part, ignore_index=True) for part in frames]
    one, two = (calibration.fitted_calibration(part) for part in ([frames[0][0], frames[1][0]], large))
    assert one.temperature == pytest.approx(two.temperature, rel=1e-4)
    assert one.temperature != pytest.approx(calibration.fitted_calibration(frames[0][:1]).temperature, rel=0.05)


def experiment(common, *words):
    data, model, *others = parse_arguments(finetune.ARGUMENTS, [*common, *words])
    table = load_clip_table(data).select(range(100))
    return finetune_data.Experiment(table, finetune.load_clips(table), model, *others)


def test_cached_files_follow_the_settings(common, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_HF_CACHE", str(tmp_path))
    names = []
    for words in ("", "--seed 7 --learning_rate 1", "--speed 0.2", "--join_probability 1", "--frozen_layers 2"):
        made = experiment(common, "--num_layers", "3", "--copies", "1", *words.split())
        plain, copy = made.states
        assert len(plain) == len(copy) == len(made.table)
        assert {len(one) for one in plain} == {50}  # the whole window, as the stock pipeline has it
        names.append({file.name for file in (tmp_path / "states").glob("ravdess-?-????????????????.npy")})
    new = [sorted(name[8] for name in now - before) for before, now in zip([set(), *names], names, strict=False)]
    assert new == [["0", "1"], [], ["1"], ["1"], ["0", "1"]]


def test_masked_labels_and_weights(common):
    made = experiment(common)
    assert not made.masked.any()  # RAVDESS has calm
    made.corpora = np.where(np.arange(len(made.table)) % 3 == 0, "emodb", "ravdess")
    del made.masked
    rows, columns = np.nonzero(made.masked)
    assert set(columns) == {LABELS.index("calm")}
    assert np.array_equal(rows, np.flatnonzero((made.corpora == "emodb") & (made.labels == LABELS.index("neutral"))))
    assert made.weights(np.arange(100)) is None
    made.training.corpus_weights = "ravdess=0.3"
    weights = pd.Series(made.weights(np.arange(100))).groupby([made.corpora[:100], made.labels[:100]]).sum()
    for corpus, share in (("ravdess", 0.3), ("emodb", 0.7)):
        assert weights[corpus].to_numpy() == pytest.approx(share / len(weights[corpus]))


def test_corpus_shares():
    corpora = np.repeat(["ravdess", "emodb", "tess"], [100, 25, 400])
    shares = finetune_data.corpus_shares("ravdess=0.35", corpora)
    assert shares == pytest.approx({"ravdess": 0.35, "emodb": 0.65 * 5 / 25, "tess": 0.65 * 20 / 25})
    shares = finetune_data.corpus_shares("savee=0.5", corpora)
    assert shares == pytest.approx({"emodb": 5 / 35, "ravdess": 10 / 35, "tess": 20 / 35})
    shares = finetune_data.corpus_shares("tess=0.2,emodb=0.2", corpora[100:])
    assert shares == pytest.approx({"tess": 0.5, "emodb": 0.5})
    for words in ("ravdess", "ravdess=much", "ravdess=-1", "ravdess=0.6,emodb=0.5", "ravdess=1", ""):
        with pytest.raises(UsageError, match="--corpus_weights"):
            finetune_data.corpus_shares(words, corpora)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--copies -1", "--copies"),
        ("--copies 1 --frozen_layers 0", "--frozen_layers"),
        ("--keep_positions 0.5 --copies 0", "--keep_positions"),
        ("--keep_positions 0 --copies 1", "--keep_positions"),
        ("--corpus_shift true --copies 0", "--corpus_shift"),
        ("--copies 1 --frozen_layers 2", "--frozen_layers"),
        ("--copies 1 --join_probability 0.5 --protocol random", "--join_probability"),
        ("--join_probability 2", "--join_probability"),
        ("--crop_probability 2", "crop_probability"),
        ("--ema_decay 1", "--ema_decay"),
        ("--ema_decay 0.9 --load_best_model_at_end true", "--load_best_model_at_end"),
        ("--corpus_weights ravdess=2", "--corpus_weights"),
        ("--hidden_size 64", "--hidden_size"),
        ("--architecture cnn", "--base_model"),
        ("--protocol full", "--reference_run"),
        ("--folds 7", "7"),
        ("--lr_scheduler_type nonsense", "nonsense"),
        ("--report_to nonsense", "nonsense"),
        ("--metric_for_best_model nonsense", "nonsense"),
        ("--per_device_train_batch_size 0", "batch_size=0"),
        ("--gradient_accumulation_steps 0", "--gradient_accumulation_steps"),
        ("--learning_rate -1", "-1"),
        ("--head_factor -1", "--head_factor"),
        ("--mixup_alpha -1", "--mixup_alpha"),
        ("--label_smoothing_factor 2", "--label_smoothing_factor"),
        ("--fsdp full_shard", "fsdp"),
        ("--seed -1", "eed"),
    ],
)
def test_arguments_are_refused(common, tmp_path, capsys, options, named):
    folds = [] if "full" in options else ["--folds", "0"]
    assert finetune.main([*common, "--output_dir", str(tmp_path / "run"), *folds, *options.split()]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.slow
def test_single_fold_keeps_its_validation_clips(common, base, tmp_path, hub):
    """A linear probe, which takes no step, is pushed."""
    folder = tmp_path / "one-fold"
    words = [*common, "--num_train_epochs", "0", "--copies", "1", "--join_probability", "1", "--folds", "0"]
    words += ["--hold_out_validation", "false", "--push_to_hub", "true", "--output_dir", str(folder)]
    assert finetune.main(words) == 0
    weights, pretrained = load_file(folder / "model/model.safetensors"), load_file(base / "model.safetensors")
    name = "encoder.layers.1.fc1.weight"
    assert weights[name].equal(pretrained[name].half())
    assert sorted(read_predictions(folder / "fold0", "validation.parquet")["speaker"].unique()) == ["03", "06"]
    files = hub.store.files("model", "alice/one-fold")  # the Trainer's own default: our name, and that of the folder
    assert json.loads(files["metrics.json"])["n_clips"] == len(read_predictions(folder)) == 40
    assert not [name for name in files if name.endswith((".bin", ".pt")) or "checkpoint" in name]


@pytest.mark.slow
def test_full_model_is_calibrated_by_reference(common, actor_run, tmp_path, hub):
    """It is pushed as train.publish publishes it."""
    folder = tmp_path / "final"
    arguments = [*common, "--protocol", "full", "--output_dir", str(folder), "--base_model_id", "openai/whisper-base"]
    push = ["--push_to_hub", "true", "--hub_model_id", "alice/pushed"]
    assert finetune.main([*arguments, "--reference_run", str(actor_run), *push]) == 0
    classifier = EmotionClassifier.from_pretrained(folder / "model")
    assert classifier.predict(make_clip("happy")).distance < 1
    files = {file.relative_to(folder / "model").as_posix() for file in (folder / "model").rglob("*") if file.is_file()}
    evidence = ("run.json", "predictions.parquet", "confusion.png", "reliability.png", "speakers.png")
    assert files == {
        *("README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"),
        *("familiarity.safetensors", "example.flac", "example.json"),
        *(f"evaluation/whisper-actor/{name}" for name in evidence),
    }
    expected = calibration.earlier_calibration(actor_run, "full", 0)
    assert read_run_json(folder)["folds"][0]["temperature"] == expected.temperature
    assert classifier.answer_threshold == expected.threshold
    assert publish.main(["--model", str(folder / "model"), "--repo", "alice/published"]) == 0
    pushed, published = (hub.store.files("model", f"alice/{name}") for name in ("pushed", "published"))
    published["README.md"] = published["README.md"].replace(b"published", b"pushed")
    assert pushed == published
    assert len(hub.store.commits("model", "alice/pushed")) == 2  # made, and filled


def test_earlier_calibration(tmp_path):
    """That of the same fold, or else the mean: another fold held out speakers that this one tests."""
    folds = [{"index": 0, "temperature": 1.0, "answer_threshold": 0.5}]
    folds += [{"index": 3, "temperature": 4.0, "answer_threshold": 0.7}]
    write_run_json(tmp_path, protocol="actor", folds=folds)
    assert calibration.earlier_calibration(tmp_path, "actor", 3) == calibration.Calibration(4.0, 0.7)
    mean = calibration.earlier_calibration(tmp_path, "full", 0)
    assert (mean.temperature, mean.threshold) == pytest.approx((2.0, 0.6))


def test_resume_needs_the_same_recipe(common, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    words = [*common, "--folds", "0", "--output_dir", str(folder)]
    monkeypatch.setattr(finetune, "run_fold", stop)
    with pytest.raises(StopError):
        finetune.main(words)
    before = read_run_json(folder)
    resume = [*words, "--resume_from_checkpoint", "true"]
    assert finetune.main([*resume, "--seed", "43", "--speed", "0.2"]) == 2
    error = capsys.readouterr().err
    assert f"--seed 42 and not 43, --speed {before['arguments']['speed']} and not 0.2" in error
    assert read_run_json(folder) == before
    with pytest.raises(StopError):  # these may differ
        finetune.main([*resume, "--folds", "0,3", "--per_device_eval_batch_size", "8"])


@pytest.mark.parametrize("spoilt", ["nowhere", "interrupted", "svm-actor", "other-fold"])
def test_reference_run_is_checked_before_training(common, tmp_path, capsys, spoilt):
    for name, command, fold in (
        ("good", "train.finetune", 0),
        ("interrupted", "train.finetune", 0),
        ("svm-actor", "train.baseline", 0),
        ("other-fold", "train.finetune", 2),
    ):
        (tmp_path / name).mkdir()
        record = {"index": fold, "temperature": 1.0}
        write_run_json(tmp_path / name, command=command, protocol="actor", folds=[record])
        if name != "interrupted":
            (tmp_path / name / "metrics.json").write_text("{}")
    words = ["--protocol", "full", "--reference_run", f"{tmp_path / 'good'},{tmp_path / spoilt}"]
    if spoilt == "other-fold":
        words = ["--folds", "0", "--hold_out_validation", "false", "--reference_run", str(tmp_path / spoilt)]
    assert finetune.main([*common, *words, "--output_dir", str(tmp_path / "run")]) == 2
    assert spoilt in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_default_folder_is_named_by_the_run(common, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "whisper-random-seed7"
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    assert finetune.main([*common, "--protocol", "random", "--seed", "7"]) == 2
    assert "runs/whisper-random-seed7" in capsys.readouterr().err
    assert (folder / "precious.txt").read_text() == "mine"


def test_push_is_refused_before_training(common, tmp_path, capsys, hub):
    push = [*common, "--output_dir", str(tmp_path / "run"), "--push_to_hub", "true", "--hub_model_id"]
    for arguments, named in (
        (["alice/model"], "single fold"),
        (["alice/model", "--folds", "0,1"], "single fold"),
        (["alice/model", "--protocol", "full", "--calibrate", "false"], "--reference_run"),
        (["bob/model", "--folds", "0"], "bob"),
        (["alice/model", "--folds", "0", "--hub_revision", "v2"], "--hub_revision"),
        (["alice/model", "--folds", "0", "--hub_token", "hf_wrong"], "token"),
    ):
        assert finetune.main([*push, *arguments]) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert not hub.store.exists("model", "alice/model")


@pytest.mark.slow
def test_loss_that_is_nan_ends_the_run(common, tmp_path, monkeypatch, capsys):
    class Diverging(EmotionTrainer):
        def compute_loss(self, model, inputs, **kwargs):
            if model.training and self.state.epoch >= 1:
                with torch.no_grad():
                    model.classifier.bias.fill_(float("nan"))
            return super().compute_loss(model, inputs, **kwargs)

    monkeypatch.setattr(finetune_fold, "EmotionTrainer", Diverging)
    assert finetune.main([*common, "--folds", "0", "--output_dir", str(tmp_path / "run")]) == 2
    assert "--learning_rate" in capsys.readouterr().err
    (checkpoint,) = tmp_path.glob("run/fold0/checkpoint-*")
    assert all(tensor.isfinite().all() for tensor in load_file(checkpoint / "model.safetensors").values())


@pytest.mark.parametrize("where", ["create_run", "run_fold"])
def test_full_disk_ends_the_run(where, common, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "predictions.parquet")

    monkeypatch.setattr(finetune, where, full)
    assert finetune.main([*common, "--folds", "0", "--output_dir", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "'predictions.parquet'" in error
    assert "--resume_from_checkpoint true" in error
