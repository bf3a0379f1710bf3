"""The Space: its card, its requirements and the files in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import RepoCard

from app.limits import Limits
from tests.local_hub import check_card
from train.publishing.space import (
    APP_FILE,
    NOTICES,
    PACKAGES,
    PROJECT,
    SpaceError,
    build_space,
    page_requirements,
    source_files,
)

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


def copy_project(folder: Path) -> Path:
    """The repository's files outside git, so that a module not yet added does not fail these tests."""
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*NOTICES, "requirements.txt", "space_card.md"):
        shutil.copyfile(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def space(project, tmp_path_factory) -> Path:
    return build_space(tmp_path_factory.mktemp("published") / "space", SPACE, MODEL, BASELINE, project)


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
        assert f"[{repo_id}](https://huggingface.co/{repo_id})" in card.text
        assert f"[`{commit[:7]}`](https://huggingface.co/{repo_id}/tree/{commit})" in card.text
    assert f'Client("{SPACE}")' in card.text
    assert not re.search(r"\{\{|\{%|None|undefined", card.text)
    for target in re.findall(r"\]\((?!https:)(.*?)\)", card.text):
        assert (space / target).is_file(), target
    limits = dict(re.findall(r"(SER_HF_LIMIT_\w+)=(\w+)", card.text))
    assert Limits.from_environment(limits) != Limits()
    start = (space / APP_FILE).read_text(encoding="utf-8")
    assert all(f'"{variable}"' in start for variable in re.findall(r"`(SER_HF_(?:MODEL|BASELINE))`", card.text))


def test_space_card_of_a_dry_run_names_no_commits(project, tmp_path):
    folder = build_space(tmp_path / "space", SPACE, "alice/ser-whisper", "alice/ser-svm", project)
    assert "/tree/" not in (folder / "README.md").read_text(encoding="utf-8")


def test_space_starts_with_the_commits_or_its_variables(space):
    command = [sys.executable, "-c", STAND_IN]
    for variables, model in (({}, MODEL), ({"SER_HF_MODEL": "bob/other"}, "bob/other")):
        done = subprocess.run(command, cwd=space, env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"{model} {BASELINE} []"


def test_space_start_quotes_names(project, tmp_path):
    evil = 'a/b"); print("evil'
    folder = build_space(tmp_path / "space", SPACE, evil, BASELINE, project)
    line = next(line for line in (folder / APP_FILE).read_text().splitlines() if "SER_HF_MODEL" in line)
    assert json.loads(line.split(", ", 1)[1].removesuffix(")")) == evil


def test_space_holds_the_page_and_nothing_else(space, project, tmp_path):
    files = files_of(space)
    assert {name.split("/")[0] for name in files} == {"README.md", APP_FILE, "requirements.txt", *NOTICES, *PACKAGES}
    assert {"app/style.css", "app/upload.js", "app/microphone.js", "app/examples/plain.flac"} <= files.keys()
    assert not [name for name in files if re.search(r"test|train/|\.safetensors|\.skops", name)]
    for package in PACKAGES:
        assert {path.relative_to(project).as_posix() for path in (project / package).rglob("*.py")} <= files.keys()
    assert not [name for name, content in files.items() if str(PROJECT).encode() in content]
    assert files_of(build_space(tmp_path / "again", SPACE, MODEL, BASELINE, project)) == files


@pytest.fixture
def clone(tmp_path) -> Path:
    """A small project in a git repository that tracks all of its files."""
    folder = tmp_path / "clone"
    for name in ("app/app.py", "ser_hf/__init__.py", "ser_hf/words.txt", *NOTICES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("requirements.txt", "space_card.md"):
        shutil.copyfile(PROJECT / name, folder / name)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def test_source_files_are_what_git_tracks(clone, tmp_path):
    (clone / "app/notes.md").write_text("private")
    assert source_files(clone) == ["app/app.py", "ser_hf/__init__.py", "ser_hf/words.txt"]
    (clone / "ser_hf/begun.py").touch()
    with pytest.raises(SpaceError, match=r"ser_hf/begun\.py"):
        build_space(tmp_path / "space", SPACE, MODEL, BASELINE, clone)


@pytest.mark.parametrize("has_git", [True, False])
def test_source_files_outside_a_clone_go_by_suffix(clone, tmp_path, monkeypatch, has_git):
    if has_git:  # a copy of the files, without their history
        shutil.rmtree(clone / ".git")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    for name in (".hidden.py", "app.pyc"):
        (clone / "app" / name).touch()
    assert source_files(clone) == ["app/app.py", "ser_hf/__init__.py"]


def test_page_requirements_are_pins_of_the_project(space, clone):
    pins = (clone / "requirements.txt").read_text().splitlines()
    lines = (space / "requirements.txt").read_text().splitlines()
    assert lines
    assert set(lines) <= set(pins)
    (clone / "requirements.txt").write_text("\n".join(line for line in pins if not line.startswith("av==")))
    with pytest.raises(SpaceError, match="av==VERSION"):
        page_requirements(clone)
