"""Protocols: which clips train a model, which choose among models, which test it.

The folds of RAVDESS are data, in the JSON files beside this module; those of other corpora follow from the rules of
`ser_hf.protocols.dealing`. A table may also bring its own folds, in two columns per protocol; those come first.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset

from ser_hf.protocols import PROTOCOLS, SplitError
from ser_hf.protocols.dealing import definition_of
from ser_hf.utils.names import unknown_name

TESTING_PROTOCOLS = tuple(name for name, protocol in PROTOCOLS.items() if protocol.is_stored)
NOBODY = np.zeros(0, dtype=int)


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


def make_folds(
    table: Dataset, protocol: str, folds: Iterable[int | str] | None = None, test_corpora: Sequence[str] = ()
) -> list[Fold]:
    """Apply a protocol to a clip table: by the table's own fold columns if it has them, else as it is defined here.

    Each corpus is divided by itself, and the folds of one number are pooled: a clip is tested in the same fold whatever
    its corpus is pooled with. A speaker is a corpus and a name in it; except for "random", none is in two parts of one
    fold.

    Args:
        table: a clip table, of one corpus or of several, with or without columns as `fold_columns` makes them.
        protocol: one of `ser_hf.protocols.PROTOCOLS`. "actor", "random" and "develop" have folds 0 to 4, "emobox"
            (RAVDESS alone) 1 to 6, "loao" (one corpus alone) one per speaker from 1, "loco" one per corpus, "full" and
            "cross" one fold 0; "group" has up to five, "split" (the column of that name) one fold 0.
        folds: only these folds, in this order, by number or by name (for "loco", the corpus).
        test_corpora: see `cross_fold` and `loco_folds`.

    Raises:
        SplitError: an unknown protocol or fold, clips or speakers that the protocol cannot divide, own folds that
            contradict themselves, or a chosen fold that leaves nothing to train on.
    """
    if protocol not in PROTOCOLS:
        raise SplitError(unknown_name("protocol", protocol, PROTOCOLS))
    if protocol == "full":
        made = [Fold(0, np.arange(len(table)), NOBODY, NOBODY)]
    elif protocol == "cross":
        made = [cross_fold(table, test_corpora)]
    elif protocol == "loco":
        made = loco_folds(table, test_corpora)
    elif protocol == "split":
        made = [given_fold(table)]
    elif protocol == "develop":
        made = development_folds(make_folds(table, "actor"))
    else:
        made = _stored_folds(table, protocol)
    if folds is not None:
        by_key = {key: fold for fold in made for key in (fold.index, fold.name)}
        chosen = list(folds)
        unknown = [key for key in chosen if key not in by_key]
        if unknown:
            known = ", ".join(str(fold).removeprefix("Fold ") for fold in made)
            raise SplitError(f"protocol {protocol!r} has no fold {unknown[0]}; it has {known}")
        made = list(dict.fromkeys(by_key[key] for key in chosen))
    for fold in made:
        if not len(fold.train):
            raise SplitError(f"fold {fold.index} of protocol {protocol!r} leaves no clip of this table to train on")
    return made


def column_names(protocol: str) -> tuple[str, str]:
    """The columns of a table's own folds of a protocol: the fold that tests a clip, and those that validate on it."""
    return f"{protocol}_test", f"{protocol}_validation"


def fold_columns(table: Dataset, protocol: str) -> dict[str, list[Any]]:
    """The folds of a protocol as two columns of the clip table: its own, or those that are defined here.

    Returns:
        `<protocol>_test` (int a clip: the fold that tests it) and `<protocol>_validation` (ascending list of int a
        clip: the folds in which it validates); in all others it trains.

    Raises:
        SplitError: see `make_folds`.
    """
    names = column_names(protocol)
    absent = [name for name in names if name not in table.column_names]
    if len(absent) == 1:
        raise SplitError(f"the table's own folds of protocol {protocol!r} need the column {absent[0]!r} too")
    tests, validations = _defined_folds(table, protocol) if absent else (table[name][:] for name in names)
    validations = [sorted(folds or ()) for folds in validations]
    for clip, test, folds in zip(table["clip"][:], tests, validations, strict=True):
        if test is None:
            raise SplitError(f"clip {clip}: {protocol}_test is empty; every clip must be tested in one fold")
        if test in folds:
            raise SplitError(f"clip {clip}: fold {test} of protocol {protocol!r} tests it and validates on it")
    return dict(zip(names, (tests, validations), strict=True))


def speakers_of(table: Dataset) -> np.ndarray:
    """The speaker of each row as corpus/speaker, because two corpora may both have a speaker 03."""
    return np.array([f"{c}/{s}" for c, s in zip(table["corpus"][:], table["speaker"][:], strict=True)])


def cross_fold(table: Dataset, test_corpora: Sequence[str]) -> Fold:
    """One fold 0 that tests the clips of some corpora and trains on all others, except two speakers that validate.

    A man and a woman validate: each the last by name in the corpus that has the most speakers of that gender (of two
    with as many, the first by name). Where all that train are of one gender, the last two of it do.

    A clip is tested only if its label occurs in the training clips; a warning says how many are not.

    Raises:
        SplitError: no corpus to test on, one that the table does not have, none left to train on, fewer than three
            speakers there, or no label that both sides have.
    """
    corpora = np.array(table["corpus"][:])
    if not test_corpora:
        raise SplitError("protocol 'cross' needs to know which corpora are tested (test_corpora)")
    _check_known(test_corpora, sorted(set(corpora.tolist())))
    tested = np.isin(corpora, list(test_corpora))
    if tested.all():
        raise SplitError(f"all clips are of {_names(corpora)}, which is tested; none is left to train on")
    validation = np.isin(speakers_of(table), _validation_speakers(table.select(np.flatnonzero(~tested))))
    train = ~tested & ~validation
    return Fold(0, np.flatnonzero(train), np.flatnonzero(validation), _with_known_label(table, tested, train))


