"""Folds that come with a clip table: from a folder in the layout of the published dataset, joined by clip."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import ser_hf.hub
from ser_hf.corpora import CorpusError, corpus_fingerprint, load_corpus
from ser_hf.protocols.folds import SplitError, make_folds
from tests.synthetic import make_ravdess

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record")

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


def columns(rows: dict = ROWS) -> dict:
    return {
        "clip": list(rows),
        "actor_test": [test for test, _ in rows.values()],
        "actor_validation": pyarrow.array([folds for _, folds in rows.values()], pyarrow.list_(pyarrow.int64())),
    }


def load(data_dir: Path, folds):
    return load_corpus("ravdess", data_dir, download=False, folds=folds)


class TestJoin:
    def test_folds_are_joined_by_clip(self, data_dir, tmp_path):
        more = columns(dict(reversed({**ROWS, "03-01-08-02-02-02-24": (3, [])}.items())))
        plain, table = load(data_dir, None), load(data_dir, str(write(tmp_path, more | {"note": ["x"] * 7})))
        rows = zip(table["clip"], table["actor_test"], table["actor_validation"], strict=True)
        assert {clip: (test, validation) for clip, test, validation in rows} == ROWS
        assert table.column_names == [*plain.column_names, "actor_test", "actor_validation"]
        assert table.select_columns(plain.column_names)[:] == plain[:]
        assert corpus_fingerprint(table) == corpus_fingerprint(plain)
        with pytest.raises(SplitError, match="needs all 24 actors"):
            make_folds(table, "emobox")


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"clip": [*list(ROWS)[1:], "x"]}, "clip 03-01-01-01-01-01-01 0 times"),
            ({"clip": [*list(ROWS)[:5], next(iter(ROWS))]}, "clip 03-01-01-01-01-01-01 2 times"),
            ({"clip": None}, '"clip"'),
            ({"actor_test": None, "actor_validation": None}, "no fold columns such as actor_test"),
            ({"actor_test": None}, '"actor_test"'),
            ({"actor_validation": None}, '"actor_validation"'),
            ({"actor_test": ["x"] * 6}, "int64"),
            ({"actor_test": [7.5] * 6}, "int64"),
            ({"actor_validation": [7] * 6}, "list"),
            ({"actor_validation": [[4]] * 6}, "actor_validation names fold 4"),
        ],
    )
    def test_tables_without_proper_folds_are_refused(self, data_dir, tmp_path, changes, words):
        changed = {name: values for name, values in (columns() | changes).items() if values is not None}
        with pytest.raises(CorpusError, match=f"^{tmp_path}: .*{words}") as refused:
            load(data_dir, write(tmp_path, changed))
        assert "data/ravdess.parquet" in str(refused.value)

    def test_other_files_and_folders_are_refused(self, data_dir, tmp_path):
        with pytest.raises(CorpusError, match=f"{tmp_path}: holds no data/ravdess.parquet"):
            load(data_dir, tmp_path)
        (tmp_path / "data").mkdir()
        (tmp_path / "data/ravdess.parquet").write_text("clip,actor_test\n")
        with pytest.raises(CorpusError, match="not a parquet file"):
            load(data_dir, tmp_path)

    @pytest.mark.parametrize("name", ["./folds", "a/b/c", "nothing", Path("alice/folds")])
    def test_missing_folders_are_not_looked_up_on_the_hub(self, data_dir, monkeypatch, name):
        monkeypatch.setattr(ser_hf.hub, "snapshot", lambda *_, **__: pytest.fail("asked the Hub"))
        with pytest.raises(CorpusError, match=f"no folder '{name}'"):
            load(data_dir, name)


class TestHub:
    def test_only_the_table_of_the_corpus_is_fetched(self, data_dir, tmp_path, monkeypatch):
        asked = []
        folder = write(tmp_path, columns())
        monkeypatch.setattr(ser_hf.hub, "snapshot", lambda *args, **options: asked.append((args, options)) or folder)
        assert "actor_test" in load(data_dir, "alice/folds@v1").column_names
        assert asked == [(("alice/folds@v1", ["data/ravdess.parquet"]), {"repo_type": "dataset"})]

    def test_hub_errors_are_corpus_errors(self, data_dir, monkeypatch):
        def refuse(*_, **__):
            raise ser_hf.hub.HubError("there is no such repository")

        monkeypatch.setattr(ser_hf.hub, "snapshot", refuse)
        with pytest.raises(CorpusError, match="there is no such repository"):
            load(data_dir, "alice/folds")
