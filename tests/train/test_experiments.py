"""The experiments: what the file may say, what is run, and what the report says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.train.test_leaderboard import finished_run
from train import experiments, jobs
from train.arguments import read_recipe
from train.common import UsageError
from train.jobs import RECIPES

FIRST = {"name": "as-it-was", "recipe": "whisper", "hypothesis": "To compare with."}
SECOND = {
    "name": "no-speech",
    "recipe": "whisper",
    "hypothesis": "Sounds help.",
    "arguments": {"copies": 0, "calibrate": False},
    "learned": "They do not hurt.",
}


def write(tmp_path: Path, *entries: dict) -> Path:
    path = tmp_path / "experiments.yaml"
    path.write_text(yaml.safe_dump({"experiments": list(entries)}, sort_keys=False))
    return path


def run(tmp_path: Path, *words: str) -> int:
    return experiments.main(
        [
            *("--table", str(tmp_path / "experiments.yaml"), "--output", str(tmp_path / "experiments.md")),
            *("--runs_dir", str(tmp_path / "runs"), "--kept_dir", str(tmp_path / "kept"), *words),
        ]
    )


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"name": "one", "recipe": "whisper"}], "experiment one has no hypothesis"),
        ([{"recipe": "whisper", "hypothesis": ""}], "experiment number 1 has no name"),
        ([FIRST | {"argument": {}}], "experiment as-it-was has an unknown key 'argument'"),
        ([FIRST, FIRST], "two experiments called as-it-was"),
        ([FIRST, SECOND | {"against": "soup"}], "no-speech is compared with soup, which does not stand before it"),
    ],
)
def test_what_the_file_may_not_say(tmp_path, entries, words, capsys):
    write(tmp_path, *entries)
    assert run(tmp_path, "--report_only") == 2
    assert words in capsys.readouterr().err


def test_all_but_the_first_are_compared_with_the_first_or_with_what_they_name(tmp_path):
    third = {"name": "both", "recipe": "whisper", "hypothesis": "", "against": "no-speech"}
    found = experiments.read_experiments(write(tmp_path, FIRST, SECOND, third))
    assert [one["against"] for one in found] == [None, "as-it-was", "no-speech"]


def test_what_is_not_kept_is_run_and_kept_and_the_report_tells_all(tmp_path, monkeypatch, capsys):
    write(tmp_path, FIRST, SECOND)
    finished_run(tmp_path / "kept/as-it-was")
    lines = []

    def train(command, check):
        lines.append(" ".join(command))
        finished_run(Path(command[command.index("--output_dir") + 1]), seed=1)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(jobs, "subprocess", SimpleNamespace(run=train))
    assert run(tmp_path, "--base_model", "somewhere") == 0
    (line,) = lines
    assert f"train.finetune --recipe {RECIPES / 'whisper.yaml'} --protocol develop" in line
    assert line.endswith("--copies 0 --calibrate false --base_model somewhere")
    assert (tmp_path / "kept/no-speech/predictions.parquet").is_file()
    report = (tmp_path / "experiments.md").read_text()
    (row,) = [row for row in report.splitlines() if row.startswith("| `no-speech`")]
    difference = row.split("|")[6].split(": ")
    assert difference[0].strip() == "as-it-was"
    assert float(difference[1].split()[0]) > 0  # skill 2 against skill 1
    section = report.split("## no-speech")[1]
    command = "python -m train.finetune --recipe train/recipes/whisper.yaml --protocol develop"
    assert f"Sounds help.\n\n    {command} --copies 0 --calibrate false\n\nThey do not hurt." in section


def test_a_part_can_be_chosen_and_what_fails_is_told(tmp_path, monkeypatch, capsys):
    write(tmp_path, FIRST, SECOND)
    failing = SimpleNamespace(run=lambda command, check: subprocess.CompletedProcess(command, 1))
    monkeypatch.setattr(jobs, "subprocess", failing)
    assert run(tmp_path, "--names", "no-speech") == 1
    assert capsys.readouterr().err == "failed: no-speech; run again to go on with it\n"
    assert run(tmp_path, "--names", "soup") == 2
    assert "there is no name 'soup'; there are: as-it-was, no-speech" in capsys.readouterr().err


def test_the_real_file_can_be_run():
    from train.arguments import parse_arguments
    from train.common import DataArguments
    from train.finetune_arguments import AugmentationArguments, FinetuneTrainingArguments, ModelArguments

    found = experiments.read_experiments(experiments.TABLE)
    assert found
    types = (DataArguments, ModelArguments, AugmentationArguments, FinetuneTrainingArguments)
    for one in found:
        job = experiments.job_of(one)
        assert read_recipe(job.recipe)
        parse_arguments(types, job.command_line(Path("no-such-folder"))[3:])


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot read the recipe"):
        experiments.read_experiments(tmp_path / "none.yaml")
