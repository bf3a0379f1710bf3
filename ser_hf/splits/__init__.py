"""Protocols: which clips train a model, which choose among models, which test it.

The folds are data, in the JSON files beside this module: each names its source, the column of the clip table that it
divides by ("speaker" or "clip"), and per fold the values that are tested and those that validate; the rest trains.

A table may also bring its own folds, in two columns per protocol (see `fold_columns`); those come first.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

TESTING_PROTOCOLS = ("actor", "random", "emobox", "loao")
PROTOCOLS = (*TESTING_PROTOCOLS, "full")
SPEAKER_DEPENDENT = ("random",)
ACTORS = tuple(f"{number:02d}" for number in range(1, 25))


class SplitError(ValueError):
    """A protocol that cannot be applied to a table; the message says what is missing or unknown."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of the clip table, as disjoint and ascending int arrays; `index` is the protocol's own number."""

    index: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def make_folds(table: Dataset, protocol: str, folds: Iterable[int] | None = None) -> list[Fold]:
    """Apply a protocol to a clip table: by the table's own fold columns if it has them, else to RAVDESS as published.

    Args:
        table: a clip table; the columns `<protocol>_test` and `<protocol>_validation` are its own folds, which may be
            of any speakers (see `fold_columns`).
        protocol: "actor" (Luna-Jimenez et al. 2022, folds 0 to 4), "emobox" (arXiv 2406.07162, folds 1 to 6), "random"
            (stratified over clips, speaker-dependent, folds 0 to 4), "loao" (leave one actor out, fold = actor), or
            "full" (one fold 0: all rows train, none validates or tests).
        folds: only these folds, in this order.

    Returns:
        Folds whose test rows, over all folds of the protocol, are the whole table (but for "full"). Except for
        "random", no speaker is in two of the parts of one fold.

    Raises:
        SplitError: an unknown protocol or fold, a missing actor, a speaker or clip that the protocol does not know;
            own folds in which a clip is tested nowhere or validates where it is tested, in which a speaker is in two
            parts (but for "random"), or which leave a chosen fold nothing to train on.
    """
    if protocol not in PROTOCOLS:
        raise SplitError(f"there is no protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}")
    if protocol == "full":
        nothing = np.zeros(0, dtype=int)
        made = [Fold(0, np.arange(len(table)), nothing, nothing)]
    elif set(column_names(protocol)) & set(table.column_names):
        made = _own_folds(table, protocol)
    else:
        definition = read_definition(protocol)
        _check_speakers(table, protocol)
        made = _apply(table, definition)
    by_index = {fold.index: fold for fold in made}
    chosen = list(by_index if folds is None else folds)
    unknown = [index for index in chosen if index not in by_index]
    if unknown:
        raise SplitError(f"protocol {protocol!r} has no fold {unknown[0]}; it has {', '.join(map(str, by_index))}")
    for index in chosen:
        if not len(by_index[index].train):
            raise SplitError(f"fold {index} of protocol {protocol!r} leaves no clip of this table to train on")
    return [by_index[index] for index in chosen]


def column_names(protocol: str) -> tuple[str, str]:
    """The columns of a table's own folds of a protocol: the fold that tests a clip, and those that validate on it."""
    return f"{protocol}_test", f"{protocol}_validation"


def fold_columns(table: Dataset, protocol: str) -> dict[str, list[Any]]:
    """The folds of a protocol as two columns of the clip table, from which `make_folds` makes the same folds again.

    Returns:
        `<protocol>_test` (int a clip: the fold that tests it) and `<protocol>_validation` (ascending list of int a
        clip: the folds in which it validates); in all others it trains.

    Raises:
        SplitError: see `make_folds`.
    """
    test: list[Any] = [None] * len(table)
    validation: list[Any] = [[] for _ in range(len(table))]
    for fold in sorted(make_folds(table, protocol), key=lambda fold: fold.index):
        for row in fold.test:
            test[row] = fold.index
        for row in fold.validation:
            validation[row].append(fold.index)
    return dict(zip(column_names(protocol), (test, validation), strict=True))


def read_definition(protocol: str) -> dict[str, Any]:
    """A protocol as data: {"source", "column", "folds": [{"index", "test", "validation"}, ...]}."""
    if protocol == "loao":
        return leave_one_actor_out()
    return json.loads((Path(__file__).parent / f"{protocol}.json").read_text(encoding="utf-8"))


