"""Protocols: which clips train a model, which choose among models, which test it.

The folds are data, in the JSON files beside this module: each names its source, the column of the clip table that it
divides by ("speaker" or "clip"), and per fold the values that are tested and those that validate; the rest trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

PROTOCOLS = ("actor", "random", "emobox", "loao", "full")
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
    """Apply a protocol to a clip table of RAVDESS.

    Args:
        protocol: "actor" (Luna-Jimenez et al. 2022, folds 0 to 4), "emobox" (arXiv 2406.07162, folds 1 to 6), "random"
            (stratified over clips, speaker-dependent, folds 0 to 4), "loao" (leave one actor out, fold = actor), or
            "full" (one fold 0: all rows train, none validates or tests).
        folds: only these folds, in this order.

    Returns:
        Folds whose test rows, over all folds of the protocol, are the whole table (but for "full"). Except for
        "random", no speaker is in two of the parts of one fold.

    Raises:
        SplitError: an unknown protocol or fold, a missing actor, a speaker or clip that the protocol does not know.
    """
    if protocol not in PROTOCOLS:
        raise SplitError(f"there is no protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}")
    if protocol == "full":
        nothing = np.zeros(0, dtype=int)
        made = [Fold(0, np.arange(len(table)), nothing, nothing)]
    else:
        definition = leave_one_actor_out() if protocol == "loao" else read_definition(protocol)
        _check_speakers(table, protocol)
        made = _apply(table, definition)
    if folds is None:
        return made
    by_index = {fold.index: fold for fold in made}
    chosen = list(folds)
    unknown = [index for index in chosen if index not in by_index]
    if unknown:
        raise SplitError(f"protocol {protocol!r} has no fold {unknown[0]}; it has {', '.join(map(str, by_index))}")
    return [by_index[index] for index in chosen]


def read_definition(protocol: str) -> dict[str, Any]:
    """The JSON of a protocol: {"source", "column", "folds": [{"index", "test", "validation"}, ...]}."""
    return json.loads((Path(__file__).parent / f"{protocol}.json").read_text(encoding="utf-8"))


def leave_one_actor_out() -> dict[str, Any]:
    """The definition of "loao": the next man and the next woman, cyclically, validate."""
    folds = []
    for number, actor in enumerate(ACTORS, start=1):
        following = ACTORS[number:] + ACTORS[:number]
        others = [other for other in following if other != actor]
        man = next(other for other in others if int(other) % 2 == 1)
        woman = next(other for other in others if int(other) % 2 == 0)
        folds.append({"index": number, "test": [actor], "validation": sorted([man, woman])})
    return {"source": "leave one actor out", "column": "speaker", "folds": folds}


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
    source = "StratifiedKFold(5, shuffle=True, random_state=0) over emotions; see draw_random_definition"
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
