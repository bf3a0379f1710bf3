import itertools
import json
from collections import Counter

import numpy as np
import pytest

from ser_hf.corpora import load_corpus
from ser_hf.labels import LABELS
from ser_hf.splits import ACTORS, PROTOCOLS, SplitError, draw_random_definition, make_folds, read_definition

TEST_ACTORS = {  # Luna-Jimenez et al. 2022, and EmoBox
    "actor": {
        0: [2, 5, 14, 15, 16],
        1: [3, 6, 7, 13, 18],
        2: [10, 11, 12, 19, 20],
        3: [8, 17, 21, 23, 24],
        4: [1, 4, 9, 22],
    },
    "emobox": {
        1: [1, 11, 20, 21],
        2: [4, 10, 12, 14],
        3: [8, 9, 19, 23],
        4: [3, 5, 7, 24],
        5: [2, 15, 16, 18],
        6: [6, 13, 17, 22],
    },
    "loao": {actor: [actor] for actor in range(1, 25)},
}
VALIDATION_ACTORS = {0: [3, 6], 1: [10, 11], 2: [8, 17], 3: [1, 14], 4: [2, 5]}
TESTING = [protocol for protocol in PROTOCOLS if protocol != "full"]


@pytest.fixture(scope="module")
def table(corpus_dir):
    with pytest.warns(UserWarning, match="fewer than 60 clips"):
        return load_corpus("ravdess", data_dir=corpus_dir, download=False)


def speakers(table, rows) -> set[int]:
    return {int(speaker) for speaker in table.select(rows)["speaker"]}


class TestEveryProtocol:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_parts_are_disjoint_and_use_every_row(self, table, protocol):
        for fold in make_folds(table, protocol):
            rows = np.concatenate([fold.train, fold.validation, fold.test])
            assert sorted(rows) == list(range(len(table)))
            for part in (fold.train, fold.validation, fold.test):
                assert part.dtype.kind == "i"
                assert (np.diff(part) > 0).all()

    @pytest.mark.parametrize("protocol", TESTING)
    def test_every_clip_is_tested_once(self, table, protocol):
        tested = np.concatenate([fold.test for fold in make_folds(table, protocol)])
        assert sorted(tested) == list(range(len(table)))

    @pytest.mark.parametrize("protocol", TESTING)
    def test_every_fold_validates_on_something(self, table, protocol):
        assert all(len(fold.validation) for fold in make_folds(table, protocol))

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_the_same_folds_every_time(self, table, protocol):
        for one, two in zip(make_folds(table, protocol), make_folds(table, protocol), strict=True):
            assert all(
                np.array_equal(getattr(one, part), getattr(two, part)) for part in ("train", "validation", "test")
            )

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_the_order_of_rows_does_not_matter(self, table, protocol):
        backwards = table.select(range(len(table) - 1, -1, -1))
        for one, two in zip(make_folds(table, protocol), make_folds(backwards, protocol), strict=True):
            for part in ("train", "validation", "test"):
                clips = [set(t.select(getattr(fold, part))["clip"]) for t, fold in ((table, one), (backwards, two))]
                assert clips[0] == clips[1]


class TestActorProtocols:
    @pytest.mark.parametrize("protocol", TEST_ACTORS)
    def test_test_actors_are_those_of_the_paper(self, table, protocol):
        folds = {fold.index: sorted(speakers(table, fold.test)) for fold in make_folds(table, protocol)}
        assert folds == TEST_ACTORS[protocol]

    @pytest.mark.parametrize("protocol", TEST_ACTORS)
    def test_no_voice_is_in_two_parts(self, table, protocol):
        for fold in make_folds(table, protocol):
            parts = [speakers(table, rows) for rows in (fold.train, fold.validation, fold.test)]
            assert not any(one & two for one, two in itertools.combinations(parts, 2))

    @pytest.mark.parametrize("protocol", TEST_ACTORS)
    def test_a_man_and_a_woman_validate(self, table, protocol):
        for fold in make_folds(table, protocol):
            genders = table.select(fold.validation)["gender"]
            assert Counter(genders) == {"male": 8, "female": 8}

    def test_validation_actors_of_the_headline_protocol(self, table):
        folds = {fold.index: sorted(speakers(table, fold.validation)) for fold in make_folds(table, "actor")}
        assert folds == VALIDATION_ACTORS

    def test_leave_one_out_validates_on_the_next_man_and_woman(self, table):
        validation = {fold.index: sorted(speakers(table, fold.validation)) for fold in make_folds(table, "loao")}
        assert validation[1] == [2, 3]
        assert validation[22] == [23, 24]
        assert validation[23] == [1, 24]
        assert validation[24] == [1, 2]


