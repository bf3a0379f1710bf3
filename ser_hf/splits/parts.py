"""What protocols are made of: a fold, and the error of one that cannot be applied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class SplitError(ValueError):
    """A protocol that cannot be applied to a table; the message says what is missing or unknown."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of the clip table, as disjoint and ascending int arrays; `index` is the protocol's own number."""

    index: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
