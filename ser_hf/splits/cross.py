"""Protocol "cross": train on some corpora, test on others that the model has never met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from ser_hf.splits.parts import Fold, SplitError, rows_with_known_label


def cross_fold(table: Dataset, test_corpora: Sequence[str]) -> Fold:
    """One fold 0 that tests the clips of some corpora and trains on all others, but for two speakers that validate.

    A man and a woman validate: each the last by name in the corpus that has the most speakers of that gender (of two
    with as many, the first by name). Where all that train are of one gender, the last two of it do.

    A clip is tested only if its label occurs in the training clips; how many are not is said in a warning.

    Raises:
        SplitError: no corpus to test on, one that the table does not have, none left to train on, fewer than three
            speakers there, or no label that both sides have.
    """
    corpora = np.array(table["corpus"])
    present = sorted(set(corpora.tolist()))
    if not test_corpora:
        raise SplitError("protocol 'cross' needs to know which corpora are tested (test_corpora)")
    unknown = [name for name in test_corpora if name not in present]
    if unknown:
        raise SplitError(f"the table has no clip of {unknown[0]} to test on; it has {', '.join(present)}")
    tested = np.isin(corpora, list(test_corpora))
    if tested.all():
        raise SplitError(f"all clips are of {', '.join(present)}, which is tested; none is left to train on")
    speakers = np.array([f"{c}/{s}" for c, s in zip(corpora, table["speaker"], strict=True)])
    validating = _validation_speakers(corpora[~tested], speakers[~tested], np.array(table["gender"])[~tested])
    validation = ~tested & np.isin(speakers, validating)
    train = ~tested & ~validation
    return Fold(0, np.flatnonzero(train), np.flatnonzero(validation), rows_with_known_label(table, tested, train))


def _validation_speakers(corpora: np.ndarray, speakers: np.ndarray, genders: np.ndarray) -> list[str]:
    """The two speakers (corpus/speaker) that validate, out of those of the clips that are not tested."""
    known = [gender is not None for gender in genders]  # not of EmoGator's contributors
    people = sorted(set(zip(corpora[known].tolist(), speakers[known].tolist(), genders[known].tolist(), strict=True)))
    if len(people) < 3:
        raise SplitError(
            f"protocol 'cross' needs three speakers to train on, because two of them validate; "
            f"{', '.join(sorted(set(corpora)))} has {len(people)}: add a corpus"
        )
    by_gender: dict[str, dict[str, list[str]]] = {}
    for corpus, speaker, gender in people:
        by_gender.setdefault(gender, {}).setdefault(corpus, []).append(speaker)
    if len(by_gender) == 1:
        return [speaker for _, speaker, _ in people[-2:]]
    largest = [max(in_corpora.values(), key=len) for _, in_corpora in sorted(by_gender.items())]
    return [group[-1] for group in largest[:2]]
