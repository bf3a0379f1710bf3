"""CONTRIBUTING.md's worked examples, carried out in a copy of the repository as a contributor would."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import examples
from tests.corpora.trees import write_clip

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
PART = TEXT.split("\n## A new feature group, corpus, model family or protocol\n")[1].split("\n## ")[0]
SECTIONS = dict(part.split("\n", 1) for part in PART.split("\n### ")[1:])
EMOTIONS = {"glad": "happy", "cross": "angry", "flat": "neutral"}


def put(block: str, folder: Path) -> None:
    """Put a block where its first line says."""
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


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The library and the commands alone, in a folder of their own."""
    for room in ("ser_hf", "train"):
        shutil.copytree(REPOSITORY / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_there_is_an_example_of_each():
    assert list(SECTIONS) == ["A feature group", "A corpus", "A model family", "A protocol"]
    for section in SECTIONS.values():
        assert section.count("```") >= 4
        assert len([line for line in examples(section) if line.startswith("python -m")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_it_works_as_it_stands(title, copy, corpus_dir):
    data = corpus_dir
    if title == "A corpus":
        data = copy / "data"
        for number, speaker in enumerate(("ben", "anna", "dan", "cleo", "finn", "eva"), start=1):
            for name, emotion in EMOTIONS.items():
                for take in (1, 2):
                    write_clip(data / "studio" / speaker / f"{name}-{take}.wav", emotion, number, take)
    for block in re.findall(r"```\w+\n(.*?)```", SECTIONS[title], re.DOTALL):
        put(block, copy)
    (line,) = [line for line in examples(SECTIONS[title]) if line.startswith("python -m")]
    words = [sys.executable, *line.split()[1:], "--data_dir", str(data), "--n_jobs", "1", "--no_cache"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = copy / line.split("--output_dir ")[1]
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert facts["command"] == "train.baseline"
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    expected = {
        "A feature group": lambda: "crest" in facts["arguments"]["features"],
        "A corpus": lambda: metrics["n_speakers"] == 6 and metrics["n_clips"] == 36,
        "A model family": lambda: facts["model"] == "logistic",
        "A protocol": lambda: sorted(metrics["per_fold"]) == ["0", "1"] and metrics["n_speakers"] == 24,
    }
    assert expected[title]()
