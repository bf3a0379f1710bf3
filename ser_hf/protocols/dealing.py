"""Folds of corpora that no publication divides: their speakers are dealt to folds by a fixed rule.

Each corpus is dealt by itself, so that a clip is tested in the same fold whatever its corpus is pooled with. Everything
here gives a definition as the JSON files beside this module hold it, from the clips of one corpus.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from datasets import Dataset

from ser_hf.protocols.fold import SplitError

N_FOLDS = 5


def define(table: Dataset, protocol: str) -> dict[str, Any]:
    """The definition of a protocol for the clips of one corpus other than RAVDESS.

    Raises:
        SplitError: "emobox", whose folds are RAVDESS's; too few clips for "random".
    """
    if protocol == "actor":
        return deal_speakers(table)
    if protocol == "loao":
        return leave_one_out(_genders(table))
    if protocol == "random":
        return draw_random_definition(table.select(np.argsort(table["clip"][:])))
    raise SplitError(
        f"protocol {protocol!r} divides RAVDESS and has no folds for {table['corpus'][0]}: take 'actor' or 'random', "
        "or a table with folds of its own"
    )


def deal_speakers(table: Dataset) -> dict[str, Any]:
    """The definition of "actor": each speaker is tested in one of five folds, of about as many clips of each gender.

    The speakers, those of most clips first (of two with as many, the first by name), go one after the other to the fold
    that has the fewest clips of their gender, then the fewest in all, then the lowest number. Those who validate are a
    man and a woman, the first by name, of the next fold that tests anybody; one of them where a fold leaves five
    speakers or fewer, none where it leaves two. With fewer than five speakers, some folds test nobody of the corpus:
    there all of it trains.
    """
    genders, clips = _genders(table), Counter(table["speaker"])
    tested: list[list[str]] = [[] for _ in range(N_FOLDS)]
    load: list[Counter[str]] = [Counter() for _ in range(N_FOLDS)]
    for speaker in sorted(genders, key=lambda speaker: (-clips[speaker], speaker)):
        gender = genders[speaker]
        fold = min(range(N_FOLDS), key=lambda fold: (load[fold][gender], load[fold].total(), fold))
        tested[fold].append(speaker)
        load[fold][gender] += clips[speaker]
    folds = []
    testing = [index for index in range(N_FOLDS) if tested[index]]
    for index in range(N_FOLDS):
        following = tested[testing[(testing.index(index) + 1) % len(testing)]] if index in testing else []
        candidates = [speaker for speaker in sorted(following) if speaker not in tested[index]]
        validation = _of_each_gender(candidates, genders, len(genders) - len(tested[index]))
        folds.append({"index": index, "test": sorted(tested[index]), "validation": validation})
    source = (
        "speakers dealt to five folds by gender and number of clips; validation: a man and a woman of the next fold"
    )
    return {"source": source, "column": "speaker", "folds": folds}


def leave_one_out(genders: dict[str, str]) -> dict[str, Any]:
    """The definition of "loao", from speaker -> gender: the next man and the next woman by name, cyclically, validate.

    Folds are numbered from 1 in the order of names.
    """
    speakers = sorted(genders)
    folds = []
    for position, speaker in enumerate(speakers):
        following = speakers[position + 1 :] + speakers[:position]
        validation = _of_each_gender(following, genders, len(following))
        folds.append({"index": position + 1, "test": [speaker], "validation": validation})
    source = "leave one actor out; validation actors: the next man and the next woman, cyclically"
    return {"source": source, "column": "speaker", "folds": folds}


def draw_random_definition(table: Dataset) -> dict[str, Any]:
    """The definition of "random" for the clips of one corpus, in their order.

    scikit-learn's StratifiedKFold(5, shuffle=True, random_state=0) over the emotions; in each fold a stratified tenth
    of the training clips validates (train_test_split(test_size=0.1, random_state=fold)). random.json is what this gave
    for all 1440 clips of RAVDESS.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    clips, emotions = np.array(table["clip"]), np.array(table["emotion"])
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


def _genders(table: Dataset) -> dict[str, str]:
    return dict(zip(table["speaker"], table["gender"], strict=True))


def _of_each_gender(speakers: list[str], genders: dict[str, str], n_others: int) -> list[str]:
    """The first speaker of each gender, but no more than a third of the speakers that the fold does not test."""
    first: dict[str, str] = {}
    for speaker in speakers:
        first.setdefault(genders[speaker], speaker)
    return sorted(list(first.values())[: min(2, n_others // 3)])
