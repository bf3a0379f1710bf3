"""The page's example clips: what a visitor can have analysed with one click."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.examples.table import CLIPS

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Example:
    """A clip, and the few words on its button that say how it was made."""

    path: Path
    title: str


def examples() -> list[Example]:
    """Every example clip, in the order of the page."""
    return [Example(FOLDER / clip.file, clip.title) for clip in CLIPS]
