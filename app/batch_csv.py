"""A batch as a table, for spreadsheets and programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.analysis import Answer
from app.batch import Batch

# With these a spreadsheet takes a text for a formula, and runs what a stranger wrote into the name of a file.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_csv(batch: Batch, labels: Sequence[str], path: str | Path) -> Path:
    """Write a batch as one table, a row a recording, for spreadsheets and programs.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        batch: what `run_batch` returns.
        labels: of the models; each has a column of probabilities of the model and one of the baseline.
        path: the file to write.

    Returns:
        ``path``.
    """
    table = [{key: _no_formula(cell) for key, cell in _cells(row).items()} for row in batch["rows"]]
    columns = [
        *("file", "label", "confidence", "confident"),
        *("baseline", "baseline_confidence", "baseline_confident", "agree", "duration"),
        *(f"{prefix}{label}" for prefix in ("p_", "baseline_p_") for label in labels),
        *(key for cells in table for key in cells if key not in ("warnings", "error")),  # labels of the baseline alone
        *("warnings", "error"),
    ]
    path = Path(path)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(columns)))
        writer.writeheader()
        writer.writerows(table)
    return path


def _cells(row: Answer) -> dict[str, Any]:
    """A row without lists: one column a probability."""
    cells = {key: value for key, value in row.items() if key not in ("scores", "baseline_scores", "reason")}
    cells |= {f"p_{label}": score for label, score in row.get("scores", {}).items()}
    cells |= {f"baseline_p_{label}": score for label, score in row.get("baseline_scores", {}).items()}
    return cells | {"warnings": "; ".join(row.get("warnings", ()))}


def _no_formula(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
