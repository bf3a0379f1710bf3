"""Protocol "loco", and corpora that train in every fold of another protocol."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from datasets import concatenate_datasets

from ser_hf.labels import LABELS
from ser_hf.splits import SplitError, make_folds
from tests.splits.tables import corpus_table, cremad, emodb, ravdess, savee, tess
from train.common import DataArguments, make_data_folds


def pool(*tables):
    return concatenate_datasets(tables)


def corpora(table, rows) -> list[str]:
    return list(dict.fromkeys(table.select(rows)["corpus"]))


@pytest.mark.filterwarnings("ignore:.*are not tested")
def test_loco_tests_each_corpus_whole():
    table = pool(tess(), ravdess(), emodb())
    folds = make_folds(table, "loco")
    assert [(fold.index, fold.name) for fold in folds] == [(0, "tess"), (1, "ravdess"), (2, "emodb")]
    for fold in folds:
        assert corpora(table, fold.test) == [fold.name]
        assert fold.train.tolist() == [row for row, name in enumerate(table["corpus"]) if name != fold.name]
        assert len(fold.validation) == 0
        assert all((np.diff(part) > 0).all() for part in (fold.train, fold.test))
    assert [len(folds[0].test), len(folds[2].test)] == [len(tess()), len(emodb())]


def test_loco_never_trains_on_test_corpora():
    table = pool(savee(), tess(), emodb())
    folds = make_folds(table, "loco", test_corpora=["savee"])
    assert [fold.name for fold in folds] == ["savee", "tess", "emodb"]
    assert [corpora(table, fold.train) for fold in folds] == [["tess", "emodb"], ["emodb"], ["tess"]]


def test_loco_folds_are_chosen_by_name_or_number():
    table = pool(savee(), tess(), emodb())
    assert [fold.index for fold in make_folds(table, "loco", ["emodb", 0])] == [2, 0]
    with pytest.raises(SplitError, match=r"ravdess; .*0 \(savee\), 1 \(tess\), 2 \(emodb\)"):
        make_folds(table, "loco", ["ravdess"])


def test_loco_leaves_out_labels_that_nothing_trains():
    table = pool(ravdess(), emodb(), tess())
    with pytest.warns(UserWarning, match="^48 clips of ravdess .* calm, surprised$"):
        fold = make_folds(table, "loco", ["ravdess"])[0]
    assert {LABELS[label] for label in table.select(fold.test)["emotion"]} == set(LABELS) - {"calm", "surprised"}


@pytest.mark.parametrize(
    ("tables", "test", "words"),
    [([emodb], [], "two or"), ([emodb, savee], ["savee"], "two or"), ([emodb, tess], ["savee"], "of savee")],
)
def test_loco_needs_two_training_corpora(tables, test, words):
    with pytest.raises(SplitError, match=words):
        make_folds(pool(*(make() for make in tables)), "loco", test_corpora=test)


def test_train_corpora_keep_speakers_apart():
    same_names = corpus_table("other", {f"{actor:02d}": ("male", 6) for actor in range(1, 25)})
    table = pool(same_names, ravdess(), cremad(10))  # "other" has speakers 01 to 24, too
    speakers = np.array([f"{c}/{s}" for c, s in zip(table["corpus"], table["speaker"], strict=True)])
    folds = make_data_folds(table, DataArguments(train_corpora=["other", "cremad"]))
    for fold in folds:
        parts = [set(speakers[part]) for part in (fold.train, fold.validation, fold.test)]
        assert not any(one & two for one, two in itertools.combinations(parts, 2))
        assert corpora(table, [*fold.validation, *fold.test]) == ["ravdess"]
        assert set(fold.train) >= set(np.flatnonzero(np.array(table["corpus"]) != "ravdess"))
    assert len({speaker for fold in folds for speaker in speakers[fold.test]}) == 24
