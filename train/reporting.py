"""What every report is made of: runs that were read, Markdown tables, and a folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ser_hf import plots
from ser_hf.metrics import evaluate_predictions
from ser_hf.runs import RunError, read_predictions, read_run_json


@dataclass(frozen=True)
class Run:
    """One run folder that takes part: its name, its predictions, what run.json says, and its metrics."""

    name: str
    frame: pd.DataFrame
    facts: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def protocol(self) -> str:
        return self.facts["protocol"]

    @property
    def without_seed(self) -> str:
        return re.sub(r"-seed\d+$", "", self.name)

    @cached_property
    def clips(self) -> frozenset[tuple[str, str]]:
        return frozenset(zip(self.frame["corpus"], self.frame["clip"], strict=True))


class Gallery:
    """The report's folder of pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()

    def add(self, figure: Figure, name: str, text: str) -> str:
        """Write a picture as ``name``.png (``name``-2.png and so on if that is taken); returns the Markdown for it."""
        file, number = f"{name}.png", 1
        while file in self.names:
            number += 1
            file = f"{name}-{number}.png"
        self.names.add(file)
        plots.save(figure, self.folder / file)
        return f"![{text}]({self.folder.name}/{file})"

    def remove_others(self) -> None:
        """Remove the pictures of an earlier report that this one does not have."""
        for path in self.folder.glob("*.png"):
            if path.name not in self.names:
                path.unlink()


def read_run(folder: Path) -> Run:
    """Read and check one run folder; what it is worth is computed from its predictions, not read."""
    frame = read_predictions(folder)
    facts = read_run_json(folder)
    if not facts.get("protocol"):
        raise RunError(f"{folder / 'run.json'} does not say which protocol was run; is the run complete?")
    return Run(folder.resolve().name, frame, facts, evaluate_predictions(frame))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def bracket(interval: Sequence[float] | None, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (f"{100 * bound:+.1f}" if signed else f"{100 * bound:.1f}" for bound in interval)
    return f" [{low}, {high}]"


def p_value(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
