"""Protocols: which clips train a model, which choose among models, which test it.

The folds of RAVDESS are data, in the JSON files beside this module: each names its source, the column of the clip table
that it divides by ("speaker" or "clip"), and per fold the values that are tested and those that validate; the rest
trains. Those of other corpora follow from the rules of `ser_hf.protocols.dealing`.

A table may also bring its own folds, in two columns per protocol (see `fold_columns`); those come first.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ser_hf.protocols import PROTOCOLS
from ser_hf.protocols.dealing import define, leave_one_out
from ser_hf.protocols.fold import Fold, SplitError, cross_fold, development_folds, loco_folds, speakers_of
from ser_hf.utils.names import unknown_name

TESTING_PROTOCOLS = tuple(name for name, protocol in PROTOCOLS.items() if protocol.is_stored)
ACTORS = tuple(f"{number:02d}" for number in range(1, 25))


def make_folds(
    table: Dataset, protocol: str, folds: Iterable[int | str] | None = None, test_corpora: Sequence[str] = ()
) -> list[Fold]:
    """Apply a protocol to a clip table: by the table's own fold columns if it has them, else as it is defined here.

    RAVDESS is divided as published. For other corpora there is no division that all follow: each is dealt to folds by
    itself, by a fixed rule (`ser_hf.protocols.dealing`), and the folds of one number are pooled. So a clip is tested
    in the same fold whatever its corpus is pooled with.

    Args:
        table: a clip table, of one corpus or of several; the columns `<protocol>_test` and `<protocol>_validation` are
            its own folds, which may be of any speakers (see `fold_columns`).
        protocol: one of `ser_hf.protocols.PROTOCOLS`. "actor", "random" and "develop" have folds 0 to 4, "emobox"
            (RAVDESS alone) 1 to 6, "loao" (one corpus alone) one per speaker from 1, "loco" one per corpus, "full" and
            "cross" one fold 0. See `cross_fold`, `loco_folds` and `development_folds` of `ser_hf.protocols.fold`.
        folds: only these folds, in this order, by number or by name (for "loco", the corpus).
        test_corpora: for "cross", the corpora that are tested; all others of the table train. For "loco", corpora that
            are tested and never train.

    Returns:
        Folds whose test rows, over all folds of the protocol, are the whole table (but for "full", "cross", "develop",
        and clips of "loco" whose label no training clip has). Except for "random", no speaker is in two of the parts of
        one fold; a speaker is a corpus and a name in it. There are no validation rows where no corpus of the table has
        four speakers, nor in protocols without validation (`ser_hf.protocols`).

    Raises:
        SplitError: an unknown protocol or fold, a missing actor of RAVDESS, a speaker or clip that the protocol does
            not know, more corpora than it can divide; own folds in which a clip is tested nowhere or validates where it
            is tested, in which a speaker is in two parts (but for "random"); a chosen fold that leaves nothing to train
            on.
    """
    if protocol not in PROTOCOLS:
        raise SplitError(unknown_name("protocol", protocol, PROTOCOLS))
    if protocol == "full":
        nothing = np.zeros(0, dtype=int)
        made = [Fold(0, np.arange(len(table)), nothing, nothing)]
    elif protocol == "cross":
        made = [cross_fold(table, test_corpora)]
    elif protocol == "loco":
        made = loco_folds(table, test_corpora)
    elif protocol == "develop":
        made = development_folds(make_folds(table, "actor"))
    elif set(column_names(protocol)) & set(table.column_names):
        made = _own_folds(table, protocol)
    else:
        made = _built_in(table, protocol)
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


def definition_of(table: Dataset, protocol: str) -> dict[str, Any]:
    """A protocol as data, for the clips of one corpus: as `read_definition` has it, or dealt by rule.

    Raises:
        SplitError: see `make_folds`.
    """
    if set(table["corpus"]) != {"ravdess"}:
        return define(table, protocol)
    _check_speakers(table, protocol)
    return read_definition(protocol)


def read_definition(protocol: str) -> dict[str, Any]:
    """A protocol for RAVDESS as data: {"source", "column", "folds": [{"index", "test", "validation"}, ...]}."""
    if protocol == "loao":
        return leave_one_out({actor: "male" if int(actor) % 2 else "female" for actor in ACTORS})
    return json.loads((Path(__file__).parent / f"{protocol}.json").read_text(encoding="utf-8"))


def _built_in(table: Dataset, protocol: str) -> list[Fold]:
    """The folds of all corpora of a table, those of one number together; one that tests no clip is left out."""
    corpora = np.array(table["corpus"])
    names = sorted(set(corpora.tolist()))
    if protocol == "loao" and len(names) > 1:
        raise SplitError(
            f"protocol 'loao' leaves one speaker of one corpus out, and the table has {' and '.join(names)}: take "
            "'actor' or 'random'"
        )
    masks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for name in names:
        mine = corpora == name
        definition = definition_of(table.select(np.flatnonzero(mine)), protocol)
        values = np.array(table[definition["column"]])
        unknown = set(values[mine]) - {value for fold in definition["folds"] for value in fold["test"]}
        if unknown:
            raise SplitError(f"the folds have no {definition['column']} {', '.join(sorted(unknown)[:5])}")
        for fold in definition["folds"]:
            test, validation = masks.setdefault(fold["index"], (np.zeros(len(table), bool), np.zeros(len(table), bool)))
            test |= mine & np.isin(values, fold["test"])
            validation |= mine & np.isin(values, fold["validation"])
    return [_fold(index, test, validation) for index, (test, validation) in masks.items() if test.any()]


def _fold(index: int, test: np.ndarray, validation: np.ndarray) -> Fold:
    """A fold from boolean masks of rows; the rest trains."""
    return Fold(index, *(np.flatnonzero(rows) for rows in (~test & ~validation, validation, test)))


def _check_speakers(table: Dataset, protocol: str) -> None:
    present = set(table["speaker"])
    missing = [actor for actor in ACTORS if actor not in present]
    if missing:
        raise SplitError(f"protocol {protocol!r} needs all 24 actors of RAVDESS; missing: {', '.join(missing)}")
    unknown = sorted(present - set(ACTORS))
    if unknown:
        raise SplitError(f"protocol {protocol!r} divides RAVDESS; it has no speaker {', '.join(unknown[:5])}")


def _own_folds(table: Dataset, protocol: str) -> list[Fold]:
    """The folds in the table's own columns; a fold that tests no clip of this table is left out."""
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
        made.append(_fold(int(index), test, validation))
    if PROTOCOLS[protocol].speaker_independent:
        _check_disjoint(table, protocol, made)
    return made


def _check_disjoint(table: Dataset, protocol: str, folds: list[Fold]) -> None:
    speakers = speakers_of(table)
    for fold in folds:
        parts = {name: set(speakers[getattr(fold, name)]) for name in ("train", "validation", "test")}
        for one, other in itertools.combinations(parts, 2):
            shared = sorted(parts[one] & parts[other])
            if shared:
                raise SplitError(
                    f"fold {fold.index} of protocol {protocol!r} has speaker {shared[0]} in {one} and in {other}; only "
                    "a speaker-dependent protocol may have that"
                )
