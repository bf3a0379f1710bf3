"""Fine-tuning a tiny encoder: a whole run, two runs that agree, a resumed one, and the published model."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ser_hf import EmotionClassifier
from ser_hf.labels import LABELS
from ser_hf.runs import read_predictions, read_run_json, write_run_json
from tests.synthetic import make_clip, make_ravdess
from tests.tiny_bases import save_tiny_base
from train import finetune, finetune_fold, finetune_learning, publish

SMALL = ["--window_seconds", "1", "--num_layers", "2", "--frozen_layers", "1", "--num_train_epochs", "2"]
SMALL += ["--per_device_train_batch_size", "32", "--disable_tqdm", "true", "--precision", "float32"]


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


@pytest.mark.slow
def test_a_run_leaves_predictions_metrics_and_every_argument(actor_run):
    frame = read_predictions(actor_run)
    assert sorted(frame["fold"].unique()) == [0, 3]
    assert sorted(frame.loc[frame["fold"] == 0, "speaker"].unique()) == ["02", "05", "14", "15", "16"]
    assert len(frame) == 80
    run = read_run_json(actor_run)
    assert (run["command"], run["protocol"], run["model"], run["seed"]) == ("train.finetune", "actor", "whisper", 42)
    assert run["arguments"]["window_seconds"] == 1
    assert run["arguments"]["learning_rate"] == 6e-5
    assert [record["index"] for record in run["folds"]] == [0, 3]
    metrics = json.loads((actor_run / "metrics.json").read_text())
    assert metrics["n_clips"] == 80
    assert not list(actor_run.glob("fold*/checkpoint-*"))
    assert sorted(read_predictions(actor_run / "fold0", "validation.parquet")["speaker"].unique()) == ["03", "06"]


@pytest.mark.slow
def test_two_runs_with_one_seed_agree_and_a_broken_off_one_ends_the_same(common, actor_run, tmp_path, monkeypatch):
    again = tmp_path / "again"

    class PulledPlugError(RuntimeError):
        pass

    class Unplugged(finetune_learning.EpochCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch >= 1:  # behind the checkpoint of the first of two epochs
                raise PulledPlugError
            super().on_epoch_begin(args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(finetune_learning, "EpochCallback", Unplugged)
        with pytest.raises(PulledPlugError):
            finetune.main([*common, "--folds", "0", "--output_dir", str(again)])
    assert len(list(again.glob("fold0/checkpoint-*"))) == 1
    resume = ["--folds", "0", "--output_dir", str(again), "--resume_from_checkpoint", "true"]
    assert finetune.main([*common, *resume]) == 0
    one = load_file(actor_run / "fold0" / "model" / "model.safetensors")
    two = load_file(again / "fold0" / "model" / "model.safetensors")
    for name, tensor in one.items():
        assert tensor.equal(two[name]), name
    # What is finished is not done again.
    assert finetune.main([*common, *resume]) == 0


@pytest.mark.slow
def test_a_run_is_repeated_byte_for_byte_by_its_record(actor_run, tmp_path):
    again = tmp_path / "again"
    assert finetune.main(["--recipe", str(actor_run / "run.json"), "--output_dir", str(again)]) == 0
    assert (again / "predictions.parquet").read_bytes() == (actor_run / "predictions.parquet").read_bytes()
    first, second = (read_run_json(run)["arguments"] for run in (actor_run, again))
    assert {name for name in first if first[name] != second[name]} == {"output_dir"}


@pytest.mark.slow
def test_the_published_model_is_trained_on_all_and_calibrated_by_an_earlier_run(common, actor_run, tmp_path):
    folder = tmp_path / "final"
    arguments = [*common, "--protocol", "full", "--output_dir", str(folder), "--base_model_id", "openai/whisper-base"]
    assert finetune.main([*arguments, "--reference_run", str(actor_run)]) == 0
    classifier = EmotionClassifier.from_pretrained(folder / "model")
    assert classifier.predict(make_clip("happy")).distance < 1
    files = {file.relative_to(folder / "model").as_posix() for file in (folder / "model").rglob("*") if file.is_file()}
    evidence = ("run.json", "predictions.parquet", "confusion.png", "reliability.png", "speakers.png")
    assert files == {
        *("README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"),
        "familiarity.safetensors",
        *("example.flac", "example.json"),
        *(f"evaluation/whisper-actor/{name}" for name in evidence),
    }
    temperatures = [record["temperature"] for record in read_run_json(actor_run)["folds"]]
    used = read_run_json(folder)["folds"][0]["temperature"]
    assert used == pytest.approx((temperatures[0] * temperatures[1]) ** 0.5)
    thresholds = [record["answer_threshold"] for record in read_run_json(actor_run)["folds"]]
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["answer_threshold"] == pytest.approx(sum(thresholds) / 2, abs=1e-4)


@pytest.mark.slow
def test_validation_clips_train_too_where_none_are_held_out(common, actor_run, tmp_path, monkeypatch):
    trained_on = {}
    run_fold = finetune.run_fold

    def remember(table, clips, fold, *arguments):
        trained_on[fold.index] = set(np.array(table["speaker"])[fold.train])
        run_fold(table, clips, fold, *arguments)

    monkeypatch.setattr(finetune, "run_fold", remember)
    folder = tmp_path / "run"
    arguments = [*common, "--folds", "0", "--output_dir", str(folder), "--hold_out_validation", "false"]
    assert finetune.main([*arguments, "--reference_run", str(actor_run)]) == 0
    assert len(trained_on[0]) == 24 - 5
    assert not (folder / "fold0" / "validation.parquet").exists()
    # That of fold 1 was found on speakers that fold 0 may test.
    first = read_run_json(actor_run)["folds"][0]
    used = read_run_json(folder)["folds"][0]
    assert (used["temperature"], used["answer_threshold"]) == (first["temperature"], first["answer_threshold"])
    validation = read_predictions(actor_run / "fold0", "validation.parquet")
    sure = validation[[f"p_{label}" for label in LABELS]].max(axis=1)
    assert (sure >= first["answer_threshold"]).mean() == pytest.approx(0.8, abs=1 / len(sure))


@pytest.mark.slow
def test_a_refitted_model_learns_from_the_validation_clips_that_its_temperature_is_of(
    common, actor_run, tmp_path, monkeypatch
):
    learn, conclude, learned_from = finetune_fold.learn, finetune_fold.conclude, []

    class PulledPlugError(RuntimeError):
        pass

    def remember(model, lessons, *arguments):
        learned_from.append(len(lessons.labels))
        return learn(model, lessons, *arguments)

    def unplugged(table, fold, *arguments):
        if len(learned_from) == 2:  # the first model is whole, the second one learned in vain
            raise PulledPlugError
        conclude(table, fold, *arguments)

    folder = tmp_path / "run"
    words = [*common, "--folds", "0", "--output_dir", str(folder), "--refit", "true"]
    monkeypatch.setattr(finetune_fold, "learn", remember)
    with monkeypatch.context() as patch:
        patch.setattr(finetune_fold, "conclude", unplugged)
        with pytest.raises(PulledPlugError):
            finetune.main(words)
    assert finetune.main([*words, "--resume_from_checkpoint", "true"]) == 0
    a_speaker = len(read_predictions(folder)) // 5
    assert learned_from == [17 * a_speaker, 19 * a_speaker, 19 * a_speaker]
    assert not (folder / "fold0" / "held-out").exists()
    first, used = (read_run_json(run)["folds"][0] for run in (actor_run, folder))
    assert (used["temperature"], used["answer_threshold"]) == (first["temperature"], first["answer_threshold"])
    validation = [read_predictions(run / "fold0", "validation.parquet") for run in (actor_run, folder)]
    assert validation[0].equals(validation[1])
    # Others than those of the model that had not heard the validation speakers.
    before = read_predictions(actor_run).query("fold == 0")["p_angry"].to_numpy()
    assert np.abs(before - read_predictions(folder)["p_angry"].to_numpy()).max() > 1e-6


def test_a_run_does_not_go_on_by_another_recipe(common, tmp_path, capsys, monkeypatch):
    class PulledPlugError(RuntimeError):
        pass

    def unplugged(*arguments):
        raise PulledPlugError

    folder = tmp_path / "run"
    words = [*common, "--folds", "0", "--output_dir", str(folder)]
    monkeypatch.setattr(finetune, "run_fold", unplugged)
    with pytest.raises(PulledPlugError):
        finetune.main(words)
    before = read_run_json(folder)
    resume = [*words, "--resume_from_checkpoint", "true"]
    assert finetune.main([*resume, "--seed", "43", "--speed", "0.2"]) == 2
    told = f"--seed 42 and not 43, --speed {before['arguments']['speed']} and not 0.2. Go on as it was begun"
    assert told in capsys.readouterr().err
    assert read_run_json(folder) == before
    with pytest.raises(PulledPlugError):  # what decides nothing may be another
        finetune.main([*resume, "--folds", "0,3", "--per_device_eval_batch_size", "8"])


def test_a_fold_that_the_earlier_run_has_not_is_refused_before_training(common, actor_run, tmp_path, capsys):
    arguments = ["--folds", "2", "--output_dir", str(tmp_path / "run"), "--hold_out_validation", "false"]
    assert finetune.main([*common, *arguments, "--reference_run", str(actor_run)]) == 2
    assert "is no finished run of train.finetune that has fold 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ("nowhere", "cannot read"),
        ("broken-off", "holds no metrics.json: did its run end?"),
        ("svm-actor", "is a run of train.baseline"),
    ],
)
def test_figures_that_the_card_could_not_have_are_missed_before_training(common, tmp_path, capsys, spoilt, words):
    """They were missed when the card was written, after all the training."""
    for name, command in (
        ("good", "train.finetune"),
        ("broken-off", "train.finetune"),
        ("svm-actor", "train.baseline"),
    ):
        (tmp_path / name).mkdir()
        write_run_json(tmp_path / name, command=command, folds=[{"index": 0, "temperature": 1.0}])
    for name in ("good", "svm-actor"):
        (tmp_path / name / "metrics.json").write_text("{}")
    reference = f"{tmp_path / 'good'},{tmp_path / spoilt}"
    arguments = ["--protocol", "full", "--output_dir", str(tmp_path / "run"), "--reference_run", reference]
    assert finetune.main([*common, *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert spoilt in error
    assert not (tmp_path / "run").exists()


def test_a_run_is_named_by_what_it_is(common, tmp_path, monkeypatch, capsys):
    """Whatever was trained once went to runs/whisper-actor, where the next one found it in its way."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "whisper-random-seed7"
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    assert finetune.main([*common, "--protocol", "random", "--seed", "7"]) == 2
    assert "the run folder runs/whisper-random-seed7 exists" in capsys.readouterr().err


