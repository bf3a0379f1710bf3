"""Which corpora and folds the commands that train take, from the command line and from recipes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ser_hf.corpora import load_corpus
from ser_hf.runs import read_predictions
from ser_hf.splits import make_folds
from tests.corpora.trees import make_cremad, make_emodb, make_savee, make_tess
from tests.synthetic import encode, make_clip, make_ravdess
from train import baseline, common
from train.arguments import parse_arguments, read_recipe
from train.common import DataArguments, UsageError, load_clip_table, make_data_folds, milliseconds_per_clip
from train.publishing.dataset import build_dataset

FOLDER = Path(__file__).parents[2] / "train" / "recipes"
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
    make_tess(folder / "tess", words=[f"w{i}".translate(str.maketrans("0123", "abcd")) for i in range(4)], seconds=0.3)
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


def arguments(*words: str) -> DataArguments:
    return parse_arguments((DataArguments,), words)[0]


class TestRecipes:
    @pytest.mark.parametrize("model", ["svm", "decision-tree", "cnn", "vit"])
    def test_four_corpora_are_pooled(self, model, data_dir):
        recipe = FOLDER / f"four-corpora-{model}.yaml"
        values = read_recipe(recipe)
        corpora = values.pop("corpora")
        assert values == read_recipe(FOLDER / f"{model}.yaml")
        data = arguments("--corpora", *corpora, "--data_dir", str(data_dir))
        table = load_clip_table(data)
        assert set(table["corpus"]) == {"ravdess", "tess", "cremad", "savee"}
        for fold in make_data_folds(table, data):
            heard, tested = (
                {(row["corpus"], row["speaker"]) for row in table.select_columns(["corpus", "speaker"]).select(part)}
                for part in (fold.train, fold.test)
            )
            assert heard
            assert tested
            assert not heard & tested


def test_a_model_learns_from_four_corpora_and_answers_each(data_dir, tmp_path):
    words = ["--recipe", str(FOLDER / "four-corpora-decision-tree.yaml"), "--data_dir", str(data_dir), "--no_cache"]
    words += ["--features", "zcr,energy", "--n_jobs", "1", "--output_dir", str(tmp_path / "run")]
    assert baseline.main(words) == 0
    frame = read_predictions(tmp_path / "run")
    table = load_clip_table(arguments("--corpora", "ravdess,tess,cremad,savee", "--data_dir", str(data_dir)))
    assert frame["corpus"].value_counts().to_dict() == pd.Series(table["corpus"][:]).value_counts().to_dict()


class TestNames:
    @pytest.mark.parametrize(
        "words",
        [
            ("--corpora", "ravdess", "tess", "cremad"),
            ("--corpora", "ravdess,tess,cremad"),
            ("--corpora", "ravdess,", "tess", ",cremad"),
            ("--corpora", "ravdess, tess cremad"),
        ],
    )
    def test_spaces_and_commas(self, words):
        assert arguments(*words).corpora == arguments(*words).corpus_names == ["ravdess", "tess", "cremad"]

    def test_ravdess_unless_it_is_said(self):
        assert arguments().corpus_names == ["ravdess"]

    @pytest.mark.parametrize("said", ["[ravdess, tess]", "ravdess, tess", "ravdess tess", '["ravdess", "tess"]'])
    def test_a_recipe_may_write_them_as_it_likes(self, said, tmp_path):
        (tmp_path / "r.yaml").write_text(f"corpora: {said}\n")
        assert arguments("--recipe", str(tmp_path / "r.yaml")).corpus_names == ["ravdess", "tess"]

    def test_the_command_line_wins_over_the_recipe(self, tmp_path):
        (tmp_path / "r.yaml").write_text("protocol: cross\ntrain_corpora: ravdess tess\ntest_corpora: [emodb]\n")
        data = arguments("--recipe", str(tmp_path / "r.yaml"), "--test_corpora", "savee")
        assert (data.train_corpora, data.test_corpora) == (["ravdess", "tess"], ["savee"])

    @pytest.mark.parametrize(
        ("words", "corpora", "train", "test", "trained_on"),
        [
            ("--protocol loco --corpora all-training --test_corpora savee", OTHERS, [], ["savee"], OTHERS),
            ("--corpora ravdess --train_corpora all-training", OTHERS[:1], OTHERS[1:], [], OTHERS),
            (
                "--protocol cross --train_corpora all-training --test_corpora emodb",
                THREE,
                THREE,
                ["emodb"],
                THREE,
            ),
        ],
    )
    def test_load_expands_names(self, words, corpora, train, test, trained_on, data_dir):
        data = arguments(*words.split(), "--data_dir", str(data_dir))
        for _ in range(2):  # expanded names stay as they are
            table = load_clip_table(data)
            assert (data.corpora, data.train_corpora, data.test_corpora) == (corpora, train, test)
            assert data.trained_on == trained_on
            assert list(dict.fromkeys(table["corpus"])) == [*trained_on, *test]

    @pytest.mark.parametrize(
        ("words", "chosen"), [("--folds 3,1", [3, 1]), ("--protocol loco --folds savee,0", ["savee", 0]), ("", None)]
    )
    def test_folds_are_numbers_or_corpora(self, words, chosen):
        assert arguments(*words.split()).fold_indices == chosen

    @pytest.mark.parametrize("words", ["--folds savee", "--folds ,", "--folds -1", "--protocol loco --folds ,"])
    def test_folds_that_are_wrong(self, words):
        with pytest.raises(UsageError, match="--folds"):
            _ = arguments(*words.split()).fold_indices

    def test_with_cross_the_corpora_are_those_that_train(self):
        data = arguments("--protocol", "cross", "--train_corpora", "tess", "savee", "--test_corpora", "emodb")
        assert data.corpora == ["tess", "savee"]
        assert data.corpus_names == ["tess", "savee", "emodb"]


class TestTable:
    def test_pooled_in_the_order_that_is_asked(self, data_dir):
        table = load_clip_table(arguments("--corpora", "savee", "ravdess", "--data_dir", str(data_dir)))
        assert table["corpus"][:] == ["savee"] * 28 + ["ravdess"] * 192

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--corpora ravdess ravdess", "corpus ravdess is named twice"),
            ("--corpora ,", "--corpora names no corpus"),
            ("--protocol cross", "--train_corpora names none"),
            ("--protocol cross --train_corpora ravdess", "--test_corpora names none"),
            ("--protocol cross --test_corpora ravdess", "--train_corpora names none"),
            (
                "--protocol cross --train_corpora ravdess emodb --test_corpora emodb",
                "--train_corpora and --test_corpora both name emodb",
            ),
            ("--test_corpora emodb", "--test_corpora goes with --protocol cross or loco"),
            ("--protocol full --train_corpora emodb", "--train_corpora does not go with --protocol full"),
            ("--protocol loco --train_corpora emodb", "--train_corpora does not go with --protocol loco"),
            ("--protocol loco --corpora ravdess emodb --folds_from x/y", "--folds_from .* loco"),
            ("--protocol loco --corpora ravdess emodb --test_corpora emodb", "emodb is named twice"),
            ("--train_corpora ravdess", "ravdess is named twice"),
            ("--train_corpora all-training --corpora ravdess tess cremad savee emodb", "--train_corpora all-training"),
            (
                "--protocol cross --train_corpora ravdess --test_corpora emodb --folds_from x/y",
                "--folds_from does not go with --protocol cross",
            ),
        ],
    )
    def test_what_cannot_be_meant_is_told(self, words, message, data_dir):
        with pytest.raises(UsageError, match=message):
            load_clip_table(arguments(*words.split(), "--data_dir", str(data_dir)))


class TestFolds:
    def test_they_are_those_of_the_protocol(self, data_dir):
        data = arguments("--corpora", "ravdess", "cremad", "tess", "--folds", "3,1", "--data_dir", str(data_dir))
        table = load_clip_table(data)
        folds = make_data_folds(table, data)
        assert [fold.index for fold in folds] == [3, 1]
        for fold, same in zip(folds, make_folds(table, "actor", [3, 1]), strict=True):
            assert fold.test.tolist() == same.test.tolist()

    def test_cross(self, data_dir):
        words = "--protocol cross --train_corpora emodb --test_corpora ravdess savee --data_dir"
        data = arguments(*words.split(), str(data_dir))
        table = load_clip_table(data)
        (fold,) = make_data_folds(table, data)
        assert set(table.select(fold.train)["corpus"]) == {"emodb"}
        assert set(table.select(fold.test)["corpus"]) == {"ravdess", "savee"}

    def test_loco(self, data_dir):
        words = "--protocol loco --corpora tess ravdess emodb --test_corpora savee --folds savee,0 --data_dir"
        data = arguments(*words.split(), str(data_dir))
        table = load_clip_table(data)
        folds = make_data_folds(table, data)
        assert [str(fold) for fold in folds] == ["Fold 3 (savee)", "Fold 0 (tess)"]
        corpora = [[set(table.select(part)["corpus"]) for part in (fold.train, fold.test)] for fold in folds]
        assert corpora == [[{"tess", "ravdess", "emodb"}, {"savee"}], [{"ravdess", "emodb"}, {"tess"}]]

    @pytest.mark.parametrize("protocol", ["actor", "emobox", "develop"])
    def test_train_corpora_train_in_every_fold(self, protocol, data_dir):
        words = f"--protocol {protocol} --train_corpora emodb tess --data_dir"
        data = arguments(*words.split(), str(data_dir))
        table = load_clip_table(data)
        alone = make_folds(table.select(range(192)), protocol)  # the 192 clips of RAVDESS come first
        for fold, same in zip(make_data_folds(table, data), alone, strict=True):
            assert fold.train.tolist() == [*same.train, *range(192, len(table))]
            assert fold.validation.tolist() == same.validation.tolist()
            assert fold.test.tolist() == same.test.tolist()

    @pytest.mark.parametrize("words", ["--corpora tess", "--corpora tess --protocol loao"])
    def test_nobody_to_validate_on_is_told(self, words, data_dir):
        data = arguments(*words.split(), "--data_dir", str(data_dir))
        with pytest.raises(UsageError, match="has nobody to validate on: tess has too few speakers; add a corpus"):
            make_data_folds(load_clip_table(data), data)

    def test_full_validates_on_nobody(self, data_dir):
        data = arguments("--corpora", "tess", "--protocol", "full", "--data_dir", str(data_dir))
        assert len(make_data_folds(load_clip_table(data), data)[0].validation) == 0

    def test_published_folds_of_several_corpora(self, data_dir, tmp_path):
        corpora = ["ravdess", "tess", "cremad", "savee", "emodb"]
        build_dataset(tmp_path, corpora, data_dir, "alice/folds")
        plain = arguments("--corpora", *corpora, "--data_dir", str(data_dir))
        from_there = arguments("--corpora", *corpora, "--data_dir", str(data_dir), "--folds_from", str(tmp_path))
        built_in = make_data_folds(load_clip_table(plain), plain)
        table = load_clip_table(from_there)
        from_there.protocol = "develop"
        assert set(load_clip_table(from_there).column_names) == set(table.column_names)
        from_there.protocol = "actor"
        assert {"actor_test", "emobox_test"} <= set(table.column_names)  # emobox of RAVDESS alone: None elsewhere
        for one, two in zip(built_in, make_data_folds(table, from_there), strict=True):
            for part in ("train", "validation", "test"):
                assert getattr(one, part).tolist() == getattr(two, part).tolist()

    def test_folds_from_need_no_train_corpora(self, data_dir, tmp_path):
        build_dataset(tmp_path, ["ravdess"], data_dir, "alice/folds")
        words = ["--train_corpora", "savee", "--data_dir", str(data_dir)]
        settings = [arguments(*words), arguments(*words, "--folds_from", str(tmp_path))]
        built_in, published = (make_data_folds(load_clip_table(data), data) for data in settings)
        for one, two in zip(built_in, published, strict=True):
            assert one.train.tolist() == two.train.tolist()

    def test_tables_stay_those_of_the_corpora(self, data_dir):
        data = arguments("--corpora", "emodb", "tess", "--data_dir", str(data_dir))
        assert load_clip_table(data)[:60] == load_corpus("emodb", data_dir)[:]


def test_a_clip_is_timed_alone_and_no_longer_than_the_model_hears():
    heard = []

    class Model:
        def predict_proba(self, clips):
            heard.append([clip.size for clip in clips])

    clips = [{"path": None, "bytes": encode(make_clip("happy", seconds=2), "wav", "pcm_s16le")} for _ in range(25)]
    assert milliseconds_per_clip(Model(), clips, window=1.0) >= 0
    assert heard == [[16_000]] * 11  # one to warm up, ten that count
