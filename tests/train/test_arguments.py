"""Recipes and the command line: what a recipe may say, and which of the two wins."""

from __future__ import annotations

import json

import pytest

from train.arguments import parse_arguments, read_recipe
from train.common import DataArguments, UsageError


def test_a_recipe_that_extends_another_says_only_what_differs(tmp_path):
    (tmp_path / "base.yaml").write_text("seed: 1\nnum_layers: 3\n")
    (tmp_path / "other.yaml").write_text("extends: base.yaml\nnum_layers: 5\n")
    assert read_recipe(tmp_path / "other.yaml") == {"seed": 1, "num_layers": 5}


def test_a_recipe_that_extends_itself_or_what_is_not_there_is_told(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("extends: r.yaml\n")
    with pytest.raises(UsageError, match="extends itself"):
        read_recipe(recipe)
    recipe.write_text("extends: nothing.yaml\n")
    with pytest.raises(UsageError, match=r"cannot read the recipe .*nothing\.yaml"):
        read_recipe(recipe)


def test_the_record_of_a_run_is_a_recipe_of_what_it_computed(tmp_path):
    told = {"protocol": "random", "folds": "1", "output_dir": "runs/elsewhere", "hub_token": "x", "push_to_hub": True}
    (tmp_path / "run.json").write_text(json.dumps({"seconds": 3, "arguments": told}))
    assert read_recipe(tmp_path / "run.json") == {"protocol": "random", "folds": "1"}
    (data,) = parse_arguments((DataArguments,), ["--recipe", str(tmp_path / "run.json"), "--folds", "2"])
    assert (data.protocol, data.fold_indices) == ("random", [2])


def test_a_record_without_arguments_repeats_nothing(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="does not say what its run was told"):
        read_recipe(tmp_path / "run.json")