class TestFull:
    def test_one_fold_that_trains_on_everything(self, table):
        (fold,) = make_folds(table, "full")
        assert fold.index == 0
        assert len(fold.train) == len(table)
        assert len(fold.validation) == len(fold.test) == 0

    def test_needs_no_particular_actor(self, table):
        assert len(make_folds(table.select(range(8)), "full")[0].train) == 8


class TestChoice:
    def test_some_folds_in_the_order_asked(self, table):
        assert [fold.index for fold in make_folds(table, "actor", folds=[3, 0])] == [3, 0]
        assert [fold.index for fold in make_folds(table, "actor", folds=iter([3, 0]))] == [3, 0]

    @pytest.mark.parametrize(("protocol", "fold"), [("actor", 5), ("emobox", 0), ("loao", 25), ("full", 1)])
    def test_unknown_fold(self, table, protocol, fold):
        with pytest.raises(SplitError, match=f"protocol '{protocol}' has no fold {fold}; it has "):
            make_folds(table, protocol, folds=[fold])

    def test_unknown_protocol(self, table):
        with pytest.raises(
            SplitError, match="there is no protocol 'actors'; there are: actor, random, emobox, loao, full"
        ):
            make_folds(table, "actors")


class TestBadTables:
    @pytest.mark.parametrize("protocol", TESTING)
    def test_missing_actors_are_named(self, table, protocol):
        some = table.select([row for row, speaker in enumerate(table["speaker"]) if speaker not in ("05", "17")])
        with pytest.raises(SplitError, match="needs all 24 actors of RAVDESS; missing: 05, 17"):
            make_folds(some, protocol)

    @pytest.mark.parametrize("protocol", TESTING)
    def test_unknown_speakers_are_named(self, table, protocol):
        other = table.map(lambda row, index: {"speaker": "25" if index == 0 else row["speaker"]}, with_indices=True)
        with pytest.raises(SplitError, match="no speaker 25"):
            make_folds(other, protocol)

    def test_unknown_clips_are_named(self, table):
        other = table.map(lambda row, index: {"clip": "x" if index == 0 else row["clip"]}, with_indices=True)
        with pytest.raises(SplitError, match="the folds have no clip x"):
            make_folds(other, "random")
        assert len(make_folds(other, "actor")) == 5  # which does not look at clips


class TestStoredRandomFolds:
    def test_they_know_every_clip_of_ravdess_once(self):
        definition = read_definition("random")
        tested = [clip for fold in definition["folds"] for clip in fold["test"]]
        assert len(tested) == len(set(tested)) == 1440
        assert {clip[-2:] for clip in tested} == set(ACTORS)
        for fold in definition["folds"]:
            assert not set(fold["test"]) & set(fold["validation"])

    def test_they_are_stratified(self):
        for fold in read_definition("random")["folds"]:
            counts = Counter(int(clip.split("-")[2]) - 1 for clip in fold["test"])
            assert all(
                abs(counts[label] - (96 if name == "neutral" else 192) / 5) <= 1 for label, name in enumerate(LABELS)
            )

    def test_they_are_what_the_function_draws(self, real_data):
        table = load_corpus("ravdess", data_dir=real_data, download=False)
        assert json.loads(json.dumps(draw_random_definition(table))) == read_definition("random")


class TestRealCorpus:
    @pytest.mark.parametrize(
        ("protocol", "sizes"),
        [
            ("actor", [(1020, 120, 300)] * 4 + [(1080, 120, 240)]),
            ("emobox", [(1080, 120, 240)] * 6),
            ("random", [(1036, 116, 288)] * 5),
            ("loao", [(1260, 120, 60)] * 24),
            ("full", [(1440, 0, 0)]),
        ],
    )
    def test_counts(self, real_data, protocol, sizes):
        folds = make_folds(load_corpus("ravdess", data_dir=real_data, download=False), protocol)
        assert [(len(fold.train), len(fold.validation), len(fold.test)) for fold in folds] == sizes
