"""Folds of pooled corpora: RAVDESS as published, the speakers of the others dealt."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from datasets import concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st

from ser_hf.corpora import load_corpus
from ser_hf.splits import SplitError, fold_columns, make_folds
from ser_hf.splits.dealing import N_FOLDS, deal_speakers
from tests.splits.tables import corpus_table, cremad, emodb, ravdess, savee, tess

POOLS = {
    "four": lambda: [ravdess(), tess(), cremad(), savee()],
    "five": lambda: [savee(), emodb(), ravdess(), cremad(), tess()],
    "without ravdess": lambda: [tess(), savee()],
    "one": lambda: [emodb()],
}


def identities(table) -> np.ndarray:
    return np.array([f"{c}/{s}" for c, s in zip(table["corpus"], table["speaker"], strict=True)])


def clips(table, rows) -> set[str]:
    part = table.select(rows)
    return {f"{c}/{n}" for c, n in zip(part["corpus"], part["clip"], strict=True)}


@pytest.fixture(scope="module", params=POOLS)
def pool(request):
    return concatenate_datasets(POOLS[request.param]())


class TestActor:
    def test_every_clip_is_tested_once_and_every_part_is_apart(self, pool):
        folds = make_folds(pool, "actor")
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(pool)))
        speakers = identities(pool)
        for fold in folds:
            rows = [fold.train, fold.validation, fold.test]
            assert sorted(np.concatenate(rows)) == list(range(len(pool)))
            assert all((np.diff(part) > 0).all() for part in rows)
            parts = [set(speakers[part]) for part in rows]
            assert not any(one & two for one, two in itertools.combinations(parts, 2))

    def test_each_fold_trains_on_every_corpus(self, pool):
        for fold in make_folds(pool, "actor"):
            assert set(pool.select(fold.train)["corpus"]) == set(pool["corpus"])

    def test_ravdess_keeps_its_official_folds(self):
        alone, pooled = ravdess(), concatenate_datasets(POOLS["five"]())
        of_ravdess = np.array(pooled["corpus"]) == "ravdess"
        for one, all_of_them in zip(make_folds(alone, "actor"), make_folds(pooled, "actor"), strict=True):
            for part in ("train", "validation", "test"):
                rows = getattr(all_of_them, part)
                assert clips(pooled, rows[of_ravdess[rows]]) == clips(alone, getattr(one, part))

    @pytest.mark.parametrize("make", [cremad, savee, emodb])
    @pytest.mark.parametrize("protocol", ["actor", "random"])
    def test_a_corpus_has_the_same_folds_whatever_it_is_pooled_with(self, make, protocol):
        alone, pooled = make(), concatenate_datasets([tess(), make(), ravdess(60)][:: 1 if protocol == "actor" else 2])
        if protocol == "random":  # which knows the official clips of RAVDESS alone
            pooled = concatenate_datasets([tess(), make()])
        name = alone[0]["corpus"]
        mine = np.array(pooled["corpus"]) == name
        many = {fold.index: fold for fold in make_folds(pooled, protocol)}
        for fold in make_folds(alone, protocol):
            for part in ("train", "validation", "test"):
                rows = getattr(many[fold.index], part)
                assert clips(pooled, rows[mine[rows]]) == clips(alone, getattr(fold, part))

    def test_the_order_of_rows_does_not_matter(self):
        table = concatenate_datasets([emodb(), savee()])
        backwards = table.select(range(len(table) - 1, -1, -1))
        for protocol in ("actor", "random"):
            for one, two in zip(make_folds(table, protocol), make_folds(backwards, protocol), strict=True):
                for part in ("train", "validation", "test"):
                    assert clips(table, getattr(one, part)) == clips(backwards, getattr(two, part))

    def test_folds_of_one_corpus_are_about_as_large_and_have_both_genders(self):
        for table in (emodb(), cremad()):
            folds = make_folds(table, "actor")
            sizes = [len(fold.test) for fold in folds]
            assert max(sizes) - min(sizes) < 0.2 * len(table) / N_FOLDS
            assert all(set(table.select(fold.test)["gender"]) == {"male", "female"} for fold in folds)

    def test_a_man_and_a_woman_of_the_next_fold_validate(self):
        table = emodb()
        speakers = identities(table)
        folds = make_folds(table, "actor")
        for fold, following in zip(folds, folds[1:] + folds[:1], strict=True):
            validating = dict(zip(speakers[fold.validation], table.select(fold.validation)["gender"], strict=True))
            assert sorted(validating.values()) == ["female", "male"]
            assert set(validating) <= set(speakers[following.test])

    def test_small_corpora_keep_most_speakers_for_training(self):
        of_savee = {fold["index"]: fold for fold in deal_speakers(savee())["folds"]}
        assert [fold["test"] for fold in of_savee.values()] == [["DC"], ["JE"], ["JK"], ["KL"], []]
        assert [fold["validation"] for fold in of_savee.values()] == [["JE"], ["JK"], ["KL"], ["DC"], []]
        assert all(fold["validation"] == [] for fold in deal_speakers(tess())["folds"])

    def test_a_corpus_trains_whole_where_it_tests_nobody(self):
        table = concatenate_datasets([emodb(), savee(), tess()])
        last = make_folds(table, "actor")[4]
        trained = Counter(table.select(last.train)["corpus"])
        assert (trained["savee"], trained["tess"]) == (len(savee()), len(tess()))

    def test_a_fold_that_tests_nobody_is_left_out(self):
        assert [fold.index for fold in make_folds(savee(), "actor")] == [0, 1, 2, 3]
        assert [fold.index for fold in make_folds(tess(), "actor")] == [0, 1]

    def test_columns_tell_the_same_folds(self):
        table = concatenate_datasets([ravdess(), tess(), savee()])
        own = table
        for name, values in fold_columns(table, "actor").items():
            own = own.add_column(name, values)
        for one, two in zip(make_folds(table, "actor"), make_folds(own, "actor"), strict=True):
            assert one.test.tolist() == two.test.tolist()
            assert one.validation.tolist() == two.validation.tolist()

    @given(st.lists(st.tuples(st.sampled_from(["male", "female"]), st.integers(1, 40)), min_size=3, max_size=20))
    def test_any_speakers_are_dealt_evenly(self, people):
        table = corpus_table("x", {f"s{number:02d}": person for number, person in enumerate(people)})
        folds = deal_speakers(table)["folds"]
        assert sorted(speaker for fold in folds for speaker in fold["test"]) == sorted(set(table["speaker"]))
        clips_of = Counter(table["speaker"])
        for gender in ("male", "female"):
            loads = [sum(clips_of[s] for s in fold["test"] if people[int(s[1:])][0] == gender) for fold in folds]
            assert max(loads) - min(loads) <= max((n for g, n in people if g == gender), default=0)
        for fold in folds:
            others = len(people) - len(fold["test"])
            assert len(fold["validation"]) <= min(2, others // 3)
            assert not set(fold["validation"]) & set(fold["test"])


class TestRandom:
    def test_it_is_stratified_within_each_corpus(self):
        table = concatenate_datasets([tess(), emodb(), savee()])
        folds = make_folds(table, "random")
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(table)))
        kinds = list(zip(table["corpus"], table["emotion"], strict=True))
        for kind, n in Counter(kinds).items():
            tested = [sum(kinds[row] == kind for row in fold.test) for fold in folds]
            assert all(abs(count - n / 5) <= 1 for count in tested), kind
        for fold in folds:
            assert set(table.select(fold.validation)["corpus"]) == {"tess", "emodb", "savee"}

    def test_too_few_clips_are_told(self):
        with pytest.raises(SplitError, match="x has too few clips of an emotion for protocol 'random'"):
            make_folds(corpus_table("x", {"a": ("male", 8)}), "random")


class TestOthers:
    def test_leave_one_speaker_of_one_corpus_out(self):
        table = emodb()
        folds = make_folds(table, "loao")
        assert [fold.index for fold in folds] == list(range(1, 11))
        speakers = np.array(table["speaker"])
        assert [sorted(set(speakers[fold.test])) for fold in folds] == [[name] for name in sorted(set(speakers))]
        assert sorted(set(speakers[folds[0].validation])) == ["08", "10"]
        assert sorted(set(speakers[folds[9].validation])) == ["03", "08"]

    def test_leaving_one_out_of_two_corpora_is_refused_with_what_to_take(self):
        with pytest.raises(SplitError, match=r"'loao' leaves one speaker of one corpus out, .* emodb and savee: take"):
            make_folds(concatenate_datasets([savee(), emodb()]), "loao")

    @pytest.mark.parametrize("tables", [[emodb], [ravdess, emodb]])
    def test_emobox_divides_ravdess_alone(self, tables):
        pooled = concatenate_datasets([make() for make in tables])
        with pytest.raises(SplitError, match="'emobox' divides RAVDESS and has no folds for emodb: take 'actor' or"):
            make_folds(pooled, "emobox")

    def test_full_trains_on_all(self):
        table = concatenate_datasets(POOLS["five"]())
        (fold,) = make_folds(table, "full")
        assert len(fold.train) == len(table)


@pytest.mark.filterwarnings("ignore:.*boredom were left out")
def test_the_real_emodb_in_five_folds(real_data):
    if not (real_data / "emodb").is_dir():
        pytest.skip(f"SER_HF_DATA={real_data} holds no emodb")
    table = load_corpus("emodb", real_data, download=False)
    folds = make_folds(table, "actor")
    assert [sorted(set(table.select(fold.test)["speaker"])) for fold in folds] == [
        ["12", "14"],
        ["10", "16"],
        ["03", "13"],
        ["08", "15"],
        ["09", "11"],
    ]
