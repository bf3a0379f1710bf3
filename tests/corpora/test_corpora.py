"""What all corpora have in common: the registry, the schema of the table, labels without a counterpart."""

from __future__ import annotations

import importlib
import warnings
from functools import partial

import pytest
from datasets import concatenate_datasets

from ser_hf import labels
from ser_hf.corpora import CORPORA, CorpusError, clip_table, corpus_fingerprint, load_corpus
from ser_hf.labels import LABELS
from tests.corpora.trees import OFFICIAL, make_cremad, make_emodb, make_official, make_savee, make_tess

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fewer than 60 clips", "ignore:.*of the official record", "ignore:.*of boredom were left out"
)

OTHERS = {"tess": make_tess, "cremad": make_cremad, "savee": make_savee, "emodb": make_emodb}
OTHERS |= {name: partial(make_official, name) for name in OFFICIAL}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A data folder with a small tree of every corpus but RAVDESS."""
    data_dir = tmp_path_factory.mktemp("trees")
    for name, make in OTHERS.items():
        make(data_dir / name, seconds=0.3)
    return data_dir


def row(emotion: str, **columns) -> dict[str, list]:
    one = {"clip": "c", "audio": "c.wav", "emotion": emotion, "speaker": "s", "gender": "male", "corpus": "x"}
    untold = dict.fromkeys(("statement", "intensity", "repetition"))
    return {name: [value] for name, value in {**one, **untold, **columns}.items()}


class TestRegistry:
    def test_every_corpus_has_its_makers_and_its_labels(self):
        assert set(CORPORA) == {"ravdess", *OTHERS}
        for name in set(CORPORA) - set(OFFICIAL):
            assert set(getattr(labels, f"{name.upper()}_EMOTIONS").values()) - {"boredom"} <= set(LABELS)
        for name in set(OFFICIAL) - {"emogator", "korean-emotion-tts"}:
            assert set(importlib.import_module(f"ser_hf.corpora.{name}").EMOTIONS.values()) <= set(LABELS)

    def test_an_unknown_corpus_is_refused_with_the_known_ones(self, tmp_path):
        with pytest.raises(CorpusError, match="no corpus 'iemocap'; there are: ravdess, tess, cremad, savee, emodb"):
            load_corpus("iemocap", tmp_path)

    @pytest.mark.parametrize("name", CORPORA)
    def test_an_unknown_option_is_refused_in_words(self, name, tmp_path):
        with pytest.raises(CorpusError, match=f"the corpus {name} has no option 'actor'; it has: "):
            load_corpus(name, tmp_path, actor=[1])

    @pytest.mark.parametrize("name", OTHERS)
    def test_a_corpus_that_is_not_there_says_where_to_get_it_and_where_to_put_it(self, name, tmp_path):
        with pytest.raises(CorpusError, match=rf"{tmp_path}/{name}: .*https?://\S+.*free.*{tmp_path}/{name}"):
            load_corpus(name, tmp_path, download=False)

    @pytest.mark.parametrize(
        ("name", "download"), [*((name, False) for name in OTHERS), ("savee", True), ("emovo", True)]
    )
    def test_nothing_is_asked_for_without_leave_or_where_it_is_not_free(self, name, download, tmp_path, monkeypatch):
        for way in ("requests.get", "requests.head", "subprocess.run"):
            monkeypatch.setattr(way, lambda *a, **k: pytest.fail("reached for the network"))
        with pytest.raises(CorpusError, match="is not there"):
            load_corpus(name, tmp_path, download=download)


class TestSchema:
    @pytest.mark.parametrize("name", OTHERS)
    def test_the_table_is_like_that_of_ravdess(self, name, trees, corpus_dir):
        table = load_corpus(name, trees)
        assert table.features == load_corpus("ravdess", corpus_dir).features
        assert set(table["corpus"]) == {name}
        assert len(set(table["clip"])) == len(table) > 0
        assert set(table["gender"]) <= ({None} if name == "emogator" else {"male", "female"})

    def test_all_of_them_pool(self, trees, corpus_dir):
        tables = [load_corpus(name, trees) for name in OTHERS] + [load_corpus("ravdess", corpus_dir)]
        pooled = concatenate_datasets(tables)
        assert len(pooled) == sum(map(len, tables))
        assert {pooled[i]["intensity"] for i in range(len(pooled))} == {None, "normal"}

    @pytest.mark.parametrize("name", OTHERS)
    def test_a_corpus_that_is_not_whole_is_warned_of(self, name, trees):
        with pytest.warns(UserWarning, match=r"holds \d+ of the \d+ clips of the official record"):
            load_corpus(name, trees)

    def test_the_fingerprint_reads_the_files(self, trees):
        table = load_corpus("savee", trees)
        assert corpus_fingerprint(table) != corpus_fingerprint(table.select(range(len(table) - 1)))


class TestUnmapped:
    def test_dropped_and_counted(self):
        two = {name: values * 2 + row("sad")[name] for name, values in row("boredom").items()}
        with pytest.warns(UserWarning, match="^x: 2 clips of boredom were left out, because no label of ours"):
            table = clip_table(two)
        assert table["emotion"][:] == [LABELS.index("sad")]
        assert table.features["emotion"].names == list(LABELS)

    def test_kept_after_our_labels(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = clip_table(row("boredom"), unmapped="keep")
        assert table.features["emotion"].names == [*LABELS, "boredom"]
        assert table["emotion"][:] == [len(LABELS)]

    def test_nothing_is_said_where_all_are_mapped(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert clip_table(row("calm")).features == clip_table(row("calm"), unmapped="keep").features

    def test_another_word_is_refused(self):
        with pytest.raises(CorpusError, match="unmapped must be 'drop' or 'keep', not 'other'"):
            clip_table(row("sad"), unmapped="other")
