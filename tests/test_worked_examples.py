"""CONTRIBUTING.md's worked examples run in a copy of the repository, put where their first lines say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import WORKED, examples
from tests.corpora.trees import write_clip
from tests.synthetic import make_ravdess

REPOSITORY = Path(__file__).resolve().parent.parent
PART = WORKED.search((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))[0]
SECTIONS = dict(part.split("\n", 1) for part in PART.split("\n### ")[1:])


def insert(block: str, folder: Path) -> None:
    """Put a block where its first line says: a new file, the last entry of a collection, or before a name."""
    place, code = block.split("\n", 1)
    name, _, entry = place.removeprefix("# ").partition(": ")
    path = folder / name
    if not path.exists():
        path.write_text(code, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    imports = "".join(re.findall(r"^(?:from|import) .*\n", code, re.MULTILINE))
    code = re.sub(r"^(?:from|import) .*\n", "", code, flags=re.MULTILINE).strip("\n")
    text = text.replace("\nfrom __future__ import annotations\n", f"\nfrom __future__ import annotations\n{imports}", 1)
    if entry:
        start = re.search(rf"^{entry}\b.*? = [{{(]", text, re.MULTILINE).end()
        end = re.compile(r"[})]").search(text, start).end() - 1 if text[start] != "\n" else text.index("\n}", start) + 1
        text = text[:end] + (f", {code}" if text[start] != "\n" else f"{code}\n") + text[end:]
    elif code:
        named = re.search(rf"# {re.escape(name)}: (\w+)", PART)
        at = re.search(rf"^{named[1]}\b", text, re.MULTILINE).start() if named else len(text)
        text = f"{text[:at]}{code}\n\n\n{text[at:]}"
    path.write_text(text, encoding="utf-8")


ADDED = {"A feature group": "crest", "A corpus": "studio", "A model family": "naive-bayes", "A protocol": "halves"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A small RAVDESS of short clips, and the corpus of the worked example."""
    data = tmp_path_factory.mktemp("data")
    make_ravdess(data / "ravdess", emotions=("happy", "angry", "neutral"), seconds=1.0)
    for number, speaker in enumerate(("ben", "anna", "dan", "cleo", "finn", "eva"), start=1):
        for name, emotion in {"glad": "happy", "cross": "angry", "flat": "neutral"}.items():
            for take in (1, 2):
                write_clip(data / "studio" / speaker / f"{speaker}-{name}-{take}.wav", emotion, number, take)
    return data


# One process carries out all of the commands, so that it imports what they need once.
CARRY_OUT = """
import json, sys
from train import baseline
for words in json.loads(sys.argv[1]):
    assert baseline.main(words) == 0, words
"""


@pytest.mark.slow
def test_worked_examples_run(tmp_path, data):
    for folder in ("ser_hf", "train"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    lines = {}
    for title, section in SECTIONS.items():
        for block in re.findall(r"```\w+\n(.*?)```", section, re.DOTALL):
            insert(block, tmp_path)
        (lines[title],) = [line for line in examples(section) if line.startswith("python -m train.baseline ")]
    words = [[*line.split()[3:], "--data_dir", str(data), "--n_jobs", "1", "--no_cache"] for line in lines.values()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", CARRY_OUT, json.dumps(words)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for title, line in lines.items():
        run = tmp_path / line.split("--output_dir ")[1]
        assert ADDED[title] in (run / "run.json").read_text(encoding="utf-8")
        assert json.loads((run / "metrics.json").read_text(encoding="utf-8"))["n_clips"] > 0
