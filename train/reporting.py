"""The parts of a report: runs, and a folder of figures."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ser_hf.evaluation import plots
from ser_hf.evaluation.metrics import evaluate_predictions
from ser_hf.evaluation.runs import RunError, read_predictions, read_run_json


@dataclass(frozen=True)
class Run:
    """A run folder: its name, its predictions, its run.json, and its metrics."""

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
    """The folder of a report's figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()

    def add(self, figure: Figure, name: str, text: str) -> str:
        """Write a figure as ``name``.png (``name``-2.png and so on if that is taken); returns the Markdown for it."""
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        file = next(f"{one}.png" for one in names if f"{one}.png" not in self.names)
        self.names.add(file)
        plots.save(figure, self.folder / file)
        return f"![{text}]({self.folder.name}/{file})"

    def remove_others(self) -> None:
        """Remove the figures of an earlier report that this one does not have."""
        for path in self.folder.glob("*.png"):
            if path.name not in self.names:
                path.unlink()


def read_run(folder: Path) -> Run:
    """Read and check one run folder; its metrics are computed from its predictions, not read.

    Raises:
        RunError: it is not complete.
    """
    frame = read_predictions(folder)
    facts = read_run_json(folder)
    if not facts.get("protocol"):
        raise RunError(f"{folder / 'run.json'} does not say which protocol was run; is the run complete?")
    return Run(folder.resolve().name, frame, facts, evaluate_predictions(frame))
