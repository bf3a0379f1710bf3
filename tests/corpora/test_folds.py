"""Folds that come with a clip table: from a folder in the layout of the published dataset, joined by clip."""

import sys
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ser_hf.hub
from ser_hf.corpora import CorpusError, clip_table, corpus_fingerprint, load_corpus
from ser_hf.corpora.folds import add_folds
from ser_hf.splits import SplitError, make_folds
from tests.synthetic import make_ravdess

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 60 clips")

ROWS = {  # clip -> fold that tests it, folds in which it validates
    "03-01-01-01-01-01-01": (7, []),
    "03-01-03-01-01-01-01": (7, []),
    "03-01-01-01-01-01-02": (3, [7]),
    "03-01-03-01-01-01-02": (3, [7]),
    "03-01-01-01-01-01-03": (9, [3]),
    "03-01-03-01-01-01-03": (9, [3]),
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Three actors with two clips each, which no built-in protocol divides."""
    folder = tmp_path_factory.mktemp("data")
    make_ravdess(folder / "ravdess", actors=(1, 2, 3), emotions=("neutral", "happy"), seconds=0.3)
    return folder


def write(folder: Path, columns: dict) -> Path:
    """A dataset folder whose table for RAVDESS has these columns."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "data" / "ravdess.parquet")
    return folder


def columns(rows: dict = ROWS, protocol: str = "actor") -> dict:
    return {
        "clip": list(rows),
        f"{protocol}_test": [test for test, _ in rows.values()],
        f"{protocol}_validation": pyarrow.array([folds for _, folds in rows.values()], pyarrow.list_(pyarrow.int64())),
    }


def load(data_dir: Path, folds, **options):
    return load_corpus("ravdess", data_dir, download=False, folds=folds, actors=[1, 2, 3], **options)


class TestJoin:
    def test_every_clip_gets_its_own_folds_whatever_their_order(self, data_dir, tmp_path):
        backwards = dict(reversed(ROWS.items()))
        table = load(data_dir, write(tmp_path, columns(backwards)))
        told = zip(table["clip"], table["actor_test"], table["actor_validation"], strict=True)
        assert {clip: (test, validation) for clip, test, validation in told} == ROWS

    def test_the_table_is_otherwise_the_same(self, data_dir, tmp_path):
        plain = load(data_dir, None)
        joined = load(data_dir, str(write(tmp_path, columns())))
        assert joined.column_names == [*plain.column_names, "actor_test", "actor_validation"]
        assert joined.select_columns(plain.column_names)[:] == plain[:]
        assert joined.select_columns(plain.column_names).features == plain.features
        assert corpus_fingerprint(joined) == corpus_fingerprint(plain)
        assert "torchcodec" not in sys.modules

    def test_folds_are_those_of_the_columns(self, data_dir, tmp_path):
        folds = make_folds(load(data_dir, write(tmp_path, columns())), "actor")
        parts = {fold.index: [part.tolist() for part in (fold.train, fold.validation, fold.test)] for fold in folds}
        assert parts == {
            3: [[0, 1], [4, 5], [2, 3]],
            7: [[4, 5], [2, 3], [0, 1]],
            9: [[0, 1, 2, 3], [], [4, 5]],
        }

    def test_other_protocols_stay_as_they_are(self, data_dir, tmp_path):
        table = load(data_dir, write(tmp_path, columns()))
        with pytest.raises(SplitError, match="needs all 24 actors"):
            make_folds(table, "emobox")

    def test_clips_that_are_not_here_and_other_columns_do_not_matter(self, data_dir, tmp_path):
        more = columns({**ROWS, "03-01-08-02-02-02-24": (3, [])})
        more["note"] = ["x"] * len(more["clip"])
        table = load(data_dir, write(tmp_path, more))
        assert len(table) == 6
        assert "note" not in table.column_names

    def test_the_large_kinds_of_other_writers(self, data_dir, tmp_path):
        plain = columns()
        large = {
            "clip": pyarrow.array(plain["clip"], pyarrow.large_string()),
            "actor_test": pyarrow.array(plain["actor_test"], pyarrow.int16()),
            "actor_validation": plain["actor_validation"].cast(pyarrow.large_list(pyarrow.int32())),
        }
        there = load(data_dir, write(tmp_path / "large", large))
        assert there[:] == load(data_dir, write(tmp_path / "plain", plain))[:]

    @given(st.data())
    def test_any_folds_are_joined_by_clip(self, data):
        clips = data.draw(st.lists(st.text("abc-01", min_size=1), min_size=1, max_size=12, unique=True))
        folds = st.tuples(st.integers(0, 3), st.lists(st.integers(0, 3), unique=True, max_size=3))
        rows = {clip: data.draw(folds) for clip in clips}
        known = {test for test, _ in rows.values()}
        rows = {clip: (test, [fold for fold in folds if fold in known]) for clip, (test, folds) in rows.items()}
        here = data.draw(st.permutations(clips))[: data.draw(st.integers(1, len(clips)))]
        audio = {"clip": here, "audio": [""] * len(here), "emotion": ["sad"] * len(here), "repetition": [1] * len(here)}
        with tempfile.TemporaryDirectory() as folder:
            joined = add_folds(clip_table(audio), "ravdess", write(Path(folder), columns(rows)))
        assert joined["clip"][:] == here
        assert joined["actor_test"][:] == [rows[clip][0] for clip in here]
        assert joined["actor_validation"][:] == [rows[clip][1] for clip in here]


class TestRefused:
    def refuse(self, data_dir, folds, words):
        with pytest.raises(CorpusError, match=words):
            load(data_dir, folds)

    def test_a_clip_that_is_not_there(self, data_dir, tmp_path):
        less = {clip: folds for clip, folds in ROWS.items() if clip != "03-01-03-01-01-01-02"}
        words = r"clip 03-01-03-01-01-01-02 is not there in data/ravdess\.parquet; every clip must be there once"
        self.refuse(data_dir, write(tmp_path, columns(less)), words)

    def test_a_clip_that_is_there_twice(self, data_dir, tmp_path):
        twice = pyarrow.table(columns())
        twice = pyarrow.concat_tables([twice, twice.slice(2, 1)])
        folder = write(tmp_path, {name: twice[name] for name in twice.column_names})
        self.refuse(data_dir, folder, "clip 03-01-01-01-01-01-02 is 2 times in data/ravdess.parquet")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"clip": list(range(6))}, "has no column 'clip' of strings"),
            ({"clip": None}, "has no column 'clip' of strings"),
            ({"actor_test": None, "actor_validation": None}, "has no fold columns such as actor_test"),
            ({"actor_test": None}, "has only actor_validation; actor_test and actor_validation go together"),
            ({"actor_validation": None}, "has only actor_test; actor_test and actor_validation go together"),
            ({"actor_test": ["7"] * 6}, "actor_test must hold a whole number in every row"),
            ({"actor_test": [7.0] * 6}, "actor_test must hold a whole number in every row"),
            ({"actor_test": [7, 7, 3, 3, 9, None]}, "actor_test must hold a whole number in every row"),
            ({"actor_validation": [7] * 6}, "actor_validation must hold a list of whole numbers"),
            ({"actor_validation": [["7"]] * 6}, "actor_validation must hold a list of whole numbers"),
            ({"actor_validation": [[4]] * 6}, "actor_validation names fold 4, which actor_test does not know"),
        ],
    )
    def test_a_table_that_is_not_one_of_folds(self, data_dir, tmp_path, changes, words):
        changed = {name: values for name, values in (columns() | changes).items() if values is not None}
        self.refuse(data_dir, write(tmp_path, changed), f"^{tmp_path}: data/ravdess.parquet: {words}")

    def test_a_file_of_something_else(self, data_dir, tmp_path):
        write(tmp_path, columns())
        (tmp_path / "data" / "ravdess.parquet").write_text("clip,actor_test\n")
        self.refuse(data_dir, tmp_path, "data/ravdess.parquet: not a parquet file that can be read")

    def test_a_folder_without_this_corpus(self, data_dir, tmp_path):
        self.refuse(data_dir, tmp_path, f"{tmp_path}: holds no data/ravdess.parquet")

    @pytest.mark.parametrize("name", ["./folds", "a/b/c", "nothing", Path("alice/folds")])
    def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(self, data_dir, monkeypatch, name):
        monkeypatch.setattr(ser_hf.hub, "snapshot", lambda *_, **__: pytest.fail("asked the Hub"))
        self.refuse(data_dir, name, f"there is no folder '{name}' to take folds from")


class TestHub:
    def test_only_the_table_of_the_corpus_is_fetched(self, data_dir, tmp_path, monkeypatch):
        asked = []
        folder = write(tmp_path, columns())
        monkeypatch.setattr(ser_hf.hub, "snapshot", lambda *args, **options: asked.append((args, options)) or folder)
        assert "actor_test" in load(data_dir, "alice/folds@v1").column_names
        assert asked == [(("alice/folds@v1", ["data/ravdess.parquet"]), {"repo_type": "dataset"})]

    def test_what_the_hub_refuses_is_told(self, data_dir, monkeypatch):
        def refuse(*_, **__):
            raise ser_hf.hub.HubError("there is no such repository")

        monkeypatch.setattr(ser_hf.hub, "snapshot", refuse)
        with pytest.raises(CorpusError, match="there is no such repository"):
            load(data_dir, "alice/folds")
