"""Corpora and folds of the commands that train, from the command line and from recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_hf.protocols.folds import make_folds
from tests.corpora.trees import make_cremad, make_emodb, make_savee, make_tess
from tests.synthetic import encode, make_clip, make_ravdess
from train import common
from train.arguments import parse_arguments, read_recipe
from train.common import DataArguments, UsageError, load_clip_table, make_data_folds, milliseconds_per_clip, names_of
from train.publishing.dataset import build_dataset

RECIPES = Path(__file__).parents[2] / "train" / "recipes"
THREE = ["ravdess", "tess", "cremad"]
OTHERS = [*THREE, "emodb"]  # what all-training stands for here; savee is only tested
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fewer than 60 clips",
    "ignore:.*of the official record",
    "ignore:.*of boredom were left out",
    "ignore:.*are not tested",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data folder with a small tree of every corpus."""
    folder = tmp_path_factory.mktemp("data")
    make_ravdess(folder / "ravdess", seconds=0.3)
    make_tess(folder / "tess", words=[f"w{letter}" for letter in "abcd"], seconds=0.3)
    make_cremad(folder / "cremad", actors=range(1001, 1011), seconds=0.3)
    make_savee(folder / "savee", seconds=0.3)
    make_emodb(folder / "emodb", seconds=0.3)
    return folder


@pytest.fixture(autouse=True)
def all_training(monkeypatch):
    """The corpora of which all-training consists, whatever others there are."""

    def expand(names, data_dir):
        return [one for name in names for one in (OTHERS if name == "all-training" else [name])]

    monkeypatch.setattr(common, "expand_corpora", expand)


def arguments(words: str, *more: str) -> DataArguments:
    return parse_arguments((DataArguments,), [*words.split(), *more])[0]


@pytest.fixture
def load(data_dir):
    """Arguments of a command line, and the clip table that they name."""

    def loaded(words: str, *more: str):
        data = arguments(words, "--data_dir", str(data_dir), *more)
        return data, load_clip_table(data)

    return loaded


def assert_same_folds(one, two):
    for fold, same in zip(one, two, strict=True):
        for part in ("train", "validation", "test"):
            assert np.array_equal(getattr(fold, part), getattr(same, part))


def test_recipes_pool_four_corpora():
    for model in ("svm", "decision-tree", "cnn", "vit"):
        values = read_recipe(RECIPES / f"four-corpora-{model}.yaml")
        assert values.pop("corpora") == ["ravdess", "tess", "cremad", "savee"]
        assert values == read_recipe(RECIPES / f"{model}.yaml")


def test_names_split_at_spaces_and_commas():
    for value in ("ravdess tess cremad", "ravdess, tess ,cremad", ["ravdess,", "tess cremad"], THREE):
        assert names_of(value) == THREE
    assert names_of(None) == []
    assert arguments("--corpora ravdess, tess cremad").corpus_names == THREE
    assert arguments("").corpus_names == ["ravdess"]


def test_command_line_wins_over_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("protocol: cross\ntrain_corpora: ravdess tess\ntest_corpora: [emodb]\n")
    data = arguments("--test_corpora savee --recipe", str(tmp_path / "r.yaml"))
    assert (data.corpora, data.train_corpora, data.test_corpora) == (THREE[:2], THREE[:2], ["savee"])
    assert data.corpus_names == ["ravdess", "tess", "savee"]


@pytest.mark.parametrize(
    ("words", "corpora", "train", "test"),
    [
        ("--protocol loco --corpora all-training --test_corpora savee", OTHERS, [], ["savee"]),
        ("--corpora ravdess --train_corpora all-training", OTHERS[:1], OTHERS[1:], []),
        ("--protocol cross --train_corpora all-training --test_corpora emodb", THREE, THREE, ["emodb"]),
        ("--corpora savee ravdess", ["savee", "ravdess"], [], []),
    ],
)
def test_load_expands_names(words, corpora, train, test, load):
    data, table = load(words)
    assert load_clip_table(data).column_names == table.column_names  # expanded names stay as they are
    assert (data.corpora, data.train_corpora, data.test_corpora) == (corpora, train, test)
    assert list(dict.fromkeys(table["corpus"])) == data.corpus_names == [*dict.fromkeys([*corpora, *train, *test])]