def loco_folds(table: Dataset, test_corpora: Sequence[str] = ()) -> list[Fold]:
    """One fold per corpus of the table: that corpus is tested, all others train, and there are no validation rows.

    A fold's number is the position of its corpus in order of first appearance, its name that of the corpus. Those of
    `test_corpora` train in no fold. A clip is tested only if its label occurs in the training clips; a warning says how
    many are not.

    Raises:
        SplitError: fewer than two training corpora, a test corpus that the table does not have, or one that shares no
            label with what trains.
    """
    corpora = np.array(table["corpus"][:])
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
        made.append(Fold(index, np.flatnonzero(train), NOBODY, _with_known_label(table, tested, train), name=name))
    return made


def given_fold(table: Dataset) -> Fold:
    """One fold 0: the column `split` says "train", "validation" or "test".

    Raises:
        SplitError: there is no such column, it names nothing to test, or a speaker is in two splits.
    """
    if "split" not in table.column_names:
        raise SplitError("protocol 'split' needs a column split with train, test and perhaps validation")
    split = np.array(table["split"][:])
    fold = Fold(0, *(np.flatnonzero(split == name) for name in ("train", "validation", "test")))
    if not len(fold.test):
        raise SplitError("column split has no row with test")
    known = np.array([speaker is not None for speaker in table["speaker"][:]])
    if known.all():
        _check_disjoint(speakers_of(table), "split", [fold])
    return fold


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


def _stored_folds(table: Dataset, protocol: str) -> list[Fold]:
    """The folds in the columns of `fold_columns`; one that tests no clip of this table is left out."""
    tests, validations = fold_columns(table, protocol).values()
    made = []
    for index in sorted(set(tests)):
        test = np.array([fold == index for fold in tests])
        validation = np.array([index in folds for folds in validations])
        made.append(Fold(index, *(np.flatnonzero(rows) for rows in (~test & ~validation, validation, test))))
    if PROTOCOLS[protocol].speaker_independent:
        _check_disjoint(speakers_of(table), protocol, made)
    return made


def _defined_folds(table: Dataset, protocol: str) -> tuple[list[int], list[list[int]]]:
    """Per row the fold that tests it and those that validate on it, each corpus divided by itself."""
    corpora = np.array(table["corpus"][:])
    names = sorted(set(corpora.tolist()))
    if protocol == "loao" and len(names) > 1:
        raise SplitError(
            f"protocol 'loao' leaves one speaker of one corpus out, and the table has {' and '.join(names)}: take "
            "'actor' or 'random'"
        )
    tests: list[int] = [0] * len(table)
    validations: list[list[int]] = [[]] * len(table)
    for name in names:
        rows = np.flatnonzero(corpora == name)
        part = table.select(rows)
        definition = definition_of(part, protocol)
        values = part[definition["column"]][:]
        tested = {value: fold["index"] for fold in definition["folds"] for value in fold["test"]}
        validating = [(fold["index"], set(fold["validation"])) for fold in definition["folds"]]
        unknown = sorted(set(values) - set(tested))
        if unknown:
            raise SplitError(f"the folds have no {definition['column']} {', '.join(unknown[:5])}")
        for row, value in zip(rows, values, strict=True):
            tests[row], validations[row] = tested[value], [index for index, some in validating if value in some]
    return tests, validations


def _check_disjoint(speakers: np.ndarray, protocol: str, folds: list[Fold]) -> None:
    for fold in folds:
        parts = {name: set(speakers[getattr(fold, name)]) for name in ("train", "validation", "test")}
        for one, other in itertools.combinations(parts, 2):
            shared = sorted(parts[one] & parts[other])
            if shared:
                raise SplitError(
                    f"fold {fold.index} of protocol {protocol!r} has speaker {shared[0]} in {one} and in {other}; only "
                    "a speaker-dependent protocol may have that"
                )


def _names(corpora: np.ndarray) -> str:
    return ", ".join(sorted(set(corpora.tolist())))


def _check_known(test_corpora: Sequence[str], present: Sequence[str]) -> None:
    unknown = [name for name in test_corpora if name not in present]
    if unknown:
        raise SplitError(f"the table has no clip of {unknown[0]} to test on; it has {', '.join(present)}")


def _validation_speakers(table: Dataset) -> list[str]:
    """The two speakers (corpus/speaker) of the clips that are not tested that validate (see `cross_fold`)."""
    rows = zip(table["corpus"][:], speakers_of(table).tolist(), table["gender"][:], strict=True)
    people = sorted({row for row in rows if row[2]})  # EmoGator does not say the gender of its contributors
    if len(people) < 3:
        raise SplitError(
            "protocol 'cross' needs three speakers to train on, because two of them validate; "
            f"{_names(np.array(table['corpus']))} has {len(people)}: add a corpus"
        )
    by_gender: dict[str, dict[str, list[str]]] = {}
    for corpus, speaker, gender in people:
        by_gender.setdefault(gender, {}).setdefault(corpus, []).append(speaker)
    if len(by_gender) == 1:
        return [speaker for _, speaker, _ in people[-2:]]
    return [max(in_corpora.values(), key=len)[-1] for in_corpora in by_gender.values()]


def _with_known_label(table: Dataset, tested: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The tested rows whose label occurs in the training rows, from boolean masks of rows."""
    corpora, emotions = np.array(table["corpus"][:]), np.array(table["emotion"][:])
    known = np.isin(emotions, emotions[train])
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
