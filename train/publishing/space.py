"""What the Gradio Space's repository holds: the page with nothing around it, its requirements, and its card."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jinja2

from ser_hf.hub import files_below

PROJECT = Path(__file__).resolve().parent.parent.parent
CARD = "space_card.md"
APP_FILE = "space.py"
PACKAGES = ("app", "ser_hf")
NOTICES = ("LICENSE", "NOTICE")
SUFFIXES = {".py", ".json", ".css", ".html", ".js", ".flac", ".md"}  # of the page's files, where git does not list them
# What the page imports; the versions are those of the project's requirements.txt.
REQUIREMENTS = {
    *("torch", "transformers", "huggingface-hub", "safetensors", "scikit-learn", "skops", "joblib", "librosa"),
    *("soundfile", "soxr", "av", "numpy", "scipy", "pandas", "gradio", "plotly"),
}
START = '''"""The page, with the models that it was published with unless the Space's variables name others."""

import os
import sys

os.environ.setdefault("SER_HF_MODEL", {model})
os.environ.setdefault("SER_HF_BASELINE", {baseline})

from app.app import main  # noqa: E402 (reads the environment)

if __name__ == "__main__":
    sys.exit(main([]))
'''


class SpaceError(ValueError):
    """A Space that would not run, or would hold what does not belong to it; the message says why and what to do."""


def build_space(folder: Path, repo_id: str, model: str, baseline: str, project: Path = PROJECT) -> Path:
    """Write all that the Space's repository holds: the page, its start, its requirements and its card.

    The same project and the same models give the same bytes.

    Args:
        folder: a new folder to write into.
        repo_id: of the Space, as ``user/name``; the card's example calls it.
        model: the model, as ``user/name@commit``, so that the Space's predictions stay the same.
        baseline: the model beside it, named likewise.
        project: the repository's root.

    Returns:
        The folder.

    Raises:
        SpaceError: see `source_files` and `page_requirements`.
    """
    pins = page_requirements(project)
    for name in (*source_files(project), *NOTICES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / name, folder / name)
    models = [dict(zip(("id", "commit"), name.partition("@")[::2], strict=True)) for name in (model, baseline)]
    card = jinja2.Template((project / CARD).read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined)
    written = {
        APP_FILE: START.format(model=json.dumps(model), baseline=json.dumps(baseline)),
        "requirements.txt": "".join(f"{pin}\n" for pin in pins.values()),
        "README.md": card.render(
            repo_id=repo_id,
            model=models[0],
            baseline=models[1],
            app_file=APP_FILE,
            gradio_version=pins["gradio"].split("==")[1],
        ),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder


def page_requirements(project: Path = PROJECT) -> dict[str, str]:
    """The pins (``name==version``) of the packages that the page imports, by name, from requirements.txt.

    Raises:
        SpaceError: one of them has no pin there.
    """
    lines = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin.split("==")[0]: pin for line in lines if (pin := line.split("#")[0].strip())}
    missing = sorted(REQUIREMENTS - pins.keys())
    if missing:
        raise SpaceError(f"requirements.txt pins no {missing[0]}, which the page imports: add {missing[0]}==VERSION")
    return {name: pin for name, pin in pins.items() if name in REQUIREMENTS}


def source_files(project: Path = PROJECT) -> list[str]:
    """The files of the page's packages, relative to the project: what git tracks or, outside a clone, the source files.

    Raises:
        SpaceError: git does not track one of the modules, so that it would be missing from the Space.
    """
    tracked = _git_files(project, "--cached")
    if not tracked:
        names = [path.relative_to(project) for package in PACKAGES for path in files_below(project / package)]
        names = [name for name in names if name.suffix in SUFFIXES and not name.name.startswith(".")]
        return [name.as_posix() for name in names]
    untracked = [name for name in _git_files(project, "--others", "--exclude-standard") if name.endswith(".py")]
    if untracked:
        raise SpaceError(f"git does not track {', '.join(untracked)}: `git add` it, or move it elsewhere")
    return sorted(name for name in tracked if (project / name).is_file())


def _git_files(project: Path, *which: str) -> list[str]:
    """What ``git ls-files`` lists of the page's packages; nothing where there is no git or no repository."""
    command = ["git", "-C", str(project), "ls-files", "-z", *which, "--", *PACKAGES]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [name for name in listed.split("\0") if name]
