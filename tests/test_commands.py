"""What holds for every command: its help, its examples, and how it answers a mistyped name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.commands import COMMANDS, OLD_NAMES, check, examples, module_of, parser_of

REPOSITORY = Path(__file__).resolve().parent.parent


def shown(command: str, words: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        parser_of(command)(words)
    return exit.value.code, *capsys.readouterr()


def test_no_command_is_missing_here():
    folders = ("ser_hf", "app", "train", "experiments", "docs")
    modules = [path for folder in folders for path in REPOSITORY.glob(f"{folder}/**/*.py")]
    started = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__main__")
        for path in modules
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    # The start of a Space is a text in the module that writes it.
    assert started - {"train.publishing.space", *OLD_NAMES} | {"tests.qa.load"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_explains_every_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, text, error = shown(command, ["--help"], capsys)
    assert (code, error) == (0, "")
    assert text.startswith(f"usage: {'ser-hf' if command == 'ser_hf' else f'python -m {command}'}")
    own = module_of(command).__doc__
    assert list(examples(own)), "no example"
    assert all(line in text for line in own.splitlines() if line.startswith("    "))
    for line in examples(own):
        if line.startswith(("python -m", "ser-hf")):
            check(line)
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  --"):
            told = len(line.split("  ")) > 2 or lines[number + 1].startswith(" " * 10)
            assert told, f"{command}: {line.strip()} has no help"


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_option_gets_the_nearest(command, capsys):
    option = max(re.findall(r"^  --(\w+)", shown(command, ["--help"], capsys)[1], re.MULTILINE), key=len)
    mistyped = f"--{option[:-2]}{option[-1]}{option[-2]}"
    code, text, error = shown(command, [mistyped, "1"], capsys)
    assert (code, text) == (2, "")
    assert mistyped in error
    assert f"--{option}?" in error
    assert error.count("\n") == 1


def test_help_all_lists_options_of_transformers(capsys):
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
    ("line", "near"),
    [
        ("train.baseline --model svn", "svm"),
        ("train.baseline --protocol actr", "actor"),
        ("train.finetune --architecture cnn-lstn", "cnn-lstm"),
        ("train.finetune --precision bfloat", "bfloat16"),
        ("train.baseline --corpora ravdes", "ravdess"),
        ("train.baseline --features mfc,pitch", "mfcc"),
        ("train.evaluate --model models/ser-svn --corpora emodb --output_dir x", "models/ser-svm"),
        ("experiments.leaderboard --rows wisper", "whisper"),
        ("experiments.search --names fine-tune", "fine-tuned"),
    ],
)
def test_mistyped_name_gets_the_nearest(line, near, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_HF_DATA", str(tmp_path))
    monkeypatch.chdir(REPOSITORY)
    command, *words = line.split()
    try:
        status = importlib.import_module(command).main(words)
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    assert f"did you mean {near!r}?" in capsys.readouterr().err
