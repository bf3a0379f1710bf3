"""The Space: its card, its requirements and the files in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import RepoCard

from app.limits import Limits
from tests.local_hub import check_card
from train.common import UsageError
from train.publishing.space import APP_FILE, NOTICES, PACKAGES, PROJECT, build_space, page_requirements, source_files

SPACE = "alice/speech-emotion"
COMMITS = ("1a2b3c4d5e" * 4, "0f1e2d3c4b" * 4)
MODEL, BASELINE = (f"alice/{name}@{commit}" for name, commit in zip(("ser-whisper", "ser-svm"), COMMITS, strict=True))

# The Space's start, with a page in place of ours that prints what it would show.
STAND_IN = f"""
import os, runpy, sys, types
page = types.ModuleType("app.app")
page.main = lambda argv: print(os.environ["SER_HF_MODEL"], os.environ["SER_HF_BASELINE"], argv)
sys.modules |= {{"app": types.ModuleType("app"), "app.app": page}}
runpy.run_path({APP_FILE!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    return build_space(tmp_path_factory.mktemp("published") / "space", SPACE, MODEL, BASELINE)


@pytest.fixture(scope="module")
def card(space) -> RepoCard:
    return RepoCard.load(space / "README.md")


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_space_card_has_valid_settings(card, space):
    settings = card.data.to_dict()
    assert check_card(card.content, "space") == []
    assert (space / settings["app_file"]).is_file()
    assert settings["models"] == ["alice/ser-whisper", "alice/ser-svm"]
    assert f"gradio=={settings['sdk_version']}" in (space / "requirements.txt").read_text().splitlines()
    oldest = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert oldest == f">={settings['python_version']}"


def test_space_card_names_models_commits_and_variables(card, space):
    for repo_id, commit in zip(("alice/ser-whisper", "alice/ser-svm"), COMMITS, strict=True):
        assert f"[`{commit[:7]}`](https://huggingface.co/{repo_id}/tree/{commit})" in card.text
    assert f'Client("{SPACE}")' in card.text
    assert not re.search(r"\{\{|\{%|None|undefined", card.text)
    for target in re.findall(r"\]\((?!https:)(.*?)\)", card.text):
        assert (space / target).is_file(), target
    limits = dict(re.findall(r"(SER_HF_LIMIT_\w+)=(\w+)", card.text))
    assert Limits.from_environment(limits) != Limits()
    start = (space / APP_FILE).read_text(encoding="utf-8")
    assert all(f'"{variable}"' in start for variable in re.findall(r"`(SER_HF_(?:MODEL|BASELINE))`", card.text))


def test_space_starts_with_the_commits_or_its_variables(space):
    for variables, model in (({}, MODEL), ({"SER_HF_MODEL": "bob/other"}, "bob/other")):
        command = [sys.executable, "-c", STAND_IN]
        done = subprocess.run(command, cwd=space, env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"{model} {BASELINE} []"


def test_space_holds_the_page_and_nothing_else(space, tmp_path):
    files = files_of(space)
    assert {name.split("/")[0] for name in files} == {"README.md", APP_FILE, "requirements.txt", *NOTICES, *PACKAGES}
    assert {"app/style.css", "app/upload.js", "app/microphone.js", "app/examples/plain.flac"} <= files.keys()
    assert not [name for name in files if re.search(r"test|train/|\.safetensors|\.skops", name)]
    for package in PACKAGES:
        assert {path.relative_to(PROJECT).as_posix() for path in (PROJECT / package).rglob("*.py")} <= files.keys()
    assert not [name for name, content in files.items() if str(PROJECT).encode() in content]
    # A dry run names no commits; all else is the same.
    other = files_of(build_space(tmp_path / "again", SPACE, "alice/ser-whisper", "alice/ser-svm"))
    assert {name for name in files if files[name] != other[name]} == {APP_FILE, "README.md"}
    assert b"/tree/" not in other["README.md"]


def test_source_files_go_by_suffix(tmp_path):
    for name in ("app/app.py", "app/.hidden.py", "app/app.pyc", "ser_hf/__init__.py", "ser_hf/words.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert source_files(tmp_path) == ["app/app.py", "ser_hf/__init__.py"]


def test_page_requirements_are_pins_of_the_project(space, tmp_path):
    pins = (PROJECT / "requirements.txt").read_text().splitlines()
    lines = (space / "requirements.txt").read_text().splitlines()
    assert lines
    assert set(lines) <= set(pins)
    (tmp_path / "requirements.txt").write_text("\n".join(line for line in pins if not line.startswith("av==")))
    with pytest.raises(UsageError, match="pins no av"):
        page_requirements(tmp_path)
