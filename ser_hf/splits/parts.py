"""What protocols are made of: a fold, the rows that can be tested, and the error of one that cannot be applied."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset


class SplitError(ValueError):
    """A protocol that cannot be applied to a table; the message says what is missing or unknown."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of the clip table, as disjoint and ascending int arrays.

    Attributes:
        index: the protocol's own number.
        name: what is tested, where it has a name: for "loco", the corpus that is left out.
    """

    index: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    name: str | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"Fold {self.index}" + (f" ({self.name})" if self.name else "")


def rows_with_known_label(table: Dataset, tested: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The tested rows whose label occurs in the training rows; a warning says how many are left out.

    Args:
        tested, train: (n,) bool, of the rows of the table.

    Returns:
        Ascending int array.

    Raises:
        SplitError: no tested row has a label that is trained.
    """
    corpora, emotions = np.array(table["corpus"]), np.array(table["emotion"])
    known = np.isin(emotions, np.unique(emotions[train]))
    test_names, train_names = (", ".join(sorted(set(corpora[rows].tolist()))) for rows in (tested, train))
    if not (tested & known).any():
        raise SplitError(f"no clip of {test_names} has a label that {train_names} has")
    left_out = tested & ~known
    if left_out.any():
        absent = ", ".join(table.features["emotion"].names[label] for label in np.unique(emotions[left_out]))
        warnings.warn(
            f"{left_out.sum()} clips of {test_names} are not tested, because no training clip of {train_names} is "
            f"labelled {absent}",
            stacklevel=4,
        )
    return np.flatnonzero(tested & known)
