"""Training on what the frozen layers gave: a whole run of it, a resumed one, and what it is refused with."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from ser_hf.models.frozen import FrozenStates
from ser_hf.runs import read_predictions, read_run_json
from ser_hf.splits import Fold
from tests.tiny_bases import save_tiny_base
from train import finetune, finetune_learning

SMALL = ["--window_seconds", "1", "--num_layers", "2", "--frozen_layers", "1", "--num_train_epochs", "2"]
SMALL += ["--per_device_train_batch_size", "32", "--disable_tqdm", "true", "--precision", "float32"]


@pytest.fixture(scope="module")
def common(corpus_dir, tmp_path_factory):
    base = save_tiny_base("whisper", tmp_path_factory.mktemp("base"))
    return ["--base_model", str(base), "--data_dir", str(corpus_dir), *SMALL, "--spec_augment", "0.1"]


@pytest.mark.slow
def test_a_run_on_kept_states_ends_the_same_when_it_was_broken_off(common, tmp_path, monkeypatch, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    words = [*common, "--frozen_versions", "2", "--no_speech", "0.1", "--folds", "0,3"]
    assert finetune.main([*words, "--output_dir", str(one)]) == 0
    assert not (one / "frozen").exists()
    assert read_run_json(one)["arguments"]["frozen_versions"] == 2
    assert len(read_predictions(one)) == 80

    class PulledPlugError(RuntimeError):
        pass

    class Unplugged(finetune_learning.EpochCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch >= 1:
                raise PulledPlugError
            super().on_epoch_begin(args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(finetune_learning, "EpochCallback", Unplugged)
        with pytest.raises(PulledPlugError):
            finetune.main([*words, "--output_dir", str(two)])
    assert sorted(file.name for file in (two / "frozen").glob("?.npy")) == ["0.npy", "1.npy"]
    assert finetune.main([*words, "--output_dir", str(two), "--resume_from_checkpoint", "true"]) == 0
    for fold in (0, 3):
        weights = [load_file(run / f"fold{fold}" / "model" / "model.safetensors") for run in (one, two)]
        assert "encoder.conv1.weight" in weights[0]
        for name, tensor in weights[0].items():
            assert tensor.equal(weights[1][name]), name
    other = load_file(one / "fold3" / "model" / "model.safetensors")
    first = load_file(one / "fold0" / "model" / "model.safetensors")
    assert other["encoder.layers.0.fc1.weight"].equal(first["encoder.layers.0.fc1.weight"])
    assert not other["encoder.layers.1.fc1.weight"].equal(first["encoder.layers.1.fc1.weight"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frozen_versions", "-1"], "--frozen_versions is 0 or more"),
        (["--frozen_versions", "2", "--frozen_layers", "0"], "needs --frozen_layers"),
        (["--frozen_versions", "2", "--copies", "1"], "leave --copies out"),
        (["--frozen_versions", "2", "--frozen_layers", "4"], "1 to 2 layers can be frozen"),
        (["--deviations_above", "2"], "--deviations_above needs --fit_head_first and all layers frozen"),
        (["--deviations_above", "2", "--frozen_layers", "2", "--fit_head_first", "false"], "needs --fit_head_first"),
        (["--deviations_above", "3", "--frozen_layers", "2"], "above layers 1 to 2, ascending; not above 3"),
        (["--head_shrinkage", "1.5"], "--head_shrinkage 1.5: it is between 0 and 1"),
        (["--head_shrinkage", "0.5", "--fit_head_first", "false"], "with --fit_head_first"),
        (["--deviations_above", "two"], "takes layers as in 2,3, not 'two'"),
    ],
)
def test_what_does_not_go_together_is_told_in_words(common, tmp_path, capsys, options, words):
    assert finetune.main([*common, *options, "--folds", "0", "--output_dir", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err


def test_kept_versions_of_joined_clips_are_refused_where_speakers_are_on_both_sides(common, tmp_path, capsys):
    words = [*common, "--frozen_versions", "2", "--join_probability", "0.5", "--output_dir", str(tmp_path / "run")]
    assert finetune.main([*words, "--protocol", "random"]) == 2
    assert "leave one of the two out" in capsys.readouterr().err


def test_the_head_is_fitted_on_the_clips_as_they_are_and_on_changed_ones(tmp_path):
    states = FrozenStates(tmp_path, versions=2)
    for value, name in enumerate(("plain", "0", "1")):
        np.save(tmp_path / f"{name}.npy", np.full((4, 3, 2), value, np.float16))
        np.save(tmp_path / f"{name}-labels.npy", np.eye(4, 8, dtype=np.float32))
    fold = Fold(0, train=np.array([0, 2]), validation=np.array([1]), test=np.array([3]))
    lessons = finetune_learning.lessons_of_states(states, fold, None, seed=0)
    assert [float(one[1]["samples"].mean()) for one in lessons.heads] == [0, 1, 2]
    assert [len(one) for one in lessons.heads] == [2, 2, 2]


@pytest.mark.slow
def test_joined_clips_are_learned_from(common, tmp_path):
    words = [*common, "--frozen_versions", "2", "--join_probability", "1", "--folds", "0"]
    assert finetune.main([*words, "--output_dir", str(tmp_path / "run")]) == 0
    assert len(read_predictions(tmp_path / "run")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["0", "2"])
def test_a_regression_on_deviations_is_a_run_without_learning(common, tmp_path, versions):
    words = [*common, "--frozen_layers", "2", "--deviations_above", "1,2", "--num_train_epochs", "0"]
    words += ["--frozen_versions", versions, "--folds", "0", "--output_dir", str(tmp_path / "run")]
    assert finetune.main(words) == 0
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert (config["encoder_layers"], config["deviation_layers"]) == (4, [1, 3])
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for layer in config["deviation_layers"]:
        assert weights[f"encoder.layers.{layer}.fc2.weight"].abs().sum() > 0
    assert len(read_predictions(tmp_path / "run")) > 0
