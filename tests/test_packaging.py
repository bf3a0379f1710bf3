"""What `pip install .` makes of the project: its version, its dependencies, its command, and the models in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ser_hf

REPOSITORY = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What the commands and the page never import: the tests' own packages, and what the licence keeps out of extras.
TESTS_ALONE = {
    *("pytest", "pytest-xdist", "hypothesis", "playwright", "nbformat", "nbclient", "ipykernel", "opensmile"),
    *("ruff", "mypy", "types-pyyaml", "types-requests", "types-tqdm"),
    *("hatchling", "packaging", "pip-audit", "atheris", "imageio-ffmpeg", "pytest-cov", "mutmut"),
}
HEAVY = {"torch", "transformers", "gradio", "datasets", "pyarrow", "onnxruntime", "matplotlib", "plotly"}


def pins() -> dict[str, str]:
    """Name -> version of everything that `make test` installs by name."""
    lines = [line for file in REPOSITORY.glob("requirements*.txt") for line in file.read_text().splitlines()]
    found = [Requirement(line.split("#")[0]) for line in lines if re.match(r"[A-Za-z]", line)]
    return {one.name.lower(): str(one.specifier).removeprefix("==") for one in found}


def declared() -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [one for one in map(Requirement, lines) if one.name != "ser_hf"]


def test_version_is_written_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "ser_hf/__init__.py"
    written = (REPOSITORY / "ser_hf" / "__init__.py").read_text(encoding="utf-8")
    assert re.findall(r'^__version__ = "(\d+\.\d+\.\d+)"$', written, re.MULTILINE) == [ser_hf.__version__]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_a_dependency_allows_the_version_that_everything_was_measured_with(requirement):
    pinned = pins()[requirement.name.lower()]
    assert pinned in requirement.specifier
    (lower,) = requirement.specifier
    assert lower.operator == "~="
    assert pinned.startswith(lower.version), "the oldest version that is allowed is the one that is tested"


def test_every_pin_is_a_dependency_somewhere():
    assert pins().keys() - {one.name.lower() for one in declared()} == TESTS_ALONE


def test_base_dependencies_are_light():
    assert not HEAVY & {Requirement(line).name for line in PROJECT["dependencies"]}


def test_the_build_is_the_pinned_one():
    assert PYPROJECT["build-system"]["requires"] == [f"hatchling=={pins()['hatchling']}"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment, away from the repository, with our package and, by a link, what this Python has."""
    folder = tmp_path_factory.mktemp("fresh")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(REPOSITORY)]
    subprocess.run(wheel, cwd=folder, check=True)
    (built,) = folder.glob("*.whl")
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(built)], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "linked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin" / "ser-hf"


def run(command: Path, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [str(command), *map(str, words)]
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ser-svm", "ser-whisper"])
def test_the_installed_command_answers_from_anywhere_by_the_bundled_models(installed, tmp_path, model):
    shutil.copy(REPOSITORY / "app" / "examples" / "plain.flac", tmp_path)
    done = run(installed, "predict", "plain.flac", "--model", model, "--format", "jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == "plain.flac"
    place = run(installed.with_name("python"), "-c", "import ser_hf; print(ser_hf.__file__)", cwd=tmp_path)
    assert Path(place.stdout.strip()).is_relative_to(installed.parent.parent)


@pytest.mark.slow
def test_the_installed_command_knows_its_version_and_finds_the_page_in_the_tree_alone(installed, tmp_path):
    assert run(installed, "--version", cwd=tmp_path).stdout.split() == ["ser_hf", ser_hf.__version__]
    refused = run(installed, "app", "--help", cwd=tmp_path)
    assert refused.returncode == 2
    assert "run ser-hf app in the folder of the repository" in refused.stderr
    shown = run(installed, "app", "--help", cwd=REPOSITORY)
    assert shown.returncode == 0, shown.stderr
    assert "--port" in shown.stdout
