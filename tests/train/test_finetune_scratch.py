"""Training from random weights by the same command, and the recipes of all networks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ser_hf.classifier import EmotionClassifier
from ser_hf.evaluation.runs import read_predictions, read_run_json
from ser_hf.models.scratch import ARCHITECTURES, create_from_scratch
from train import finetune
from train.arguments import parse_arguments
from train.finetune_arguments import ModelArguments

TINY = ["--window_seconds", "3", "--per_device_train_batch_size", "16", "--learning_rate", "3e-3", "--folds", "0"]
TINY += ["--silence_probability", "1", "--mixup_alpha", "0", "--disable_tqdm", "true", "--precision", "float32"]


@pytest.mark.slow
def test_network_from_scratch_beats_chance(corpus_dir, tmp_path):
    words = ["--architecture", "lstm", "--hidden_size", "32", "--num_layers", "1", "--num_train_epochs", "6", *TINY]
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        assert finetune.main([*words, "--data_dir", str(corpus_dir), "--output_dir", str(run)]) == 0
    frame = read_predictions(runs[0])
    assert len(frame) == 40
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.3  # chance is 1/8; 0.3 happens once in 300 by chance
    record = read_run_json(runs[0])
    assert (record["model"], record["base_model_commit"]) == ("lstm", None)
    assert EmotionClassifier.from_pretrained(runs[0] / "model").window_seconds == 3
    assert (runs[0] / "model" / "README.md").is_file()
    one, two = (load_file(run / "fold0" / "model" / "model.safetensors") for run in runs)
    assert all(tensor.equal(two[name]) for name, tensor in one.items())


def test_defaults_follow_the_kind_of_model():
    names = ("base_model", "family", "layer_decay", "head_factor", "fit_head_first")
    pretrained, scratch = ModelArguments(), ModelArguments(architecture="cnn-lstm")
    assert [getattr(pretrained, name) for name in names] == ["openai/whisper-base", "whisper", 0.85, 10.0, True]
    assert [getattr(scratch, name) for name in names] == [None, "cnn-lstm", 1.0, 1.0, False]
    assert ModelArguments(layer_decay=0.5, family="mine").layer_decay == 0.5


@pytest.mark.parametrize("name", ["whisper", "whisper-linear-probe", *ARCHITECTURES])
def test_recipe_is_complete(name):
    recipe = Path(f"train/recipes/{name}.yaml")
    _, model, augmentation, training = parse_arguments(finetune.ARGUMENTS, ["--recipe", str(recipe)])
    assert model.family == name
    assert augmentation.augmentation().speed > 0
    if model.architecture is None:
        assert (model.base_model, model.frozen_layers) == ("openai/whisper-base", 2)
        probe = name == "whisper-linear-probe"
        assert ((training.max_steps, training.num_train_epochs) == (-1, 0)) == probe == (model.ema_decay == 0)
        return
    assert training.learning_rate > 1e-4
    sizes = {"window": model.window_seconds, "hidden_size": model.hidden_size, "num_layers": model.num_layers}
    network, _ = create_from_scratch(name, dropout=model.dropout, **sizes)
    millions = re.search(r"([\d.]+) million parameters", recipe.read_text())[1]
    assert round(network.num_parameters() / 1e6, len(millions.partition(".")[2])) == float(millions)
