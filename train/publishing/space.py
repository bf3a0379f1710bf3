"""What the Gradio Space's repository holds: the page with nothing around it, its requirements, and its card."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData

PROJECT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = "space_card.md"
APP_FILE = "space.py"
PACKAGES = ("app", "ser_hf")
NOTICES = ("LICENSE", "NOTICE")
# Where git does not say what belongs to the project.
SUFFIXES = {".py", ".json", ".css", ".html", ".js", ".flac", ".md"}
LARGEST_FILE = 10_000_000  # bytes; the Hub takes larger ones only as LFS files, of which the page needs none

TITLE = "What does this voice express?"
PYTHON_VERSION = "3.11"
# What the page imports while it answers; the versions are those of the project's requirements.txt.
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


def build_space(folder: str | Path, repo_id: str, model: str, baseline: str, project: Path = PROJECT) -> Path:
    """Write all that the Space's repository holds: the page, its start, its requirements and its card.

    The same project and the same models give the same bytes.

    Args:
        folder: to write into; it is made if it is not there, and must be empty.
        repo_id: of the Space, as ``user/name``; the card's example calls it.
        model: the model that answers, as ``user/name@commit``, so that the Space answers the same for ever.
        baseline: the model beside it, named likewise.
        project: the repository's root.

    Returns:
        The folder.

    Raises:
        SpaceError: the folder is not empty; a source file is unknown to git or larger than the Hub takes plainly; a
            package that the page imports has no pin.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise SpaceError(f"{folder} is not empty: what lies there would become part of the Space; name another folder")
    pins = page_requirements(project)
    for name in (*source_files(project), *NOTICES):
        size = (project / name).stat().st_size
        if size > LARGEST_FILE:
            raise SpaceError(f"{name} has {size / 1e6:.0f} MB, which is too large for the Space: move it elsewhere")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / name, folder / name)
    written = {
        APP_FILE: START.format(model=json.dumps(model), baseline=json.dumps(baseline)),
        "requirements.txt": "".join(f"{pin}\n" for pin in pins.values()),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    space_card(repo_id, model, baseline, pins["gradio"].split("==")[1], project).save(folder / "README.md")
    return folder


def page_requirements(project: Path = PROJECT) -> dict[str, str]:
    """The pins (``name==version``) of the packages that the page imports, by name, out of requirements.txt.

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
    """The files of the page's packages, relative to the project: what git tracks or, without git, the source files.

    Raises:
        SpaceError: git does not know one of the modules, so that it would be missing from the Space.
    """
    tracked = _git_files(project, "--cached")
    if not tracked:
        paths = [path for package in PACKAGES for path in (project / package).rglob("*") if path.is_file()]
        names = [path.relative_to(project) for path in paths if path.suffix in SUFFIXES]
        return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))
    unknown = [name for name in _git_files(project, "--others", "--exclude-standard") if name.endswith(".py")]
    if unknown:
        raise SpaceError(
            f"git does not know {', '.join(unknown)}: `git add` what belongs to the page, and move the rest elsewhere"
        )
    return sorted(name for name in tracked if (project / name).is_file())


def _git_files(project: Path, *which: str) -> list[str]:
    """What ``git ls-files`` lists of the page's packages; nothing where there is no git or no repository."""
    command = ["git", "-C", str(project), "ls-files", "-z", *which, "--", *PACKAGES]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [name for name in listed.split("\0") if name]


def space_card(repo_id: str, model: str, baseline: str, gradio_version: str, project: Path = PROJECT) -> SpaceCard:
    """The Space's ``README.md``, from ``space_card.md``: its settings in the front matter, and what it is."""
    models = [dict(zip(("id", "commit"), name.partition("@")[::2], strict=True)) for name in (model, baseline)]
    data = SpaceCardData(
        title=TITLE,
        emoji="👂",
        colorFrom="blue",
        colorTo="indigo",
        sdk="gradio",
        sdk_version=gradio_version,
        python_version=PYTHON_VERSION,
        app_file=APP_FILE,
        short_description="Which acted emotion two models hear in a voice, and why",
        license="apache-2.0",
        models=[one["id"] for one in models],
        tags=["audio-classification", "speech-emotion-recognition", "emotion"],
        pinned=False,
    )
    return SpaceCard.from_template(
        data,
        template_path=str(project / TEMPLATE),
        repo_id=repo_id,
        model=models[0],
        baseline=models[1],
        app_file=APP_FILE,
    )
