"""Protocols on RAVDESS, and folds that a table brings itself."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ser_hf.corpora import load_corpus
from ser_hf.labels import LABELS
from ser_hf.protocols import PROTOCOLS, SplitError
from ser_hf.protocols import folds as splits
from ser_hf.protocols.dealing import ACTORS, draw_random_definition, read_definition
from ser_hf.protocols.folds import fold_columns, make_folds
from tests.protocols.tables import clips, is_partition

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
ALONE = [protocol for protocol in PROTOCOLS if protocol not in ("cross", "develop", "loco", "split")]
TESTING = [protocol for protocol in ALONE if protocol != "full"]


@pytest.fixture(scope="module")
def table(corpus_dir):
    with pytest.warns(UserWarning, match="of the official record"):
        return load_corpus("ravdess", data_dir=corpus_dir, download=False)


def speakers(table, rows) -> set[int]:
    return {int(speaker) for speaker in table.select(rows)["speaker"][:]}


class TestBuiltIn:
    @pytest.mark.parametrize("protocol", ALONE)
    def test_folds_partition_the_table_in_any_order(self, table, protocol):
        folds = make_folds(table, protocol)
        backwards = table.select(range(len(table) - 1, -1, -1))
        for one, two in zip(folds, make_folds(backwards, protocol), strict=True):
            assert is_partition(one, len(table))
            for part in ("train", "validation", "test"):
                assert clips(table, getattr(one, part)) == clips(backwards, getattr(two, part))
        if protocol != "full":
            assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(table)))
            assert all(len(fold.validation) for fold in folds)

    @pytest.mark.parametrize("protocol", TEST_ACTORS)
    def test_actors_are_those_of_the_papers(self, table, protocol):
        folds = make_folds(table, protocol)
        assert {fold.index: sorted(speakers(table, fold.test)) for fold in folds} == TEST_ACTORS[protocol]
        for fold in folds:
            parts = [speakers(table, rows) for rows in (fold.train, fold.validation, fold.test)]
            assert not any(one & two for one, two in itertools.combinations(parts, 2))
            assert Counter(table.select(fold.validation)["gender"][:]) == {"male": 8, "female": 8}

    @pytest.mark.parametrize(
        ("protocol", "expected"),
        [("actor", VALIDATION_ACTORS), ("loao", {1: [2, 3], 22: [23, 24], 23: [1, 24], 24: [1, 2]})],
    )
    def test_validation_actors(self, table, protocol, expected):
        folds = {fold.index: sorted(speakers(table, fold.validation)) for fold in make_folds(table, protocol)}
        assert {index: folds[index] for index in expected} == expected

    def test_develop_never_uses_test_actors(self, table):
        for fold, real in zip(make_folds(table, "develop"), make_folds(table, "actor"), strict=True):
            parts = [speakers(table, rows) for rows in (fold.train, fold.validation, fold.test, real.test)]
            assert not any(one & two for one, two in itertools.combinations(parts, 2))
            assert set.union(*parts) == set(range(1, 25))
            assert parts[1] == set(VALIDATION_ACTORS[fold.index])
            assert len(parts[2]) == 3
        assert np.array_equal(make_folds(table, "develop", [3])[0].test, make_folds(table, "develop")[3].test)

    def test_full_trains_on_everything(self, table):
        (fold,) = make_folds(table.select(range(8)), "full")
        assert [fold.index, len(fold.train), len(fold.validation), len(fold.test)] == [0, 8, 0, 0]

    def test_folds_are_chosen_in_the_given_order(self, table):
        assert [fold.index for fold in make_folds(table, "actor", folds=iter([3, 0]))] == [3, 0]

    @pytest.mark.parametrize(("protocol", "fold"), [("actor", 5), ("emobox", 0), ("loao", 25), ("full", 1)])
    def test_unknown_folds_are_refused(self, table, protocol, fold):
        with pytest.raises(SplitError, match=f"'{protocol}' has no fold {fold}; it has "):
            make_folds(table, protocol, folds=[fold])

    def test_unknown_protocols_are_refused(self, table):
        with pytest.raises(SplitError, match="did you mean 'actor'"):
            make_folds(table, "actors")

    @pytest.mark.parametrize("protocol", [protocol for protocol in TESTING if protocol != "group"])
    def test_missing_and_unknown_actors_are_named(self, table, protocol):
        some = table.select([row for row, speaker in enumerate(table["speaker"][:]) if speaker not in ("05", "17")])
        with pytest.raises(SplitError, match="missing: 05, 17"):
            make_folds(some, protocol)
        other = table.map(lambda row, index: {"speaker": "25" if index == 0 else row["speaker"]}, with_indices=True)
        with pytest.raises(SplitError, match="no speaker 25"):
            make_folds(other, protocol)

    def test_unknown_clips_are_named(self, table):
        other = table.map(lambda row, index: {"clip": "x" if index == 0 else row["clip"]}, with_indices=True)
        with pytest.raises(SplitError, match="no clip x"):
            make_folds(other, "random")
        assert len(make_folds(other, "actor")) == 5  # which does not look at clips


@st.composite
def own_folds(draw) -> Dataset:
    """A clip table with folds of its own: any speakers, each tested in one fold, validating in any others."""
    numbers = draw(st.lists(st.integers(0, 40), min_size=2, max_size=5, unique=True))
    drawn = [(test, draw(st.sets(st.sampled_from(numbers)))) for test in draw(st.permutations(numbers))]
    drawn += draw(st.lists(st.tuples(st.sampled_from(numbers), st.sets(st.sampled_from(numbers))), max_size=4))
    speakers = [(f"s{i}", test, sorted(validation - {test})) for i, (test, validation) in enumerate(drawn)]
    # Each fold must have somebody to train on.
    assume(all(any(test != n and n not in validation for _, test, validation in speakers) for n in numbers))
    rows = [speaker for speaker in speakers for _ in range(draw(st.integers(1, 3)))]
    return own_table(draw(st.permutations(rows)))


def own_table(rows: list[tuple[str, int | None, list[int]]], protocol: str = "actor") -> Dataset:
    """A clip table of (speaker, fold that tests, folds that validate), with those as its own folds of a protocol."""
    columns = {"clip": [f"c{i}" for i in range(len(rows))], "speaker": [row[0] for row in rows]}
    columns |= {"corpus": ["x"] * len(rows), f"{protocol}_test": [row[1] for row in rows]}
    return Dataset.from_dict(columns | {f"{protocol}_validation": [row[2] for row in rows]})


class TestOwnFolds:
    @settings(max_examples=15)
    @given(own_folds())
    def test_folds_are_those_of_the_columns(self, table):
        folds = make_folds(table, "actor")
        assert [fold.index for fold in folds] == sorted(set(table["actor_test"][:]))
        for fold in folds:
            assert is_partition(fold, len(table))
            assert fold.test.tolist() == [row for row, test in enumerate(table["actor_test"][:]) if test == fold.index]
            validating = [row for row, folds in enumerate(table["actor_validation"][:]) if fold.index in folds]
            assert fold.validation.tolist() == validating
        assert fold_columns(table, "actor") == {name: table[name][:] for name in ("actor_test", "actor_validation")}

    @pytest.mark.parametrize("protocol", TESTING)
    def test_built_in_folds_are_made_again_from_columns(self, table, protocol, monkeypatch):
        own, built_in = table, make_folds(table, protocol)
        for name, values in fold_columns(table, protocol).items():
            own = own.add_column(name, values)
        monkeypatch.setattr(splits, "definition_of", lambda *_: pytest.fail("read what is built in"))
        for one, two in zip(built_in, make_folds(own, protocol), strict=True):
            assert one.index == two.index
            assert all(
                np.array_equal(getattr(one, part), getattr(two, part)) for part in ("train", "validation", "test")
            )

    def test_only_random_folds_may_share_speakers(self):
        rows = [("a", 0, []), ("a", 1, []), ("b", 0, [1]), ("b", 1, [])]
        assert [fold.train.tolist() for fold in make_folds(own_table(rows, "random"), "random")] == [[1, 3], [0]]
        with pytest.raises(SplitError, match="fold 0 of protocol 'loao' has speaker x/a in train and in test"):
            make_folds(own_table(rows, "loao"), "loao")

    def test_speakers_of_two_corpora_are_two(self):
        table = own_table([("03", 0, []), ("03", 1, [])])
        two = table.remove_columns("corpus").add_column("corpus", ["x", "y"])
        assert len(make_folds(two, "actor")) == 2
        with pytest.raises(SplitError, match="speaker x/03"):
            make_folds(table, "actor")

    def test_folds_without_test_clips_are_left_out(self):
        table = own_table([("a", 4, [1]), ("b", 2, []), ("c", 2, [])])
        assert [fold.index for fold in make_folds(table, "actor")] == [2, 4]

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ([("a", 0, []), ("b", None, [])], "clip c1: actor_test is empty"),
            ([("a", 0, []), ("b", 1, [0, 1])], "clip c1: fold 1 of protocol 'actor' tests it and validates on it"),
            ([("a", 0, []), ("b", 1, [0])], "fold 0 of protocol 'actor' leaves no clip"),
            ([("a", 0, []), ("b", 1, [0]), ("b", 1, []), ("c", 2, [])], "fold 0 .* speaker x/b in train and in valid"),
        ],
    )
    def test_contradicting_columns_are_refused(self, rows, words):
        with pytest.raises(SplitError, match=words):
            make_folds(own_table(rows), "actor")

    def test_folds_without_training_clips_spare_the_others(self):
        table = own_table([("a", 0, []), ("b", 1, [0])])
        assert make_folds(table, "actor", folds=[1])[0].train.tolist() == [0]

    @pytest.mark.parametrize("absent", ["actor_test", "actor_validation"])
    def test_both_columns_are_needed(self, absent):
        table = own_table([("a", 0, []), ("b", 1, [])]).remove_columns(absent)
        with pytest.raises(SplitError, match=absent):
            make_folds(table, "actor")


class TestStored:
    def test_random_folds_hold_every_clip_once_and_stratified(self):
        folds = read_definition("random")["folds"]
        tested = [clip for fold in folds for clip in fold["test"]]
        assert len(tested) == len(set(tested)) == 1440
        assert {clip[-2:] for clip in tested} == set(ACTORS)
        for fold in folds:
            assert not set(fold["test"]) & set(fold["validation"])
            counts = Counter(LABELS[int(clip.split("-")[2]) - 1] for clip in fold["test"])
            assert all(abs(counts[label] - (96 if label == "neutral" else 192) / 5) <= 1 for label in LABELS)

    def test_random_folds_are_what_the_function_draws(self, real_data):
        table = load_corpus("ravdess", data_dir=real_data, download=False)
        assert json.loads(json.dumps(draw_random_definition(table))) == read_definition("random")
        assert [len(fold.test) for fold in make_folds(table, "random")] == [288] * 5