@pytest.mark.slow
def test_pushing_ends_with_what_publishing_ends_with(common, actor_run, tmp_path, hub):
    push = ["--push_to_hub", "true", "--hub_model_id"]
    folder = tmp_path / "final"
    full = ["--protocol", "full", "--reference_run", str(actor_run), "--output_dir", str(folder)]
    assert finetune.main([*common, *full, "--base_model_id", "openai/whisper-base", *push, "alice/pushed"]) == 0
    assert publish.main(["--model", str(folder / "model"), "--repo", "alice/published"]) == 0
    pushed, published = (hub.store.files("model", f"alice/{name}") for name in ("pushed", "published"))
    published["README.md"] = published["README.md"].replace(b"published", b"pushed")
    assert pushed == published
    assert len(hub.store.commits("model", "alice/pushed")) == 2  # made, and filled


@pytest.mark.slow
def test_the_model_of_one_fold_is_pushed_with_its_own_figures(common, tmp_path, hub):
    folder = tmp_path / "one-fold"
    arguments = ["--folds", "0", "--output_dir", str(folder), "--push_to_hub", "true"]
    assert finetune.main([*common, *arguments]) == 0
    files = hub.store.files("model", "alice/one-fold")  # the Trainer's own default: our name, and that of the folder
    metrics = json.loads(files["metrics.json"])
    assert metrics["n_clips"] == 40
    assert not [name for name in files if name.endswith((".bin", ".pt")) or "checkpoint" in name]


