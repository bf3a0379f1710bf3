"""Folds, and those that follow from the corpora of a table: "cross", "loco" and "develop"."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset

from ser_hf.errors import SerHfError


class SplitError(SerHfError):
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


def speakers_of(table: Dataset) -> np.ndarray:
    """The speaker of each row as corpus/speaker, because two corpora may both have a speaker 03."""
    return np.array([f"{c}/{s}" for c, s in zip(table["corpus"], table["speaker"], strict=True)])


def cross_fold(table: Dataset, test_corpora: Sequence[str]) -> Fold:
    """One fold 0 that tests the clips of some corpora and trains on all others, except two speakers that validate.

    A man and a woman validate: each the last by name in the corpus that has the most speakers of that gender (of two
    with as many, the first by name). Where all that train are of one gender, the last two of it do.

    A clip is tested only if its label occurs in the training clips; a warning says how many are not.

    Raises:
        SplitError: no corpus to test on, one that the table does not have, none left to train on, fewer than three
            speakers there, or no label that both sides have.
    """
    corpora = np.array(table["corpus"])
    if not test_corpora:
        raise SplitError("protocol 'cross' needs to know which corpora are tested (test_corpora)")
    _check_known(test_corpora, sorted(set(corpora.tolist())))
    tested = np.isin(corpora, list(test_corpora))
    if tested.all():
        raise SplitError(f"all clips are of {_names(corpora)}, which is tested; none is left to train on")
    speakers, genders = speakers_of(table), np.array(table["gender"])
    validating = _validation_speakers(corpora[~tested], speakers[~tested], genders[~tested])
    validation = ~tested & np.isin(speakers, validating)
    train = ~tested & ~validation
    return Fold(0, np.flatnonzero(train), np.flatnonzero(validation), _with_known_label(table, tested, train))


def loco_folds(table: Dataset, test_corpora: Sequence[str] = ()) -> list[Fold]:
    """One fold per corpus of the table: that corpus is tested, all others train, and there are no validation rows.

    A fold's number is the position of its corpus in order of first appearance, its name that of the corpus. A clip is
    tested only if its label occurs in the training clips; a warning says how many are not.

    Args:
        table: a clip table of several corpora.
        test_corpora: corpora that train in no fold.

    Raises:
        SplitError: fewer than two training corpora, a test corpus that the table does not have, or one that shares no
            label with what trains.
    """
    corpora = np.array(table["corpus"])
    names = list(dict.fromkeys(corpora.tolist()))
    _check_known(test_corpora, names)
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
        test = _with_known_label(table, tested, train)
        made.append(Fold(index, np.flatnonzero(train), np.zeros(0, dtype=int), test, name=name))
    return made


def development_folds(folds: Sequence[Fold]) -> list[Fold]:
    """Folds to choose a recipe by, which never use what a protocol's folds test.

    Of the speakers that train in a fold, those that the next fold tests are tested here; the fold's own test speakers
    are in no part of it.
    """
    made = []
    for fold, following in zip(folds, [*folds[1:], *folds[:1]], strict=True):
        test = np.intersect1d(following.test, fold.train)
        made.append(Fold(fold.index, np.setdiff1d(fold.train, test), fold.validation, test))
    return made


def _names(corpora: np.ndarray) -> str:
    return ", ".join(sorted(set(corpora.tolist())))


def _check_known(test_corpora: Sequence[str], present: Sequence[str]) -> None:
    unknown = [name for name in test_corpora if name not in present]
    if unknown:
        raise SplitError(f"the table has no clip of {unknown[0]} to test on; it has {', '.join(present)}")


def _validation_speakers(corpora: np.ndarray, speakers: np.ndarray, genders: np.ndarray) -> list[str]:
    """The two speakers (corpus/speaker) that validate, of those of the clips that are not tested."""
    known = [gender is not None for gender in genders]  # not of EmoGator's contributors
    people = sorted(set(zip(corpora[known].tolist(), speakers[known].tolist(), genders[known].tolist(), strict=True)))
    if len(people) < 3:
        raise SplitError(
            "protocol 'cross' needs three speakers to train on, because two of them validate; "
            f"{_names(corpora)} has {len(people)}: add a corpus"
        )
    by_gender: dict[str, dict[str, list[str]]] = {}
    for corpus, speaker, gender in people:
        by_gender.setdefault(gender, {}).setdefault(corpus, []).append(speaker)
    if len(by_gender) == 1:
        return [speaker for _, speaker, _ in people[-2:]]
    largest = [max(in_corpora.values(), key=len) for _, in_corpora in sorted(by_gender.items())]
    return [group[-1] for group in largest[:2]]


def _with_known_label(table: Dataset, tested: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The tested rows whose label occurs in the training rows, from boolean masks of rows."""
    corpora, emotions = np.array(table["corpus"]), np.array(table["emotion"])
    known = np.isin(emotions, np.unique(emotions[train]))
    test_names, train_names = _names(corpora[tested]), _names(corpora[train])
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
