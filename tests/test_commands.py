"""What holds for every command: its help, its examples, and how it answers a mistyped name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from ser_hf.names import unknown_name
from tests.commands import COMMANDS, check, examples, module_of, parser_of

REPOSITORY = Path(__file__).resolve().parent.parent


def document(command: str) -> str:
    return module_of(command).__doc__


def shown(command: str, words: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        parser_of(command)(words)
    return exit.value.code, *capsys.readouterr()


def test_no_command_is_missing_here():
    folders = ("ser_hf", "app", "train", "benchmarks", "experiments", "docs")
    modules = [path for folder in folders for path in REPOSITORY.glob(f"{folder}/**/*.py")]
    started = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__main__")
        for path in modules
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    # The start of a Space is a text in the module that writes it.
    assert started - {"train.publishing.space"} | {
        "tests.app.load",
        "tests.fuzz",
        "tests.hostile",
        "tests.local_hub",
        "tests.mutants",
        "tests.train.killed",
        "tests.trust",
    } == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does_with_examples_and_explains_every_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, text, error = shown(command, ["--help"], capsys)
    assert (code, error) == (0, "")
    assert text.startswith(f"usage: {'ser-hf' if command == 'ser_hf' else f'python -m {command}'}")
    assert "\x1b" not in text
    if command != "tests.local_hub":
        assert list(examples(document(command))), "no example"
        assert all(line in text for line in document(command).splitlines() if line.startswith("    "))
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  --"):
            told = len(line.split("  ")) > 2 or lines[number + 1].startswith(" " * 10)
            assert told, f"{command}: {line.strip()} has no help"


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_the_help_are_right(command):
    for line in examples(document(command)):
        if line.startswith(("python -m", "ser-hf")):
            check(line)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_answered_with_the_nearest(command, capsys):
    near = {"ser_hf": "version", "ser_hf.predict": "format", "app.app": "baseline", "benchmarks.page": "rounds"}
    near |= {"train.evaluate": "corpora", "train.baseline": "protocol", "train.finetune": "num_layers"}
    near |= {"train.robustness": "data_dir", "tests.local_hub": "port", "train.experiments": "report_only"}
    near |= {
        "tests.app.load": "clients",
        "tests.hostile": "doors",
        "tests.mutants": "processes",
        "tests.train.killed": "kills",
        "train.leaderboard": "protocols",
        "train.publish": "dry_run",
    }
    option = near.get(command, "output")
    mistyped = "--" + option[:-2] + option[-1] + option[-2]
    code, text, error = shown(command, [mistyped, "1"], capsys)
    assert (code, text) == (2, "")
    assert error.endswith(f": there is no option {mistyped}; did you mean --{option}?\n")
    assert error.count("\n") == 1


def test_options_of_transformers_are_named_and_listed_on_demand(capsys):
    short, long = (shown("train.finetune", [words], capsys)[1] for words in ("--help", "--help_all"))
    assert "TrainingArguments" in short
    assert "--gradient_accumulation_steps" not in short
    assert "--gradient_accumulation_steps" in long
    assert len(short.splitlines()) < 0.5 * len(long.splitlines())
    places = [short.index(f"\n{group}: ") for group in ("data", "model", "augmentation", "training")]
    assert places == sorted(places)
    # They are taken all the same.
    *_, training = parser_of("train.finetune")(["--gradient_accumulation_steps", "2", "--no_calibrate"])
    assert training.gradient_accumulation_steps == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("train.baseline --model svn", "did you mean 'svm'?"),
        ("train.baseline --protocol actr", "did you mean 'actor'?"),
        ("train.finetune --architecture cnn-lstn", "did you mean 'cnn-lstm'?"),
        ("train.finetune --precision bfloat", "did you mean 'bfloat16'?"),
        ("ser_hf.predict x.wav --format josnl", "did you mean 'jsonl'?"),
        ("ser_hf predicr", "did you mean 'predict'?"),
    ],
)
def test_a_mistyped_choice_is_answered_with_the_nearest(line, told, capsys):
    command, *words = line.split()
    code, _, error = shown(command, words, capsys)
    assert code == 2
    assert told in error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("train.baseline --corpora ravdes", "there is no corpus 'ravdes'; did you mean 'ravdess'?"),
        ("train.baseline --features mfc,pitch", "there is no group 'mfc'; did you mean 'mfcc'?"),
        ("train.evaluate --model models/ser-svn --corpora emodb --output_dir x", "did you mean 'models/ser-svm'?"),
        ("train.leaderboard --rows wisper", "did you mean 'whisper'?"),
        ("train.experiments --names fine-tune", "did you mean 'fine-tuned'?"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(line, told, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_HF_DATA", str(tmp_path))
    monkeypatch.chdir(REPOSITORY)
    command, *words = line.split()
    assert importlib.import_module(command).main(words) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("num_layer: 3\n", "there is no argument 'num_layer'; did you mean 'num_layers'?"),
        ("architecture: cn\n", "there is no architecture 'cn'; did you mean 'cnn'?"),
        ("protocol: actr\n", "there is no protocol 'actr'; did you mean 'actor'?"),
    ],
)
def test_a_mistyped_recipe_is_answered_with_the_nearest(recipe, told, corpus_dir, capsys, tmp_path):
    from train import finetune

    (tmp_path / "recipe.yaml").write_text(recipe)
    words = ["--recipe", str(tmp_path / "recipe.yaml"), "--data_dir", str(corpus_dir)]
    assert finetune.main([*words, "--output_dir", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err


def test_a_model_of_a_recipe_that_is_not_known(corpus_dir, capsys, tmp_path):
    from ser_hf.models.families import FAMILIES
    from train import baseline

    (tmp_path / "recipe.yaml").write_text("model: knm\n")
    words = ["--recipe", str(tmp_path / "recipe.yaml"), "--data_dir", str(corpus_dir)]
    assert baseline.main([*words, "--output_dir", str(tmp_path / "run")]) == 2
    assert unknown_name("model", "knm", FAMILIES) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_command_that_is_started_says_so_in_one_line():
    """Not through the functions of this process: what a person sees."""
    line = [sys.executable, "-m", "train.baseline", "--modle", "svm"]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "python -m train.baseline: there is no option --modle; did you mean --model?"
    assert "Traceback" not in done.stderr
