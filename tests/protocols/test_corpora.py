"""Folds of several corpora: dealt speakers, whole corpora, and corpora that train in every fold."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter

import numpy as np
import pytest
from datasets import concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_hf.corpora import load_corpus
from ser_hf.labels import LABELS
from ser_hf.protocols.dealing import N_FOLDS, deal_speakers
from ser_hf.protocols.folds import SplitError, make_folds, speakers_of
from tests.protocols.tables import clips, corpus_table, cremad, emodb, is_partition, ravdess, savee, tess
from train.common import DataArguments, make_data_folds

POOLS = [[ravdess, tess, cremad, savee], [savee, emodb, ravdess, cremad, tess], [tess, savee], [emodb]]
PARTS = ("train", "validation", "test")


def pool(*makers):
    return concatenate_datasets([make() for make in makers])


def voices(table, rows) -> list[str]:
    return sorted(set(speakers_of(table.select(rows))))


def corpora(table, rows) -> list[str]:
    return list(dict.fromkeys(table.select(rows)["corpus"][:]))


def backwards(table):
    return table.select(range(len(table) - 1, -1, -1))


class TestDealt:
    @pytest.mark.parametrize("makers", POOLS)
    def test_actor_folds_keep_speakers_apart(self, makers):
        table = pool(*makers)
        folds, speakers = make_folds(table, "actor"), speakers_of(table)
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(table)))
        for fold in folds:
            assert is_partition(fold, len(table))
            parts = [set(speakers[getattr(fold, part)]) for part in PARTS]
            assert not any(one & two for one, two in itertools.combinations(parts, 2))
            assert set(corpora(table, fold.train)) == set(table["corpus"][:])

    @pytest.mark.parametrize("make", [ravdess, cremad, savee, emodb])
    @pytest.mark.parametrize("protocol", ["actor", "random"])
    def test_folds_do_not_depend_on_the_other_corpora(self, make, protocol):
        if (make, protocol) == (ravdess, "random"):
            return  # divides the official clips only
        alone, pooled = make(), pool(tess, make, *([] if protocol == "random" or make is ravdess else [ravdess]))
        mine = np.array(pooled["corpus"][:]) == alone[0]["corpus"]
        many = {fold.index: fold for fold in make_folds(pooled, protocol)}
        for fold in make_folds(alone, protocol):
            for part in PARTS:
                rows = getattr(many[fold.index], part)
                assert clips(pooled, rows[mine[rows]]) == clips(alone, getattr(fold, part))

    @pytest.mark.parametrize("protocol", ["actor", "random"])
    def test_folds_do_not_depend_on_the_order_of_rows(self, protocol):
        table = pool(emodb, savee)
        for one, two in zip(make_folds(table, protocol), make_folds(backwards(table), protocol), strict=True):
            for part in PARTS:
                assert clips(table, getattr(one, part)) == clips(backwards(table), getattr(two, part))

    @pytest.mark.parametrize("make", [emodb, cremad])
    def test_folds_are_balanced_and_validate_on_both_genders(self, make):
        table = make()
        folds, speakers = make_folds(table, "actor"), speakers_of(table)
        sizes = [len(fold.test) for fold in folds]
        assert max(sizes) - min(sizes) < 0.2 * len(table) / N_FOLDS
        for fold, following in zip(folds, folds[1:] + folds[:1], strict=True):
            assert set(table.select(fold.test)["gender"][:]) == {"male", "female"}
            validating = dict(zip(speakers[fold.validation], table.select(fold.validation)["gender"][:], strict=True))
            assert sorted(validating.values()) == ["female", "male"]
            assert set(validating) <= set(speakers[following.test])

    def test_small_corpora_keep_most_speakers_for_training(self):
        folds = deal_speakers(savee())["folds"]
        assert [fold["test"] for fold in folds] == [["DC"], ["JE"], ["JK"], ["KL"], []]
        assert [fold["validation"] for fold in folds] == [["JE"], ["JK"], ["KL"], ["DC"], []]
        assert all(fold["validation"] == [] for fold in deal_speakers(tess())["folds"])
        table = pool(emodb, savee, tess)
        trained = Counter(table.select(make_folds(table, "actor")[4].train)["corpus"][:])
        assert (trained["savee"], trained["tess"]) == (len(savee()), len(tess()))
        assert [fold.index for fold in make_folds(savee(), "actor")] == [0, 1, 2, 3]

    @settings(max_examples=15)
    @given(st.lists(st.tuples(st.sampled_from(["male", "female"]), st.integers(1, 40)), min_size=3, max_size=20))
    def test_any_speakers_are_dealt_evenly(self, people):
        table = corpus_table("x", {f"s{number:02d}": person for number, person in enumerate(people)})
        folds = deal_speakers(table)["folds"]
        assert sorted(speaker for fold in folds for speaker in fold["test"]) == sorted(set(table["speaker"][:]))
        clips_of = Counter(table["speaker"][:])
        for gender in ("male", "female"):
            loads = [sum(clips_of[s] for s in fold["test"] if people[int(s[1:])][0] == gender) for fold in folds]
            assert max(loads) - min(loads) <= max((n for g, n in people if g == gender), default=0)
        for fold in folds:
            assert len(fold["validation"]) <= min(2, (len(people) - len(fold["test"])) // 3)
            assert not set(fold["validation"]) & set(fold["test"])

    def test_random_folds_are_stratified_per_corpus(self):
        table = pool(tess, emodb, savee)
        folds = make_folds(table, "random")
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(table)))
        kinds = list(zip(table["corpus"][:], table["emotion"][:], strict=True))
        for kind, n in Counter(kinds).items():
            tested = [sum(kinds[row] == kind for row in fold.test) for fold in folds]
            assert all(abs(count - n / 5) <= 1 for count in tested), kind
        assert all(set(corpora(table, fold.validation)) == {"tess", "emodb", "savee"} for fold in folds)

    def test_loao_leaves_out_one_speaker_of_a_corpus(self):
        table = emodb()
        folds = make_folds(table, "loao")
        assert [fold.index for fold in folds] == list(range(1, 11))
        assert [voices(table, fold.test) for fold in folds] == [[name] for name in voices(table, range(len(table)))]
        assert voices(table, folds[0].validation) == ["emodb/08", "emodb/10"]
        assert voices(table, folds[9].validation) == ["emodb/03", "emodb/08"]

    @pytest.mark.parametrize(
        ("makers", "protocol", "words"),
        [
            ([savee, emodb], "loao", "one speaker of one corpus out, .* emodb and savee"),
            ([emodb], "emobox", "'emobox' divides RAVDESS and has no folds for emodb"),
            ([ravdess, emodb], "emobox", "'emobox' divides RAVDESS and has no folds for emodb"),
            ([lambda: corpus_table("x", {"a": ("male", 8)})], "random", "x has too few clips of an emotion"),
        ],
    )
    def test_protocols_that_do_not_apply_are_refused(self, makers, protocol, words):
        with pytest.raises(SplitError, match=words):
            make_folds(pool(*makers), protocol)

    @pytest.mark.filterwarnings("ignore:.*boredom were left out")
    def test_real_emodb_has_five_pairs_of_speakers(self, real_data):
        if not (real_data / "emodb").is_dir():
            pytest.skip(f"SER_HF_DATA={real_data} holds no emodb")
        table = load_corpus("emodb", real_data, download=False)
        tested = [sorted(set(table.select(fold.test)["speaker"][:])) for fold in make_folds(table, "actor")]
        assert tested == [["12", "14"], ["10", "16"], ["03", "13"], ["08", "15"], ["09", "11"]]


class TestCross:
    @pytest.mark.parametrize(
        ("makers", "validating"),
        [
            ([ravdess, tess], ["ravdess/23", "ravdess/24"]),  # the largest corpus, so that TESS keeps both women
            ([tess, ravdess, savee], ["ravdess/23", "ravdess/24"]),
            ([tess, savee], ["savee/KL", "tess/YAF"]),
            ([savee], ["savee/JK", "savee/KL"]),  # men alone
            (
                [ravdess, lambda: corpus_table("emogator", dict.fromkeys("abc", (None, 8)))],
                ["ravdess/23", "ravdess/24"],
            ),
        ],
    )
    @pytest.mark.filterwarnings("error")
    def test_cross_trains_on_some_and_tests_on_others(self, makers, validating):
        table = pool(*makers, emodb)
        (fold,) = make_folds(table, "cross", [0], ["emodb"])
        assert is_partition(fold, len(table))
        assert corpora(table, fold.test) == ["emodb"]
        assert voices(table, fold.validation) == validating
        (again,) = make_folds(backwards(table), "cross", test_corpora=["emodb"])
        assert voices(backwards(table), again.validation) == validating

    def test_cross_leaves_out_untrained_labels(self):
        table = pool(ravdess, emodb)  # both have speakers 03, 08, ...
        with pytest.warns(UserWarning, match="48 clips of ravdess .* calm, surprised$"):
            (fold,) = make_folds(table, "cross", test_corpora=["ravdess"])
        assert {LABELS[label] for label in table.select(fold.test)["emotion"][:]} == set(LABELS) - {"calm", "surprised"}
        assert (len(fold.test), len(voices(table, fold.train))) == (24 * 6, 8)

    @pytest.mark.parametrize(
        ("makers", "test", "words"),
        [
            ([ravdess, emodb], [], "which corpora are tested"),
            ([ravdess, emodb], ["tess"], "no clip of tess to test on; it has emodb, ravdess"),
            ([emodb], ["emodb"], "none is left to train on"),
            ([tess, emodb], ["emodb"], "three speakers to train on.* tess has 2"),
        ],
    )
    def test_cross_refuses_what_cannot_be_divided(self, makers, test, words):
        with pytest.raises(SplitError, match=words):
            make_folds(pool(*makers), "cross", test_corpora=test)

    def test_cross_needs_a_label_in_common(self):
        people = dict.fromkeys("abc", ("male", 2))
        table = concatenate_datasets([corpus_table("one", people, ["sad"]), corpus_table("two", people, ["angry"])])
        with pytest.raises(SplitError, match="no clip of two has a label that one has"):
            make_folds(table, "cross", test_corpora=["two"])


class TestLoco:
    @pytest.mark.filterwarnings("ignore:.*are not tested")
    def test_loco_tests_each_corpus_whole(self):
        table = pool(tess, ravdess, emodb)
        folds = make_folds(table, "loco")
        assert [(fold.index, fold.name) for fold in folds] == [(0, "tess"), (1, "ravdess"), (2, "emodb")]
        for fold in folds:
            assert corpora(table, fold.test) == [fold.name]
            assert fold.train.tolist() == [row for row, name in enumerate(table["corpus"][:]) if name != fold.name]
            assert len(fold.validation) == 0
        assert [len(folds[0].test), len(folds[2].test)] == [len(tess()), len(emodb())]

    def test_loco_never_trains_on_test_corpora(self):
        table = pool(savee, tess, emodb)
        folds = make_folds(table, "loco", test_corpora=["savee"])
        assert [fold.name for fold in folds] == ["savee", "tess", "emodb"]
        assert [corpora(table, fold.train) for fold in folds] == [["tess", "emodb"], ["emodb"], ["tess"]]

    def test_loco_folds_are_chosen_by_name_or_number(self):
        table = pool(savee, tess, emodb)
        assert [fold.index for fold in make_folds(table, "loco", ["emodb", 0])] == [2, 0]
        with pytest.raises(SplitError, match=r"ravdess; .*0 \(savee\), 1 \(tess\), 2 \(emodb\)"):
            make_folds(table, "loco", ["ravdess"])

    @pytest.mark.parametrize(
        ("makers", "test", "words"),
        [([emodb], [], "two or"), ([emodb, savee], ["savee"], "two or"), ([emodb, tess], ["savee"], "of savee")],
    )
    def test_loco_needs_two_training_corpora(self, makers, test, words):
        with pytest.raises(SplitError, match=words), warnings.catch_warnings():
            make_folds(pool(*makers), "loco", test_corpora=test)


def test_train_corpora_keep_speakers_apart():
    same_names = corpus_table("other", {f"{actor:02d}": ("male", 6) for actor in range(1, 25)})
    table = concatenate_datasets([same_names, ravdess(), cremad(10)])  # "other" has speakers 01 to 24, too
    speakers = speakers_of(table)
    folds = make_data_folds(table, DataArguments(train_corpora=["other", "cremad"]))
    for fold in folds:
        parts = [set(speakers[part]) for part in (fold.train, fold.validation, fold.test)]
        assert not any(one & two for one, two in itertools.combinations(parts, 2))
        assert corpora(table, [*fold.validation, *fold.test]) == ["ravdess"]
        assert set(fold.train) >= set(np.flatnonzero(np.array(table["corpus"][:]) != "ravdess"))
    assert len({speaker for fold in folds for speaker in speakers[fold.test]}) == 24
