"""What no single module can keep: imports, pinned versions, packaging, Makefile, Dockerfile, documents, notebook."""

from __future__ import annotations

import ast
import doctest
import graphlib
import importlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ser_hf
from docs import licences
from tests.commands import COMMANDS, OLD_NAMES, WORKED, check, examples, parser_of
from tests.tiny_bases import save_tiny_base
from train.publishing.space import page_requirements

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", *PAGES)
TEXTS = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in DOCUMENTS}
MAKEFILE, DOCKERFILE = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("Makefile", "Dockerfile"))
CLIP = REPOSITORY / "app" / "examples" / "plain.flac"
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


# Imports


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    module_name(path): path
    for folder in ("ser_hf", "train", "app", "experiments")
    for path in REPOSITORY.glob(f"{folder}/**/*.py")
}


def imported(nodes) -> set[str]:
    """Names of the modules that these statements import; a name from a module counts as both."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner if inner <= MODULES.keys() else inner | {node.module}
    return names


def test_imports_point_downward():
    above = {
        "ser_hf": {"app", "train", "experiments"},
        "app": {"train", "experiments"},
        "train": {"app", "experiments"},
    }
    old_names = set(OLD_NAMES)  # of commands that experiments/ has by now
    for module, path in MODULES.items():
        if module in old_names:
            continue
        tops = {name.split(".")[0] for name in imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))}
        top = module.split(".")[0]  # experiments are not packaged: they may use what tests have
        forbidden = above.get(top, set()) | ({"docs"} if top == "experiments" else {"tests", "docs"})
        assert not tops & forbidden, f"{module} imports {tops & forbidden}"


def test_imports_have_no_cycles():
    graph = {
        module: (imported(ast.parse(path.read_text(encoding="utf-8")).body) & MODULES.keys()) - {module}
        for module, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_import_ser_hf_is_light():
    code = "import sys, ser_hf; sys.exit(str({'torch', 'transformers', 'gradio', 'librosa', 'numpy'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_public_names_exist():
    assert all(getattr(ser_hf, name) is not None for name in ser_hf.__all__)
    assert not hasattr(ser_hf, "nothing")


WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_docstring_examples_are_right(module):
    failed, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert (failed, tried > 0) == (0, True)


# Versions and packaging

LINES = [line for file in REPOSITORY.glob("requirements*.txt") for line in file.read_text().splitlines()]
PINS = [Requirement(line.split("#")[0]) for line in LINES if re.match(r"\w", line)]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
DECLARED = [*map(Requirement, [*PYPROJECT["project"]["dependencies"], *itertools.chain(*EXTRAS.values())])]


def build_wheel(folder: Path) -> None:
    """Build the wheel of this repository in a folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", REPOSITORY], cwd=folder, check=True)


def test_requirements_are_pinned_exactly():
    assert {operator.operator for pin in PINS for operator in pin.specifier} == {"=="}
    assert all(len(pin.specifier) == 1 for pin in PINS)


def test_package_dependencies_start_at_the_pinned_versions():
    pinned = {pin.name.lower(): str(pin.specifier).removeprefix("==") for pin in PINS}
    for requirement in DECLARED:
        if requirement.name != "ser_hf":
            (lower,) = requirement.specifier
            version = pinned[requirement.name.lower()]
            assert lower.operator == ">="
            assert version in requirement.specifier
            assert version.startswith(lower.version), requirement
    assert PYPROJECT["build-system"]["requires"] == [f"hatchling=={pinned['hatchling']}"]


def test_page_requirements_are_all_imported():
    files = [path for folder in ("app", "ser_hf") for path in (REPOSITORY / folder).glob("**/*.py")]
    tops = re.findall(r"^\s*(?:from|import) (\w+)", "\n".join(path.read_text() for path in files), re.MULTILINE)
    homes = metadata.packages_distributions()
    imported = {canonicalize_name(name) for top in tops for name in homes.get(top, [])}
    assert {canonicalize_name(name) for name in page_requirements()} <= imported


def test_versions_agree():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == ser_hf.__version__
    assert ser_hf.__version__ in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_licences_list_pinned_and_indirect_packages():
    made, stored = licences.document(), TEXTS["docs/licences.md"]
    heading = "\n## What those need\n"  # which may have come in other versions, by platform
    assert stored.split(heading)[0] == made.split(heading)[0]
    assert all(f"\n| {name} | " in made for name in ("numba", "jinja2", "starlette"))


