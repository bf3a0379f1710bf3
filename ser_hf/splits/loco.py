"""Protocol "loco": leave one corpus out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from ser_hf.splits.parts import Fold, SplitError, rows_with_known_label


def loco_folds(table: Dataset, test_corpora: Sequence[str] = ()) -> list[Fold]:
    """One fold per corpus of the table: that corpus is tested, all others train, and there are no validation rows.

    A fold's number is the position of its corpus in order of first appearance, its name that of the corpus. A clip is
    tested only if its label occurs in the training clips; a warning says how many are left out.

    Args:
        table: a clip table of several corpora.
        test_corpora: corpora that train in no fold.

    Raises:
        SplitError: fewer than two training corpora, a test corpus that the table does not have, or one that shares no
            label with what trains.
    """
    corpora = np.array(table["corpus"])
    names = list(dict.fromkeys(corpora.tolist()))
    unknown = [name for name in test_corpora if name not in names]
    if unknown:
        raise SplitError(f"the table has no clip of {unknown[0]} to test on; it has {', '.join(names)}")
    training = [name for name in names if name not in test_corpora]
    if len(training) < 2:
        raise SplitError(
            f"protocol 'loco' needs two or more training corpora, and the table has {', '.join(training) or 'none'}: "
            "add a corpus, or take 'cross'"
        )
    made = []
    for index, name in enumerate(names):
        tested = corpora == name
        train = np.isin(corpora, training) & ~tested
        test = rows_with_known_label(table, tested, train)
        made.append(Fold(index, np.flatnonzero(train), np.zeros(0, dtype=int), test, name=name))
    return made
