"""The Space: its card, its requirements and what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from app.limits import Limits
from train.publishing.space import (
    APP_FILE,
    LARGEST_FILE,
    NOTICES,
    PACKAGES,
    PROJECT,
    PYTHON_VERSION,
    SpaceError,
    build_space,
    page_requirements,
    source_files,
)

SPACE = "alice/speech-emotion"
COMMITS = ("1a2b3c4d5e" * 4, "0f1e2d3c4b" * 4)
MODEL, BASELINE = (f"alice/{name}@{commit}" for name, commit in zip(("ser-whisper", "ser-svm"), COMMITS, strict=True))

# https://huggingface.co/docs/hub/spaces-config-reference, and `license`, which every repository's card may have.
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SETTINGS = {
    "title": str,
    "emoji": str,
    "colorFrom": str,
    "colorTo": str,
    "sdk": str,
    "python_version": str,
    "sdk_version": str,
    "suggested_hardware": str,
    "suggested_storage": str,
    "app_file": str,
    "app_build_command": str,
    "app_port": int,
    "base_path": str,
    "fullWidth": bool,
    "header": str,
    "short_description": str,
    "models": list,
    "datasets": list,
    "tags": list,
    "thumbnail": str,
    "pinned": bool,
    "hf_oauth": bool,
    "hf_oauth_scopes": list,
    "hf_oauth_expiration_minutes": int,
    "hf_oauth_authorized_org": (str, list),
    "disable_embedding": bool,
    "startup_duration_timeout": str,
    "custom_headers": dict,
    "preload_from_hub": list,
    "license": str,
}
LONGEST_DESCRIPTION = 60  # characters that the Hub takes

# The Space's start, with a page in place of ours that prints what it would show.
STAND_IN = f"""
import os, runpy, sys, types
page = types.ModuleType("app.app")
page.main = lambda argv: print(os.environ["SER_HF_MODEL"], os.environ["SER_HF_BASELINE"], argv)
sys.modules |= {{"app": types.ModuleType("app"), "app.app": page}}
runpy.run_path({APP_FILE!r}, run_name="__main__")
"""


def copy_project(folder: Path) -> Path:
    """The repository's files outside git, so that a module just begun does not fail these tests."""
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, folder / package)
    for name in (*NOTICES, "requirements.txt", "space_card.md"):
        shutil.copyfile(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def space(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_space(tmp_path_factory.mktemp("published") / "space", SPACE, MODEL, BASELINE, project)


@pytest.fixture(scope="module")
def settings(space: Path) -> dict:
    return yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def files_of(folder: Path) -> dict[str, str]:
    """Every file with a digest of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_settings_are_those_that_the_hub_documents(settings, space):
    for key, value in settings.items():
        assert isinstance(value, SETTINGS[key]), key
    assert {settings["colorFrom"], settings["colorTo"]} <= COLORS
    assert len(settings["short_description"]) <= LONGEST_DESCRIPTION
    assert [unicodedata.category(character) for character in settings["emoji"]] == ["So"]
    assert settings["sdk"] == "gradio"
    assert (space / settings["app_file"]).is_file()
    assert settings["license"] == "apache-2.0"
    assert settings["models"] == ["alice/ser-whisper", "alice/ser-svm"]


def test_versions_are_those_of_the_project(settings, space):
    assert f"gradio=={settings['sdk_version']}" in (PROJECT / "requirements.txt").read_text().splitlines()
    assert f"gradio=={settings['sdk_version']}" in (space / "requirements.txt").read_text().splitlines()
    oldest = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert oldest == f">={settings['python_version']}"


def test_card_names_the_models_their_commits_and_the_api(space):
    text = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    for repo_id, commit in zip(("alice/ser-whisper", "alice/ser-svm"), COMMITS, strict=True):
        assert f"[{repo_id}](https://huggingface.co/{repo_id})" in text
        assert f"[`{commit[:7]}`](https://huggingface.co/{repo_id}/tree/{commit})" in text
    assert f'Client("{SPACE}")' in text
    assert "It cannot know what a person feels" in text
    assert "CC BY-NC-SA 4.0" in text
    assert not re.search(r"\{\{|\{%|None|undefined", text)
    for target in re.findall(r"\]\((?!https:)(.*?)\)", text):
        assert (space / target).is_file(), target
    levels = [len(line.split()[0]) for line in text.splitlines() if line.startswith("#")]
    assert levels[0] == 1
    assert all(after <= before + 1 and after > 1 for before, after in pairwise(levels))


def test_card_gives_variables_that_there_are(space):
    text = (space / "README.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"(SER_HF_LIMIT_\w+)=(\w+)", text))
    assert examples
    assert Limits.from_environment(examples) != Limits()
    start = (space / APP_FILE).read_text(encoding="utf-8")
    for variable in re.findall(r"`(SER_HF_(?:MODEL|BASELINE))`", text):
        assert f'"{variable}"' in start


def test_card_without_commits_promises_none(project, tmp_path):
    """As a dry run has it, before anything is published."""
    folder = build_space(tmp_path / "space", SPACE, "alice/ser-whisper", "alice/ser-svm", project)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "commits" not in text
    assert "right on voices that they never heard.\n\nThe page" in text


def test_start_names_the_commits_and_a_variable_of_the_space_wins(space):
    def shown(**variables: str) -> str:
        environment = {"PATH": os.environ["PATH"], **variables}
        done = subprocess.run(
            [sys.executable, "-c", STAND_IN], cwd=space, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert shown() == f"{MODEL} {BASELINE} []"
    assert shown(SER_HF_MODEL="bob/other") == f"bob/other {BASELINE} []"


def test_names_cannot_become_code(project, tmp_path):
    evil = 'a/b"); print("evil'
    folder = build_space(tmp_path / "space", SPACE, evil, BASELINE, project)
    line = next(line for line in (folder / APP_FILE).read_text().splitlines() if "SER_HF_MODEL" in line)
    assert json.loads(line.split(", ", 1)[1].removesuffix(")")) == evil


def test_holds_the_page_and_nothing_else(space, project):
    names = files_of(space).keys()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"README.md", APP_FILE, "requirements.txt", *NOTICES, *PACKAGES}
    scripts = {"app/upload.js", "app/microphone.js"}
    assert {"app/app.py", "app/style.css", *scripts, "app/examples/plain.flac", "ser_hf/classifier.py"} <= names
    assert not [name for name in names if re.search(r"test|train/|\.pyc|__pycache__|\.safetensors|\.skops", name)]
    for package in PACKAGES:  # all of it
        sources = {path.relative_to(project).as_posix() for path in (project / package).rglob("*.py")}
        assert sources <= names


def test_no_file_is_too_large_and_none_names_a_folder_of_this_machine(space, project):
    for path in (path for path in space.rglob("*") if path.is_file()):
        assert path.stat().st_size < LARGEST_FILE
        for folder in (PROJECT, project):
            assert str(folder).encode() not in path.read_bytes(), path


def test_built_twice_it_is_the_same_byte_for_byte(space, project, tmp_path):
    again = build_space(tmp_path / "again", SPACE, MODEL, BASELINE, project)
    assert files_of(again) == files_of(space)


def test_folder_with_something_in_it_is_refused(project, tmp_path):
    (tmp_path / "left-over.py").touch()
    with pytest.raises(SpaceError, match="is not empty"):
        build_space(tmp_path, SPACE, MODEL, BASELINE, project)


def small_project(folder: Path) -> Path:
    """A project of the page's shape, in a git repository that knows all of its files."""
    for name in ("app/app.py", "ser_hf/__init__.py", "ser_hf/words.txt", *NOTICES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("requirements.txt", "space_card.md"):
        shutil.copyfile(PROJECT / name, folder / name)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    (folder / ".git/info/exclude").write_text("__pycache__/\n")
    return folder


def test_only_what_git_tracks_is_published(tmp_path):
    project = small_project(tmp_path / "project")
    (project / "app/__pycache__").mkdir()
    (project / "app/__pycache__/app.pyc").touch()
    (project / "app/notes.md").write_text("private")
    assert source_files(project) == ["app/app.py", "ser_hf/__init__.py", "ser_hf/words.txt"]


def test_module_that_git_does_not_know_is_refused_by_its_name(tmp_path):
    project = small_project(tmp_path / "project")
    (project / "ser_hf/begun.py").touch()
    with pytest.raises(SpaceError, match=r"git does not know ser_hf/begun\.py: `git add`"):
        build_space(tmp_path / "space", SPACE, MODEL, BASELINE, project)


@pytest.mark.parametrize("has_git", [True, False])
def test_without_git_sources_are_known_by_their_suffix(tmp_path, monkeypatch, has_git):
    project = small_project(tmp_path / "project")
    if has_git:  # a copy of the files, without their history
        shutil.rmtree(project / ".git")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    (project / "app/.hidden.py").touch()
    (project / "app/app.pyc").touch()
    assert source_files(project) == ["app/app.py", "ser_hf/__init__.py"]


def test_large_file_is_refused_by_its_name(tmp_path):
    project = small_project(tmp_path / "project")
    with (project / "ser_hf/words.txt").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(SpaceError, match=r"ser_hf/words\.txt has 10 MB"):
        build_space(tmp_path / "space", SPACE, MODEL, BASELINE, project)


def test_requirement_without_a_pin_is_refused_by_its_name(project, tmp_path):
    other = tmp_path / "project"
    other.mkdir()
    lines = (project / "requirements.txt").read_text().splitlines()
    (other / "requirements.txt").write_text("\n".join(line for line in lines if not line.startswith("av==")))
    with pytest.raises(SpaceError, match="pins no av, which the page imports"):
        page_requirements(other)


def test_requirements_are_pins_of_the_project(space):
    pins = (PROJECT / "requirements.txt").read_text().splitlines()
    lines = (space / "requirements.txt").read_text().splitlines()
    assert lines
    assert set(lines) <= set(pins)
    assert not any(line.startswith("#") for line in lines)


def test_python_version_is_one_that_the_project_runs_on():
    assert tuple(map(int, PYTHON_VERSION.split("."))) <= sys.version_info[:2]