def test_a_push_that_cannot_be_is_refused_before_anything_is_trained(common, tmp_path, capsys, hub):
    push = [*common, "--output_dir", str(tmp_path / "run"), "--push_to_hub", "true", "--hub_model_id"]
    for arguments, words in (
        (["alice/model"], "single fold"),
        (["alice/model", "--folds", "0,1"], "single fold"),
        (["alice/model", "--protocol", "full", "--calibrate", "false"], "--reference_run"),
        (["bob/model", "--folds", "0"], "not yours"),
        (["alice/model", "--folds", "0", "--hub_revision", "v2"], "--hub_revision"),
        (["alice/model", "--folds", "0", "--hub_token", "hf_wrong"], "does not know your token"),
    ):
        assert finetune.main([*push, *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert not hub.store.exists("model", "alice/model")


@pytest.mark.parametrize("option", [["--protocol", "full"], ["--hold_out_validation", "false"]])
def test_nobody_held_out_and_no_earlier_run_is_refused_before_anything_starts(common, tmp_path, capsys, option):
    assert finetune.main([*common, *option, "--output_dir", str(tmp_path / "run")]) == 2
    assert "--reference_run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_exists_is_never_written_over(common, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    assert finetune.main([*common, "--folds", "0", "--output_dir", str(tmp_path / "run")]) == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "run" / "precious.txt").read_text() == "mine"


def test_a_missing_actor_is_named(base, tmp_path, capsys):
    make_ravdess(tmp_path / "ravdess", actors=range(1, 24))
    arguments = ["--base_model", str(base), "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "run"), *SMALL]
    assert finetune.main(arguments) == 2
    assert "24" in capsys.readouterr().err


def test_a_recipe_gives_defaults_and_the_command_line_wins(tmp_path, capsys):
    from train.arguments import parse_arguments
    from train.common import DataArguments
    from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

    types = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("learning_rate: 1.0e-4\nnum_layers: 3\nprotocol: emobox\n")
    data, model, _, training = parse_arguments(types, ["--recipe", str(recipe), "--num_layers", "4"])
    assert (data.protocol, model.num_layers, training.learning_rate) == ("emobox", 4, 1e-4)
    recipe.write_text("learning_rat: 1.0e-4\n")
    assert finetune.main(["--recipe", str(recipe), "--output_dir", str(tmp_path / "run")]) == 2
    assert "did you mean 'learning_rate'" in capsys.readouterr().err


def test_the_recipe_of_the_published_model_is_read_whole():
    from train.arguments import read_recipe

    assert read_recipe("train/recipes/whisper.yaml")["base_model"] == "openai/whisper-base"


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_in_words_and_keeps_the_last_checkpoint(
    common, tmp_path, monkeypatch, capsys
):
    class Diverging(finetune_learning.EmotionTrainer):
        def compute_loss(self, model, inputs, **kwargs):
            if model.training and self.state.epoch >= 1:
                with torch.no_grad():
                    model.classifier.bias.fill_(float("nan"))
            return super().compute_loss(model, inputs, **kwargs)

    folder = tmp_path / "run"
    words = [*common, "--folds", "0", "--output_dir", str(folder)]
    with monkeypatch.context() as patch:
        patch.setattr(finetune_learning, "EmotionTrainer", Diverging)
        assert finetune.main(words) == 2
    error = capsys.readouterr().err
    assert "the loss is no number any more, after " in error
    assert "--learning_rate 6e-05" in error
    (checkpoint,) = folder.glob("fold0/checkpoint-*")
    assert all(tensor.isfinite().all() for tensor in load_file(checkpoint / "model.safetensors").values())
    assert finetune.main([*words, "--resume_from_checkpoint", "true"]) == 0


@pytest.mark.slow
def test_a_full_disk_is_told_in_words_and_the_run_goes_on_when_there_is_room(common, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "predictions.parquet")

    folder = tmp_path / "run"
    words = [*common, "--folds", "0", "--output_dir", str(folder)]
    with monkeypatch.context() as patch:
        patch.setattr(finetune_fold, "write_predictions", full)
        assert finetune.main(words) == 1
    error = capsys.readouterr().err
    assert "No space left on device: 'predictions.parquet'" in error
    assert "--resume_from_checkpoint true" in error
    assert finetune.main([*words, "--resume_from_checkpoint", "true"]) == 0
    assert read_run_json(folder)["folds"][0]["resumed"]


def test_a_folder_that_cannot_be_is_named(common, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert finetune.main([*common, "--folds", "0", "--output_dir", str(tmp_path / "file" / "run")]) == 1
    assert str(tmp_path / "file" / "run") in capsys.readouterr().err
