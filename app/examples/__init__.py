"""The page's example clips; `experiments.example_clips` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Example:
    """One clip: its file's name, and how it was made in the few words of a button."""

    file: str
    title: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return FOLDER / self.file


def examples() -> list[Example]:
    """Every example clip, in the order of the page."""
    return [
        Example("plain.flac", "Plain voice"),
        Example("high-fast-lively.flac", "High, fast, lively"),
        Example("slow-low-soft.flac", "Slow, low, soft"),
        Example("loud-pressed-fast.flac", "Loud, pressed, fast"),
        Example("changing.flac", "Long, with changes"),
        Example("in-noise.flac", "In loud noise"),
        Example("telephone.flac", "Over the telephone"),
        Example("empty-room.flac", "An empty room"),
    ]
