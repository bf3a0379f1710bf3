"""`ser-hf` and `python -m ser_hf`."""

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
    for words in ("ser-hf predict", "ser-hf app", "python -m train.finetune --help"):
        assert words in done.stdout


def test_every_command_of_the_trainings_is_named():
    files = (REPOSITORY / "train").glob("*.py")
    modules = {f"train.{path.stem}" for path in files if "__main__" in path.read_text()} - set(OLD_NAMES)
    assert {line.split()[2] for line in command.__doc__.splitlines() if "python -m train." in line} == modules


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predic"], "there is no choice 'predic'; did you mean 'predict'?"),
        (["--versoin"], "--version"),
        ([], "required: COMMAND"),
        (["predict", "x.wav", "--modle", "y"], "ser-hf predict: there is no option --modle; did you mean --model?"),
    ],
)
def test_wrong_usage_exits_with_two_and_names_the_nearest(words, told, capsys):
    with pytest.raises(SystemExit) as exit:
        command.main(words)
    assert exit.value.code == 2
    assert told in capsys.readouterr().err


def test_predict_is_told_by_its_name(capsys):
    assert command.main(["predict", "x.wav", "--format", "parquet"]) == 2
    assert capsys.readouterr().err.startswith("ser-hf predict: ")
    with pytest.raises(SystemExit) as exit:
        command.main(["predict", "--help"])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ser-hf predict")


def test_app_becomes_the_page_with_its_words(monkeypatch):
    became = []
    monkeypatch.setattr(command, "_become", lambda words: became.append(words) or 0)
    assert command.main(["app", "--port", "8000"]) == 0
    assert became == [[sys.executable, str(REPOSITORY / "app" / "app.py"), "--port", "8000"]]


def test_app_says_which_packages_it_lacks(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "gradio" else object())
    assert command.main(["app"]) == 2
    assert capsys.readouterr().err == f"ser-hf app: the page needs gradio: pip install '{REPOSITORY}[app]'\n"


def test_app_without_the_tree_says_where_to_run_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "__file__", str(tmp_path / "site-packages" / "ser_hf" / "__main__.py"))
    monkeypatch.chdir(tmp_path)
    assert command.main(["app"]) == 2
    assert "in the folder of the repository" in capsys.readouterr().err
    monkeypatch.chdir(REPOSITORY)
    assert command.repository() == REPOSITORY


def test_version(capsys):
    with pytest.raises(SystemExit):
        command.main(["--version"])
    assert capsys.readouterr().out == f"ser_hf {ser_hf.__version__}\n"
