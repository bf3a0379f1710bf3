"""The definitions of protocols: those of RAVDESS in the JSON files beside this module, others by a fixed rule.

A definition names its source, the column of the clip table that it divides by ("speaker" or "clip"), and per fold the
values that are tested and those that validate; the rest trains. Each corpus is divided by itself, so that a clip is
tested in the same fold whatever its corpus is pooled with.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ser_hf.protocols import SplitError

N_FOLDS = 5
ACTORS = {f"{number:02d}": "male" if number % 2 else "female" for number in range(1, 25)}  # of RAVDESS -> gender


def definition_of(table: Dataset, protocol: str) -> dict[str, Any]:
    """A protocol as data, for the clips of one corpus: as published for RAVDESS, by rule for others.

    Raises:
        SplitError: not all or not only the actors of RAVDESS; "emobox", whose folds are RAVDESS's, for another corpus;
            too few clips for "random".
    """
    if protocol == "group":
        return divide_speakers(table)
    if set(table["corpus"][:]) == {"ravdess"}:
        speakers = set(table["speaker"][:])
        missing, unknown = sorted(set(ACTORS) - speakers), sorted(speakers - set(ACTORS))
        if missing:
            raise SplitError(f"protocol {protocol!r} needs all 24 actors of RAVDESS; missing: {', '.join(missing)}")
        if unknown:
            raise SplitError(f"protocol {protocol!r} divides RAVDESS; it has no speaker {', '.join(unknown[:5])}")
        return read_definition(protocol)
    if protocol == "actor":
        return deal_speakers(table)
    if protocol == "loao":
        return leave_one_out(dict(zip(table["speaker"][:], table["gender"][:], strict=True)))
    if protocol == "random":
        return draw_random_definition(table.select(np.argsort(table["clip"][:])))
    raise SplitError(
        f"protocol {protocol!r} divides RAVDESS and has no folds for {table['corpus'][0]}: take 'actor' or 'random', "
        "or a table with folds of its own"
    )


def read_definition(protocol: str) -> dict[str, Any]:
    """A protocol for RAVDESS as data: {"source", "column", "folds": [{"index", "test", "validation"}, ...]}."""
    if protocol == "loao":
        return leave_one_out(ACTORS)
    return json.loads((Path(__file__).parent / f"{protocol}.json").read_text(encoding="utf-8"))


def deal_speakers(table: Dataset) -> dict[str, Any]:
    """The definition of "actor": each speaker is tested in one of five folds, of about as many clips of each gender.

    The speakers, those of most clips first (of two with as many, the first by name), go one after the other to the fold
    that has the fewest clips of their gender, then the fewest in all, then the lowest number. Those who validate are a
    man and a woman, the first by name, of the next fold that tests anybody; one of them where a fold leaves five
    speakers or fewer, none where it leaves two. With fewer than five speakers, some folds test nobody of the corpus:
    there all of it trains.
    """
    speakers = table["speaker"][:]
    genders, clips = dict(zip(speakers, table["gender"][:], strict=True)), Counter(speakers)
    tested: list[list[str]] = [[] for _ in range(N_FOLDS)]
    load: list[Counter[str]] = [Counter() for _ in range(N_FOLDS)]
    for speaker in sorted(genders, key=lambda speaker: (-clips[speaker], speaker)):
        gender = genders[speaker]
        fold = min(range(N_FOLDS), key=lambda fold: (load[fold][gender], load[fold].total(), fold))
        tested[fold].append(speaker)
        load[fold][gender] += clips[speaker]
    folds = []
    testing = [fold for fold in range(N_FOLDS) if tested[fold]]
    for index, test in enumerate(tested):
        following = tested[testing[(testing.index(index) + 1) % len(testing)]] if test else []
        candidates = sorted(set(following) - set(test))
        validation = _of_each_gender(candidates, genders, len(genders) - len(test))
        folds.append({"index": index, "test": sorted(test), "validation": validation})
    source = (
        "speakers dealt to five folds by gender and number of clips; validation: a man and a woman of the next fold"
    )
    return {"source": source, "column": "speaker", "folds": folds}


def divide_speakers(table: Dataset) -> dict[str, Any]:
    """The definition of "group": scikit-learn's StratifiedGroupKFold, five folds or, with fewer speakers, one for each.

    Those whom the next fold tests validate, where four folds or more leave enough speakers to train on.

    Raises:
        SplitError: the speakers of clips are not known, or there is only one.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    speakers, labels = np.array(table["speaker"][:], dtype=object), np.array(table["emotion"][:])
    corpus, names = table["corpus"][0], sorted({str(speaker) for speaker in speakers})
    if None in speakers:
        raise SplitError(f"{corpus}: protocol 'group' needs the speaker of every clip; give them, or take 'random'")
    if len(names) < 2:
        raise SplitError(f"{corpus}: all clips are of speaker {names[0]}; protocol 'group' needs two, or take 'random'")
    splitter = StratifiedGroupKFold(min(N_FOLDS, len(names)), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a label that fewer speakers than folds have
        tested = [sorted(set(speakers[test])) for _, test in splitter.split(labels, labels, speakers)]
    following = [*tested[1:], *tested[:1]] if len(tested) > 3 else [[]] * len(tested)
    folds = [
        {"index": index, "test": test, "validation": validation}
        for index, (test, validation) in enumerate(zip(tested, following, strict=True))
    ]
    return {"source": "scikit-learn's StratifiedGroupKFold over speakers", "column": "speaker", "folds": folds}


def leave_one_out(genders: dict[str, str]) -> dict[str, Any]:
    """The definition of "loao", from speaker -> gender: the next man and the next woman by name, cyclically, validate.

    Folds are numbered from 1 in the order of names.
    """
    speakers = sorted(genders)
    folds = []
    for index, speaker in enumerate(speakers, start=1):
        following = speakers[index:] + speakers[: index - 1]
        validation = _of_each_gender(following, genders, len(following))
        folds.append({"index": index, "test": [speaker], "validation": validation})
    source = "leave one actor out; validation actors: the next man and the next woman, cyclically"
    return {"source": source, "column": "speaker", "folds": folds}


def draw_random_definition(table: Dataset) -> dict[str, Any]:
    """The definition of "random" for the clips of one corpus, in their order.

    scikit-learn's StratifiedKFold(5, shuffle=True, random_state=0) over the emotions; in each fold a stratified tenth
    of the training clips validates (train_test_split(test_size=0.1, random_state=fold)). random.json is what this gave
    for all 1440 clips of RAVDESS.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    clips, emotions = np.array(table["clip"][:]), np.array(table["emotion"][:])
    folds = []
    splitter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    try:
        for index, (rest, test) in enumerate(splitter.split(clips, emotions)):
            _, validation = train_test_split(rest, test_size=0.1, stratify=emotions[rest], random_state=index)
            folds.append({"index": index, "test": sorted(clips[test]), "validation": sorted(clips[validation])})
    except ValueError as error:
        corpus = table["corpus"][0]
        raise SplitError(f"{corpus} has too few clips of an emotion for protocol 'random': {error}") from None
    source = (
        "scikit-learn's StratifiedKFold(5, shuffle=True, random_state=0) over emotions; validation: a stratified tenth "
        "of the rest, train_test_split(test_size=0.1, random_state=fold)"
    )
    return {"source": source, "column": "clip", "folds": folds}


def _of_each_gender(speakers: list[str], genders: dict[str, str], n_others: int) -> list[str]:
    """The first speaker of each gender, but no more than a third of the speakers that the fold does not test."""
    first: dict[str, str] = {}
    for speaker in speakers:
        first.setdefault(genders[speaker], speaker)
    return sorted(list(first.values())[: min(2, n_others // 3)])
