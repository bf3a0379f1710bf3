"""A card as people read it, and what none of them may find in it."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import ModelCard

from ser_hf.hub.card import write_card


def published(folder: Path) -> ModelCard:
    ids = {"hub_id": "alice/ser-tiny", "baseline_id": "alice/ser-svm", "dataset_id": "alice/ravdess-folds"}
    return ModelCard.load(write_card(folder, "ser-tiny", **ids))


def assert_clean(folder: Path, text: str) -> None:
    """No unfilled place, nothing of a machine or an account, and every link leads to a file of the folder."""
    assert not re.search(r"\{\{|\}\}|\{%|%\}|PATH_OR_HUB_ID|HUB_TOKEN|\bnan\b|\bNone\b|\bhf_\w", text)
    assert not re.search(r"/home/|/root|/tmp|/work|/Users/|[A-Z]:\\|\.\./", text)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("https://", "http://", "#"))]
    for link in links:
        assert (folder / link).is_file(), f"the card links to {link}, which is not there"
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    assert [Path(path).name for _, path in pictures] == ["confusion.png", "speakers.png", "reliability.png"]
    assert all(len(words) > 40 for words, _ in pictures)
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
