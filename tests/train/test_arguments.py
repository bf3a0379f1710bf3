"""Recipes as defaults of the command line."""

from __future__ import annotations

import json

import pytest

from train import baseline, finetune
from train.arguments import parse_arguments, read_recipe
from train.common import DataArguments, UsageError


def test_read_recipe_extends_another(tmp_path):
    (tmp_path / "base.yaml").write_text("seed: 1\nnum_layers: 3\n")
    (tmp_path / "other.yaml").write_text("extends: base.yaml\nnum_layers: 5\n")
    assert read_recipe(tmp_path / "other.yaml") == {"seed": 1, "num_layers": 5}


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("r.yaml", "extends: r.yaml\n", r"r\.yaml extends itself"),
        ("r.yaml", "extends: nothing.yaml\n", r"nothing\.yaml"),
        ("r.yaml", "- seed\n", r"r\.yaml"),
        ("r.json", "{", r"r\.json"),
        ("run.json", "{}", r"run\.json"),
    ],
)
def test_read_recipe_names_a_bad_file(name, text, named, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=named):
        read_recipe(tmp_path / name)


def test_run_json_is_a_recipe(tmp_path, capsys):
    arguments = {"protocol": "random", "folds": "1", "output_dir": "runs/elsewhere", "hub_token": "x", "removed": 3}
    (tmp_path / "run.json").write_text(json.dumps({"seconds": 3, "arguments": arguments | {"push_to_hub": True}}))
    assert read_recipe(tmp_path / "run.json") == {"protocol": "random", "folds": "1", "removed": 3}
    (data,) = parse_arguments((DataArguments,), ["--recipe", str(tmp_path / "run.json"), "--folds", "2"])
    assert (data.protocol, data.fold_indices) == ("random", [2])
    assert "--removed" in capsys.readouterr().err  # an argument of an earlier version


@pytest.mark.parametrize(
    ("command", "text", "near"),
    [
        (finetune, "num_layer: 3\n", "num_layers"),
        (finetune, "architecture: cn\n", "cnn"),
        (finetune, "protocol: actr\n", "actor"),
        (baseline, "model: knm\n", "knn"),
        (baseline, "folder: 1\n", "folds"),
    ],
)
def test_mistyped_recipe_gets_the_nearest(command, text, near, tmp_path, corpus_dir, capsys):
    (tmp_path / "r.yaml").write_text(text)
    words = ["--recipe", str(tmp_path / "r.yaml"), "--data_dir", str(corpus_dir)]
    assert command.main([*words, "--output_dir", str(tmp_path / "run")]) == 2
    assert f"did you mean {near!r}?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