def leave_one_actor_out() -> dict[str, Any]:
    """The definition of "loao": the next man and the next woman, cyclically, validate."""
    source = "leave one actor out; validation actors: the next man and the next woman, cyclically"
    folds = []
    for number, actor in enumerate(ACTORS, start=1):
        following = ACTORS[number:] + ACTORS[:number]
        others = [other for other in following if other != actor]
        man = next(other for other in others if int(other) % 2 == 1)
        woman = next(other for other in others if int(other) % 2 == 0)
        folds.append({"index": number, "test": [actor], "validation": sorted([man, woman])})
    return {"source": source, "column": "speaker", "folds": folds}


def draw_random_definition(table: Dataset) -> dict[str, Any]:
    """Draw the definition of "random", once; random.json is what this gave for all 1440 clips of RAVDESS.

    scikit-learn's StratifiedKFold(5, shuffle=True, random_state=0) over the emotions; in each fold a stratified tenth
    of the training clips validates (train_test_split(test_size=0.1, random_state=fold)).
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    clips, emotions = np.array(table["clip"]), np.array(table["emotion"])
    folds = []
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    for index, (rest, test) in enumerate(splitter.split(clips, emotions)):
        _, validation = train_test_split(rest, test_size=0.1, stratify=emotions[rest], random_state=index)
        folds.append({"index": index, "test": sorted(clips[test]), "validation": sorted(clips[validation])})
    source = (
        "scikit-learn's StratifiedKFold(5, shuffle=True, random_state=0) over emotions; validation: a stratified tenth "
        "of the rest, train_test_split(test_size=0.1, random_state=fold)"
    )
    return {"source": source, "column": "clip", "folds": folds}


def _check_speakers(table: Dataset, protocol: str) -> None:
    present = set(table["speaker"])
    missing = [actor for actor in ACTORS if actor not in present]
    if missing:
        raise SplitError(f"protocol {protocol!r} needs all 24 actors of RAVDESS; missing: {', '.join(missing)}")
    unknown = sorted(present - set(ACTORS))
    if unknown:
        raise SplitError(f"protocol {protocol!r} divides RAVDESS; it has no speaker {', '.join(unknown[:5])}")


def _apply(table: Dataset, definition: dict[str, Any]) -> list[Fold]:
    values = np.array(table[definition["column"]])
    known = {value for fold in definition["folds"] for value in fold["test"]}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SplitError(f"the folds have no {definition['column']} {', '.join(map(str, unknown[:5]))}")
    made = []
    for fold in definition["folds"]:
        test, validation = np.isin(values, fold["test"]), np.isin(values, fold["validation"])
        made.append(Fold(fold["index"], *(np.flatnonzero(rows) for rows in (~test & ~validation, validation, test))))
    return made


def _own_folds(table: Dataset, protocol: str) -> list[Fold]:
    """The folds that the table's own columns tell; a fold that tests no clip of this table is left out."""
    absent = sorted(set(column_names(protocol)) - set(table.column_names))
    if absent:
        raise SplitError(f"the table's own folds of protocol {protocol!r} need the column {absent[0]!r} too")
    tests, validations = (list(table[name]) for name in column_names(protocol))
    for clip, test, validation in zip(table["clip"], tests, validations, strict=True):
        if test is None:
            raise SplitError(f"clip {clip}: {protocol}_test is empty; every clip must be tested in one fold")
        if test in (validation or ()):
            raise SplitError(f"clip {clip}: fold {test} of protocol {protocol!r} tests it and validates on it")
    made = []
    for index in sorted(set(tests)):
        test = np.array([value == index for value in tests])
        validation = np.array([index in (value or ()) for value in validations])
        rows = (~test & ~validation, validation, test)
        made.append(Fold(int(index), *(np.flatnonzero(part) for part in rows)))
    if protocol not in SPEAKER_DEPENDENT:
        _check_disjoint(table, protocol, made)
    return made


def _check_disjoint(table: Dataset, protocol: str, folds: list[Fold]) -> None:
    # Two corpora may both have a speaker 03.
    speakers = np.array([f"{c}/{s}" for c, s in zip(table["corpus"], table["speaker"], strict=True)])
    for fold in folds:
        parts = {name: set(speakers[getattr(fold, name)]) for name in ("train", "validation", "test")}
        for one, other in itertools.combinations(parts, 2):
            shared = sorted(parts[one] & parts[other])
            if shared:
                raise SplitError(
                    f"fold {fold.index} of protocol {protocol!r} has speaker {shared[0]} in {one} and in {other}; "
                    f"only {', '.join(SPEAKER_DEPENDENT)} may mix voices"
                )
