"""`ser-hf` and `python -m ser_hf`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ser_hf
from ser_hf import __main__ as command
from tests.commands import OLD_NAMES

REPOSITORY = Path(__file__).resolve().parent.parent


def test_module_runs_and_lists_the_commands():
    done = subprocess.run([sys.executable, "-m", "ser_hf", "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(words in done.stdout for words in ("ser-hf predict", "ser-hf app", "python -m train.finetune"))


def test_help_names_every_training_command():
    files = (REPOSITORY / "train").glob("*.py")
    modules = {f"train.{path.stem}" for path in files if "__main__" in path.read_text()} - set(OLD_NAMES)
    assert {line.split()[2] for line in command.__doc__.splitlines() if "python -m train." in line} == modules


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["predic"], 2, "'predict'?"),
        ([], 2, "COMMAND"),
        (["predict", "x.wav", "--modle", "y"], 2, "ser-hf predict: "),
        (["predict", "--help"], 0, "usage: ser-hf predict"),
        (["--version"], 0, ser_hf.__version__),
    ],
)
def test_usage_is_told_and_ends_the_command(words, status, named, capsys):
    with pytest.raises(SystemExit) as exit:
        command.main(words)
    assert exit.value.code == status
    captured = capsys.readouterr()
    assert named in (captured.err if status else captured.out)


def test_app_becomes_the_page(monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.extend(words))
    command.main(["app", "--port", "8000"])
    assert became == [sys.executable, str(REPOSITORY / "app" / "app.py"), "--port", "8000"]


def test_app_names_what_it_lacks(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "gradio" else object())
    assert command.main(["app"]) == 2
    assert f"gradio: pip install '{REPOSITORY}[app]'" in capsys.readouterr().err
    monkeypatch.setattr(command, "__file__", str(tmp_path / "site-packages" / "ser_hf" / "__main__.py"))
    monkeypatch.chdir(tmp_path)
    assert command.main(["app"]) == 2
    assert "folder of the repository" in capsys.readouterr().err
