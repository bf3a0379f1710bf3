"""Rules of the project that no single module can keep: set-up, import direction, what lies in the repository."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ser_hf

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted(path for room in ("ser_hf", "train", "app") for path in (REPOSITORY / room).rglob("*.py"))

# From the bottom up; a module imports from its own layer and from those below.
LAYERS = [
    {
        "ser_hf.labels",
        "ser_hf.protocols",
        "ser_hf.names",
        "ser_hf.files",
        "ser_hf.markdown",
        "ser_hf.command_line",
        "ser_hf.rows",
        "ser_hf.journal",
        "ser_hf.marks",
        "ser_hf.ahead",
        "ser_hf.threads",
        "ser_hf.shards",
        "ser_hf.cluster",
    },
    {"ser_hf.audio", "ser_hf.decoding", "ser_hf.quality", "ser_hf.hub"},
    {
        "ser_hf.features",
        "ser_hf.feature_cache",
        "ser_hf.feature_table",
        "ser_hf.frames",
        "ser_hf.augment",
        "ser_hf.splits",
        "ser_hf.corpora",
    },
    {"ser_hf.models", "ser_hf.metrics", "ser_hf.emotion_metrics", "ser_hf.statistics", "ser_hf.plots", "ser_hf.runs"},
    {
        "ser_hf.classifier",
        "ser_hf.prediction",
        "ser_hf.explain",
        "ser_hf.streaming",
        "ser_hf.predict",
        "ser_hf.scale",
        "ser_hf.__main__",
        "ser_hf.evidence",
        "ser_hf.card",
        "ser_hf.card_arguments",
        "ser_hf.card_section",
    },
    {"app", "train"},
]


def dotted(path: Path) -> str:
    """The module's name, as ``ser_hf.corpora.ravdess``."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> int:
    matches = [
        level for level, names in enumerate(LAYERS) for name in names if module == name or module.startswith(f"{name}.")
    ]
    assert matches, f"{module} has no layer: give it one in tests/test_setup.py and in CONTRIBUTING.md"
    return matches[0]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute here"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_downward_only(path):
    module = dotted(path)
    if module == "ser_hf":  # its lazy names are strings
        assert not any(name.startswith(("ser_hf", "app", "train")) for name in imported(path))
        return
    known = {dotted(other) for other in MODULES}
    for name in imported(path) & known - {"ser_hf"}:
        assert layer_of(name) <= layer_of(module), f"{module} imports {name}, which lies above it"
        if module.startswith(("app", "train")):
            assert not name.startswith("train" if module.startswith("app") else "app"), f"{module} imports {name}"


def test_import_of_the_package_is_light():
    code = (
        "import sys, ser_hf; heavy = {'torch', 'transformers', 'gradio', 'librosa', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there_and_others_are_not():
    for name in ser_hf.__all__:
        assert getattr(ser_hf, name) is not None
        assert name in dir(ser_hf)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ser_hf.nothing


REQUIREMENTS = [
    *("requirements.txt", "requirements-egemaps.txt", "requirements-onnx.txt", "requirements-scale.txt"),
    "requirements-dev.txt",
]


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_requirements_are_pinned_exactly(file):
    lines = [line.split("#")[0].strip() for line in (REPOSITORY / file).read_text(encoding="utf-8").splitlines()]
    for line in filter(None, lines):
        is_pin = re.fullmatch(r"[A-Za-z0-9_.-]+(\[\w+\])?==[0-9][\w.+]*( *;.*)?", line)
        assert is_pin or line.removeprefix("-r ") in REQUIREMENTS, line


def test_readme_begins_with_the_two_commands():
    top = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert "make demo" in top
    assert "make test" in top


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_installs_before_it_runs(target, tmp_path):
    """On a fresh clone: the environment first, then the pinned requirements, then the command."""
    for name in ("Makefile", *REQUIREMENTS):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    done = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    steps = [
        "-m venv .venv",
        f"install --quiet --disable-pip-version-check -r requirements{'-dev' if target == 'test' else ''}.txt",
        "python -m app.app" if target == "demo" else "python -m pytest",
    ]
    places = [done.stdout.index(step) for step in steps]
    assert places == sorted(places)


def test_make_refuses_an_old_python_in_words(tmp_path):
    (tmp_path / "Makefile").write_bytes((REPOSITORY / "Makefile").read_bytes())
    (tmp_path / "requirements.txt").touch()
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_model_folders_hold_no_pickle():
    suffixes = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt"}
    for path in (REPOSITORY / "models").rglob("*"):
        if path.is_file():
            assert path.suffix not in suffixes, path
            assert path.read_bytes()[:1] != b"\x80", f"{path} begins as a pickle does"


def test_nothing_large_or_fetched_lies_outside_models():
    """Two wheels that pip had left in the working folder were once committed with the rest."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = REPOSITORY / name
        assert path.suffix not in {".whl", ".zip", ".gz", ".wav"}, name
        assert name.startswith("models/") or not path.exists() or path.stat().st_size < 1_000_000, name