@pytest.mark.slow
def test_wheel_predicts_with_the_bundled_models(tmp_path):
    """Built and unpacked; `make qa` installs it into an environment of its own."""
    build_wheel(tmp_path)
    (built,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(built, tmp_path / "site", "zip")
    assert {"ser-svm", "ser-whisper"} <= {path.name for path in (tmp_path / "site/ser_hf/bundled").iterdir()}
    words = [*(sys.executable, "-m", "ser_hf", "predict", CLIP), "--model", "ser-svm", "--format", "jsonl"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["file"] == str(CLIP)


def test_repository_holds_no_pickles_and_no_large_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = REPOSITORY / name
        assert path.suffix not in {".whl", ".zip", ".gz", ".wav"}, name
        assert path.suffix not in {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt"}, name
        if path.is_file():
            assert name.startswith("models/") or path.stat().st_size < 1_000_000, name
            assert path.read_bytes()[:1] != b"\x80", f"{name} begins as a pickle does"


# Makefile and Dockerfile


@pytest.mark.parametrize(("target", "starts"), [("demo", "python -m app.app"), ("test", "python -m pytest")])
def test_make_installs_before_it_runs(target, starts, tmp_path):
    for path in [REPOSITORY / "Makefile", *REPOSITORY.glob("requirements*.txt")]:
        shutil.copy(path, tmp_path)
    done = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    places = [done.stdout.index(step) for step in ("-m venv .venv", "-m pip install", starts)]
    assert places == sorted(places)


def test_make_refuses_an_old_python(tmp_path):
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    done = subprocess.run(["make", "demo", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Python 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def docker(instruction: str) -> list[str]:
    """The arguments of every such instruction, with continued lines joined."""
    return re.findall(rf"^{instruction} +(.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


COPIES = [shlex.split(line) for line in docker("COPY")]


def test_docker_context_is_what_the_image_copies():
    copied = {source for *sources, _ in COPIES for source in sources}
    assert all((REPOSITORY / source).exists() for source in copied)
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in ignore if not line.startswith(("#", "!"))) == "*"
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == copied


def test_docker_runs_what_make_demo_runs_without_root():
    (user,), (command,) = docker("USER"), docker("CMD")
    assert int(user) > 0
    assert f"--uid {user} " in DOCKERFILE
    assert json.loads(command) == shlex.split(re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)$", MAKEFILE, re.MULTILINE)[1])


# Documents and notebook

EXAMPLES = [(name, line) for name, text in TEXTS.items() for line in examples(WORKED.sub("## ", text))]


@pytest.mark.parametrize(("document", "line"), EXAMPLES)
def test_documented_commands_exist(document, line):
    if re.match(r"(\.venv/bin/)?python -m (?!pytest)|ser-hf ", line):
        check(line)
    elif target := re.match(r"make (\w+)", line):
        assert re.search(rf"^{target[1]}:", MAKEFILE, re.MULTILINE)
    assert all((REPOSITORY / name).is_file() for name in re.findall(r"\btests/\S+\.py", line))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_options_exist(document, capsys):
    for command, words in re.findall(r"`python -m ([\w.]+)([^`]*)`", TEXTS[document]):
        assert command in COMMANDS
        with pytest.raises(SystemExit):
            parser_of(command)(["--help"])
        known = capsys.readouterr().out
        for option in re.findall(r"--\w+", words):
            assert re.search(rf" {option}\b", known), f"{command} {option}"


def test_docs_build_as_a_site(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    assert (tmp_path / "site" / "results" / "index.html").is_file()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_files_exist(document):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", TEXTS[document]):
        assert ((REPOSITORY / document).parent / target).exists(), target
    for target in re.findall(r"`((?:app|docs|tests|ser_hf|train)/[\w./]+)`", TEXTS[document]):
        assert (REPOSITORY / target).exists(), target


@pytest.mark.slow
def test_readme_example_prints_what_it_shows(capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    example = re.compile(r"```python\n(from ser_hf .*?)```\n\n```text\n(.*?)```", re.DOTALL)
    block, shown = example.search(TEXTS["README.md"]).groups()
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    number = re.compile(r"\d+(?:\.\d+)?")
    assert number.sub("", printed) == number.sub("", shown)
    for one, other in zip(number.findall(printed), number.findall(shown), strict=True):
        assert abs(float(one) - float(other)) < (0.015 if "." in other else 1.5)  # another processor rounds otherwise


def run_notebook(name, settings, monkeypatch) -> dict:
    """Execute the cells of a notebook with other values in its cell of parameters; returns its variables."""
    notebook = nbformat.read(REPOSITORY / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)} == settings.keys()
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    monkeypatch.chdir(REPOSITORY / "notebooks")
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, name, "exec"), names)
    return names


@pytest.mark.slow
def test_quickstart_notebook_runs(corpus_dir, tmp_path, monkeypatch):
    settings = {"DATA_DIR": str(corpus_dir), "BASE_MODEL": str(save_tiny_base("whisper", tmp_path)), "LAYERS": 2}
    settings |= {"TRAIN_ACTORS": [1, 2, 3, 4], "VALIDATION_ACTORS": [5, 6], "TEST_ACTORS": [7, 8], "EPOCHS": 1}
    drawn = len(plt.get_fignums())
    names = run_notebook("quickstart.ipynb", settings, monkeypatch)
    assert {name: figures["n_clips"] for name, figures in names["metrics"].items()} == {"SVM": 16, "network": 16}
    assert len(plt.get_fignums()) > drawn
    plt.close("all")


@pytest.mark.slow
def test_own_data_notebook_runs(tmp_path, monkeypatch):
    settings = {"DATASET": None, "SPEAKER_PATTERN": r"/([a-z]+)-\d", "WORK": str(tmp_path / "work")}
    names = run_notebook("own-data.ipynb", settings, monkeypatch)
    assert len(names["embeddings"]) == len(names["table"])
    assert (tmp_path / "work/full/model/model.safetensors").is_file()
