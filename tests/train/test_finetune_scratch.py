"""Training from random weights by the same command: it learns, two runs agree, and arguments that clash are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ser_hf.classifier import EmotionClassifier
from ser_hf.models.scratch import ARCHITECTURES, create_from_scratch
from ser_hf.runs import read_predictions, read_run_json
from train import finetune
from train.arguments import parse_arguments
from train.common import DataArguments, UsageError
from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

TYPES = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
TINY = ["--window_seconds", "3", "--per_device_train_batch_size", "16", "--learning_rate", "3e-3"]
TINY += [
    "--silence_probability",
    "1",
    "--mixup_alpha",
    "0",
    "--folds",
    "0",
    "--disable_tqdm",
    "true",
    "--precision",
    "float32",
]


def train(corpus_dir, folder, architecture, *arguments):
    common = ["--architecture", architecture, "--data_dir", str(corpus_dir), "--output_dir", str(folder), *TINY]
    return finetune.main([*common, *arguments])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        ("lstm", ["--hidden_size", "32", "--num_layers", "1", "--num_train_epochs", "6"]),
        ("cnn", ["--hidden_size", "32", "--num_train_epochs", "30"]),
        ("cnn-lstm", ["--hidden_size", "32", "--num_train_epochs", "30"]),
    ],
)
def test_a_run_from_scratch_beats_chance_and_again_is_the_same(architecture, sizes, corpus_dir, tmp_path):
    assert train(corpus_dir, tmp_path / "one", architecture, *sizes) == 0
    frame = read_predictions(tmp_path / "one")
    assert len(frame) == 40
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.3  # chance is 1/8, and 0.3 by chance one in 300
    run = read_run_json(tmp_path / "one")
    assert (run["model"], run["base_model_commit"]) == (architecture, None)
    told = {name: run["arguments"][name] for name in ("architecture", "base_model", "layer_decay", "fit_head_first")}
    assert told == {"architecture": architecture, "base_model": None, "layer_decay": 1.0, "fit_head_first": False}
    classifier = EmotionClassifier.from_pretrained(tmp_path / "one" / "model")
    assert classifier.window_seconds == 3
    assert (tmp_path / "one" / "model" / "README.md").is_file()
    if architecture == "lstm":
        assert train(corpus_dir, tmp_path / "two", architecture, *sizes) == 0
        one, two = (load_file(tmp_path / run / "fold0" / "model" / "model.safetensors") for run in ("one", "two"))
        for name, tensor in one.items():
            assert tensor.equal(two[name]), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--architecture", "cnn", "--base_model", "openai/whisper-base"], "--base_model goes with a pretrained model"),
        (["--architecture", "cnn", "--frozen_layers", "1"], "--frozen_layers goes with a pretrained model"),
        (["--hidden_size", "64"], "--hidden_size goes with --architecture"),
        (["--architecture", "cnn", "--speed", "2"], "speed must be a number between 0 and 0.9"),
        (["--architecture", "cnn", "--copies", "-1"], "--copies must be 0 or more"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused_before_anything_is_read(arguments, words, tmp_path, capsys):
    options = ["--data_dir", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "run")]
    assert finetune.main([*arguments, *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_architecture_of_a_recipe_that_is_none_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").write_text("architecture: rnn\n")
    with pytest.raises(UsageError, match=r"there is no architecture 'rnn'; .*here are: lstm, cnn, cnn-lstm, vit"):
        parse_arguments(TYPES, ["--recipe", str(tmp_path / "recipe.yaml")])


def test_what_is_not_said_follows_from_what_is_trained():
    pretrained, scratch = ModelArguments().resolved(), ModelArguments(architecture="cnn-lstm").resolved()
    assert (pretrained.base_model, pretrained.family) == ("openai/whisper-base", "whisper")
    assert (pretrained.layer_decay, pretrained.head_factor, pretrained.fit_head_first) == (0.85, 10.0, True)
    assert (scratch.base_model, scratch.family) == (None, "cnn-lstm")
    assert (scratch.layer_decay, scratch.head_factor, scratch.fit_head_first) == (1.0, 1.0, False)
    assert ModelArguments(layer_decay=0.5, family="mine").resolved().layer_decay == 0.5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_has_a_recipe_that_is_read_whole(architecture):
    _, model, augmentation, training = parse_arguments(TYPES, ["--recipe", f"train/recipes/{architecture}.yaml"])
    assert model.resolved().family == architecture
    assert augmentation.augmentation().speed > 0
    assert training.learning_rate > 1e-4
    sizes = {"window": model.window_seconds, "hidden_size": model.hidden_size, "num_layers": model.num_layers}
    network, _ = create_from_scratch(architecture, dropout=model.dropout, **sizes)
    millions = re.search(r"([\d.]+) million parameters", Path(f"train/recipes/{architecture}.yaml").read_text())[1]
    assert round(network.num_parameters() / 1e6, len(millions.partition(".")[2])) == float(millions)
