import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from ser_hf.corpora import load_corpus
from ser_hf.evaluation.runs import read_predictions
from ser_hf.features import _feature_names, _opensmile, feature_names
from ser_hf.features.table import extract_table
from ser_hf.labels import LABELS
from ser_hf.models.classical import load_classical
from ser_hf.models.families import FAMILIES
from ser_hf.protocols.folds import make_folds
from tests.corpora.trees import make_emodb
from train.arguments import parse_arguments, read_recipe
from train.baseline import BaselineArguments, fit_fold, main
from train.common import DataArguments


def run(corpus_dir, folder, *arguments, features="zcr,spectral"):
    fixed = ["--data_dir", corpus_dir, "--output_dir", folder, "--n_jobs", 1, "--features", features]
    return main([str(word) for word in [*fixed, *arguments]])


def read(path):
    return json.loads(path.read_text())


def accuracy(frame):
    return (frame["emotion"] == frame["predicted"]).mean()


@pytest.fixture(scope="module")
def actor_run(corpus_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "textbook-actor"
    assert run(corpus_dir, folder, "--model", "svm-textbook", "--folds", "0,3") == 0
    return folder


def test_run_folder_has_predictions_and_record(actor_run):
    frame = read_predictions(actor_run)
    assert len(frame) == frame["clip"].nunique() == 80
    assert accuracy(frame) > 0.4
    record = read(actor_run / "run.json")
    assert (record["protocol"], record["model"], record["seed"]) == ("actor", "svm-textbook", 0)
    assert (record["arguments"]["features"], record["arguments"]["importance_repeats"]) == ("zcr,spectral", 5)
    assert [fold["index"] for fold in record["folds"]] == [0, 3]
    assert all(fold["temperature"] > 0 and 1 / 8 <= fold["answer_threshold"] <= 1 for fold in record["folds"])
    config = read(actor_run / "fold0" / "model" / "config.json")
    assert config["answer_threshold"] == record["folds"][0]["answer_threshold"]
    assert len(record["corpus_fingerprint"]) == 16
    assert read(actor_run / "metrics.json")["accuracy"] == pytest.approx(accuracy(frame))
    assert list((actor_run / "plots").iterdir())


def test_run_folder_has_importance_by_group(actor_run):
    record = read(actor_run / "importance.json")
    assert record["repeats"] == 5
    assert set(record["groups"]) == {"zcr", "spectral"}
    drops = [group["drop"] for group in record["groups"].values()]
    assert drops == sorted(drops, reverse=True)
    assert record["groups"]["spectral"]["drop"] > 0.1
    for group in record["groups"].values():
        assert [fold["fold"] for fold in group["folds"]] == [0, 3]
        assert group["drop"] == pytest.approx(np.mean([fold["drop"] for fold in group["folds"]]))
        assert group["deviation"] == pytest.approx(np.std([fold["drop"] for fold in group["folds"]]))


def test_run_is_reproducible_and_prints_folds(corpus_dir, tmp_path, capsys):
    frames = []
    for cache in ("true", "false"):
        options = ["--model", "decision-tree", "--folds", "0,3", "--no_cache", cache, "--importance_repeats", 0]
        assert run(corpus_dir, tmp_path / cache, *options) == 0
        printed = capsys.readouterr().out
        assert all(words in printed for words in ("Fold 0:", "Fold 3:", "max_depth", "2 folds"))
        assert not (tmp_path / cache / "importance.json").exists()
        frames.append(read_predictions(tmp_path / cache))
    assert set(frames[0]["fold"]) == {0, 3}
    assert frames[0].equals(frames[1])


def make_random_table(n_speakers=24, n_clips=1):
    """A clip table without audio, and features that depend on the label."""
    speakers = [f"{speaker:02d}" for speaker in range(1, n_speakers + 1)]
    rows = [(speaker, index) for speaker in speakers for index in range(len(LABELS)) for _ in range(n_clips)]
    columns = {
        "clip": [f"{index:04d}" for index in range(len(rows))],
        "corpus": ["ravdess"] * len(rows),
        "speaker": [speaker for speaker, _ in rows],
        "emotion": [label for _, label in rows],
    }
    kinds = Features({name: Value("string") for name in columns} | {"emotion": ClassLabel(names=list(LABELS))})
    names = feature_names(["zcr"])
    values = np.random.default_rng(0).normal(size=(len(rows), len(names))) + np.array(columns["emotion"])[:, None]
    return Dataset.from_dict(columns, features=kinds), pd.DataFrame(values.astype(np.float32), columns=names)


@pytest.mark.parametrize(("protocol", "smote"), [("actor", False), ("loao", False), ("actor", True)])
def test_fit_fold_does_not_see_test_speakers(protocol, smote):
    if smote:
        pytest.importorskip("imblearn")
    table, features = make_random_table()
    fold = make_folds(table, protocol)[2]
    arguments = BaselineArguments(model="decision-tree", features="zcr", n_jobs=1, smote=smote)
    changed = features.copy()
    changed.iloc[fold.test] = 1e6
    probe = features.iloc[fold.test]
    first, second = (fit_fold(table, part, fold, protocol, arguments)[0] for part in (features, changed))
    np.testing.assert_array_equal(first.predict_features(probe), second.predict_features(probe))
    changed.iloc[fold.validation] = 1e6
    third = fit_fold(table, changed, fold, protocol, arguments)[0]
    assert not np.array_equal(first.predict_features(probe), third.predict_features(probe))  # validation clips train


def test_fit_fold_random_takes_a_single_speaker():
    table, features = make_random_table(n_speakers=1, n_clips=4)
    arguments = BaselineArguments(model="svm-textbook", features="zcr", n_jobs=1)
    _, record = fit_fold(table, features, make_folds(table, "full")[0], "random", arguments)
    assert record["temperature"] > 0


def test_run_tests_on_another_corpus(corpus_dir, tmp_path):
    data_dir = tmp_path / "data"
    make_emodb(data_dir / "emodb", texts=("a01", "a02"), seconds=3.0)
    (data_dir / "ravdess").symlink_to(corpus_dir / "ravdess")
    options = ["--protocol", "cross", "--train_corpora", "emodb", "--test_corpora", "ravdess"]
    assert run(data_dir, tmp_path / "run", *options) == 0
    frame = read_predictions(tmp_path / "run")
    assert set(frame["corpus"]) == {"ravdess"}
    assert not {"calm", "surprised"} & (set(frame["emotion"]) | set(frame["predicted"]))
    assert accuracy(frame) > 0.3


def test_run_full_writes_a_model_folder(corpus_dir, actor_run, tmp_path):
    options = ["--model", "svm-textbook", "--protocol", "full", "--reference_run", actor_run]
    assert run(corpus_dir, tmp_path / "full", *options) == 0
    folder = tmp_path / "full" / "model"
    model = load_classical(folder)
    assert (model.config["family"], model.config["feature_groups"]) == ("svm-textbook", ["zcr", "spectral"])
    table = load_corpus("ravdess", corpus_dir)
    features = extract_table(table["audio"], ["zcr", "spectral"], n_jobs=1, progress=False)
    assert (model.predict_features(features).argmax(axis=1) == np.array(table["emotion"])).mean() > 0.5
    assert not (tmp_path / "full" / "predictions.parquet").exists()
    card = {"README.md", "evaluation", "example.flac", "example.json", "metrics.json"}
    assert {path.name for path in folder.iterdir()} == card | {"config.json", "pipeline.skops"}
    facts = {"corpora": ["ravdess"], "protocol": "actor"}
    assert read(folder / "metrics.json") == facts | read(actor_run / "metrics.json")
    assert "ser-svm-textbook" in (folder / "README.md").read_text()


def test_egemaps_without_opensmile_name_the_licence(corpus_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    for function in (_opensmile, _feature_names):
        function.cache_clear()
    assert run(corpus_dir, tmp_path / "run", features="egemaps") == 2
    error = capsys.readouterr().err
    assert all(words in error for words in ("requirements-egemaps.txt", "non-commercial"))
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


FOLDER = Path(__file__).parents[2] / "train" / "recipes"
RECIPES = [path for path in sorted(FOLDER.glob("*.yaml")) if "model" in read_recipe(path)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_named_by_family(recipe):
    assert set(FAMILIES) - {"logistic"} <= {path.stem for path in RECIPES}  # which is for embeddings
    _, arguments = parse_arguments((DataArguments, BaselineArguments), ["--recipe", str(recipe)])
    assert arguments.model in FAMILIES
    assert recipe.stem.removeprefix("four-corpora-").startswith(arguments.model)
    assert arguments.smote == ("smote" in recipe.stem)
    assert recipe.read_text().startswith("# ")


def test_run_folder_is_not_replaced(corpus_dir, actor_run):
    assert run(corpus_dir, actor_run, "--model", "svm-textbook", "--folds", "0") == 2
    assert len(read_predictions(actor_run)) == 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "pitch,formants"], "formants"),
        (["--reference_run", "ACTOR_RUN"], "--protocol full"),
        (["--reference_run", "ACTOR_RUN", "--protocol", "full", "--model", "knn"], "svm-textbook"),
        (["--reference_run", "nowhere", "--protocol", "full"], "nowhere"),
        (["--importance_repeats", "-1"], "--importance_repeats"),
        (["--folds", "0,9"], "fold 9"),
        (["--folds", "first"], "--folds"),
        (["--corpora", "iemocap"], "iemocap"),
        (["--data_dir", "EMPTY"], "ravdess"),
    ],
)
def test_main_refuses_wrong_usage_in_one_line(corpus_dir, actor_run, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("ser_hf.corpora.download.fetch", pytest.fail)  # no test reaches for the network
    (tmp_path / "ravdess" / "Actor_01").mkdir(parents=True)
    places = {"ACTOR_RUN": str(actor_run), "EMPTY": str(tmp_path)}
    assert run(corpus_dir, tmp_path / "run", *[places.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