def test_folds_are_numbers_or_corpora():
    assert arguments("").fold_indices is None
    assert arguments("--folds 3,1").fold_indices == [3, 1]
    assert arguments("--protocol loco --folds savee,0").fold_indices == ["savee", 0]


@pytest.mark.parametrize("words", ["--folds savee", "--folds ,", "--folds -1", "--protocol loco --folds ,"])
def test_folds_are_refused(words):
    with pytest.raises(UsageError, match="--folds"):
        _ = arguments(words).fold_indices


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--corpora ravdess ravdess", "ravdess"),
        ("--corpora ,", "--corpora"),
        ("--protocol cross", "--train_corpora"),
        ("--protocol cross --train_corpora ravdess", "--test_corpora"),
        ("--protocol cross --test_corpora ravdess", "--train_corpora"),
        ("--protocol cross --train_corpora ravdess emodb --test_corpora emodb", "emodb"),
        ("--protocol cross --train_corpora ravdess --test_corpora emodb --folds_from x/y", "--folds_from"),
        ("--test_corpora emodb", "--test_corpora"),
        ("--protocol full --train_corpora emodb", "--train_corpora"),
        ("--protocol loco --train_corpora emodb", "--train_corpora"),
        ("--protocol loco --corpora ravdess emodb --folds_from x/y", "--folds_from"),
        ("--protocol loco --corpora ravdess emodb --test_corpora emodb", "emodb"),
        ("--train_corpora ravdess", "ravdess"),
        ("--train_corpora all-training --corpora ravdess tess cremad savee emodb", "--train_corpora"),
    ],
)
def test_load_refuses_corpora(words, named, load):
    with pytest.raises(UsageError, match=named):
        load(words)


def test_folds_are_those_of_the_protocol(load):
    data, table = load("--corpora ravdess cremad tess --folds 3,1")
    assert_same_folds(make_data_folds(table, data), make_folds(table, "actor", [3, 1]))


def test_loco_leaves_each_corpus_out(load):
    data, table = load("--protocol loco --corpora tess ravdess emodb --test_corpora savee --folds savee,0")
    folds = make_data_folds(table, data)
    assert [(fold.index, fold.name) for fold in folds] == [(3, "savee"), (0, "tess")]
    corpora = [[set(table.select(part)["corpus"]) for part in (fold.train, fold.test)] for fold in folds]
    assert corpora == [[{"tess", "ravdess", "emodb"}, {"savee"}], [{"ravdess", "emodb"}, {"tess"}]]


@pytest.mark.parametrize("protocol", ["actor", "emobox", "develop"])
def test_train_corpora_train_in_every_fold(protocol, load):
    data, table = load(f"--protocol {protocol} --train_corpora emodb tess")
    alone = make_folds(table.select(range(192)), protocol)  # the 192 clips of RAVDESS come first
    added = np.arange(192, len(table))
    assert_same_folds(
        make_data_folds(table, data), [replace(one, train=np.concatenate([one.train, added])) for one in alone]
    )


@pytest.mark.parametrize("words", ["--corpora tess", "--corpora tess --protocol loao"])
def test_folds_need_validation_speakers(words, load):
    data, table = load(words)
    with pytest.raises(UsageError, match="tess has too few speakers"):
        make_data_folds(table, data)


def test_published_folds_equal_built_in(load, data_dir, tmp_path):
    plain, table = load("--train_corpora savee")
    build_dataset(tmp_path, plain.corpora, data_dir, "alice/folds")
    published, with_folds = load("--train_corpora savee", "--folds_from", str(tmp_path))
    assert "actor_test" in with_folds.column_names
    assert_same_folds(make_data_folds(table, plain), make_data_folds(with_folds, published))


def test_milliseconds_per_clip_times_single_clips():
    sizes = []

    class Model:
        def predict_proba(self, clips):
            sizes.append([clip.size for clip in clips])

    clips = [{"path": None, "bytes": encode(make_clip("happy", seconds=2), "wav", "pcm_s16le")} for _ in range(25)]
    assert milliseconds_per_clip(Model(), clips, window=1.0) >= 0
    assert sizes == [[16_000]] * 11  # one to warm up, ten that count
