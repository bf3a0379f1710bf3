"""Protocol "cross": what trains, who validates, what is tested."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from datasets import concatenate_datasets

from ser_hf.labels import LABELS
from ser_hf.splits import SplitError, make_folds
from tests.splits.tables import corpus_table, cremad, emodb, ravdess, savee, tess


def cross(*tables, test):
    pooled = concatenate_datasets(tables)
    (fold,) = make_folds(pooled, "cross", test_corpora=test)
    return pooled, fold


def voices(table, rows) -> list[str]:
    part = table.select(rows)
    return sorted({f"{c}/{s}" for c, s in zip(part["corpus"], part["speaker"], strict=True)})


def test_trains_on_one_and_tests_on_the_other():
    table, fold = cross(ravdess(), emodb(), test=["emodb"])
    assert fold.index == 0
    assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(len(table)))
    assert set(table.select(fold.test)["corpus"]) == {"emodb"}
    assert set(table.select(np.concatenate([fold.train, fold.validation]))["corpus"]) == {"ravdess"}
    assert voices(table, fold.validation) == ["ravdess/23", "ravdess/24"]
    assert len(voices(table, fold.train)) == 22
    assert all((np.diff(part) > 0).all() for part in (fold.train, fold.validation, fold.test))


@pytest.mark.parametrize(
    ("tables", "validating"),
    [
        ([ravdess, tess], ["ravdess/23", "ravdess/24"]),  # the largest corpus, so that TESS keeps both women
        ([tess, ravdess, savee], ["ravdess/23", "ravdess/24"]),
        ([tess, savee], ["savee/KL", "tess/YAF"]),
        ([savee], ["savee/JK", "savee/KL"]),  # men alone
    ],
)
def test_a_man_and_a_woman_of_the_training_corpora_validate(tables, validating):
    table, fold = cross(*(make() for make in tables), emodb(), test=["emodb"])
    assert voices(table, fold.validation) == validating


def test_the_order_of_rows_does_not_matter():
    table = concatenate_datasets([tess(), savee(), emodb(), cremad(10)])
    backwards = table.select(range(len(table) - 1, -1, -1))
    folds = [make_folds(one, "cross", test_corpora=["emodb"])[0] for one in (table, backwards)]
    assert voices(table, folds[0].validation) == voices(backwards, folds[1].validation)
    assert len(folds[0].test) == len(folds[1].test)


def test_several_corpora_may_be_tested():
    table, fold = cross(ravdess(), emodb(), savee(), test=["savee", "emodb"])
    assert set(table.select(fold.test)["corpus"]) == {"savee", "emodb"}


@pytest.mark.filterwarnings("ignore:.*are not tested")
def test_same_names_in_two_corpora_are_two_voices():
    table, fold = cross(ravdess(), emodb(), test=["ravdess"])  # both have speakers 03, 08, ...
    assert len(voices(table, fold.train)) == 8


def test_labels_that_nothing_trains_are_not_tested_but_counted():
    words = "48 clips of ravdess are not tested, because no training clip of emodb is labelled calm, surprised$"
    with pytest.warns(UserWarning, match=words):
        table, fold = cross(ravdess(), emodb(), test=["ravdess"])
    tested = {LABELS[label] for label in table.select(fold.test)["emotion"]}
    assert tested == set(LABELS) - {"calm", "surprised"}
    assert len(fold.test) == 24 * 6


def test_nothing_is_said_where_all_are_tested():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross(ravdess(), emodb(), test=["emodb"])


@pytest.mark.parametrize(
    ("tables", "test", "words"),
    [
        ([ravdess, emodb], [], "needs to know which corpora are tested"),
        ([ravdess, emodb], ["tess"], "the table has no clip of tess to test on; it has emodb, ravdess"),
        ([emodb], ["emodb"], "all clips are of emodb, which is tested; none is left to train on"),
        ([tess, emodb], ["emodb"], "needs three speakers to train on, because two of them validate; tess has 2"),
    ],
)
def test_what_cannot_be_done_is_told(tables, test, words):
    with pytest.raises(SplitError, match=words):
        cross(*(make() for make in tables), test=test)


def test_no_label_in_common():
    people = dict.fromkeys("abc", ("male", 2))
    one, two = corpus_table("one", people, ["sad"]), corpus_table("two", people, ["angry"])
    with pytest.raises(SplitError, match="no clip of two has a label that one has"):
        cross(one, two, test=["two"])


def test_there_is_only_fold_0():
    table = concatenate_datasets([ravdess(), emodb()])
    assert len(make_folds(table, "cross", [0], ["emodb"])) == 1
    with pytest.raises(SplitError, match="protocol 'cross' has no fold 1"):
        make_folds(table, "cross", [1], ["emodb"])


def test_cross_validates_on_speakers_of_known_gender():
    bursts = corpus_table("emogator", {f"{number:06d}": (None, 8) for number in range(40)})
    table, fold = cross(ravdess(), bursts, emodb(), test=["emodb"])
    assert voices(table, fold.validation) == ["ravdess/23", "ravdess/24"]
