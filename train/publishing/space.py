"""What the Gradio Space's repository holds: the page with nothing around it, its requirements, and its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jinja2

from ser_hf.hub import files_below
from train.common import require

PROJECT = Path(__file__).resolve().parent.parent.parent
CARD = "space_card.md"
APP_FILE = "space.py"
PACKAGES = ("app", "ser_hf")
NOTICES = ("LICENSE", "NOTICE")
SUFFIXES = {".py", ".json", ".css", ".html", ".js", ".flac", ".md"}  # of the page's files
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


def build_space(folder: Path, repo_id: str, model: str, baseline: str, project: Path = PROJECT) -> Path:
    """Write all that the Space's repository holds: the page, its start, its requirements and its card.

    The same project and the same models give the same bytes.

    Args:
        folder: a new folder to write into, which is returned.
        repo_id: of the Space, as ``user/name``; the card's example calls it.
        model, baseline: as ``user/name@commit``, so that the Space's predictions stay the same.
        project: the repository's root.

    Raises:
        UsageError: see `page_requirements`.
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
        UsageError: one of them has no pin there.
    """
    lines = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin.split("==")[0]: pin for line in lines if (pin := line.split("#")[0].strip())}
    missing = sorted(REQUIREMENTS - pins.keys())
    require(not missing, f"requirements.txt pins no {', '.join(missing)}, which the page imports: add ==VERSION there")
    return {name: pin for name, pin in pins.items() if name in REQUIREMENTS}


def source_files(project: Path = PROJECT) -> list[str]:
    """The source files of the page's packages, relative to the project."""
    paths = [path.relative_to(project) for package in PACKAGES for path in files_below(project / package)]
    return [path.as_posix() for path in paths if path.suffix in SUFFIXES and not path.name.startswith(".")]
