import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from ser_hf.corpora import load_corpus
from ser_hf.feature_table import extract_table
from ser_hf.features import _feature_names, _opensmile
from ser_hf.labels import LABELS
from ser_hf.models.classical import load_classical
from ser_hf.models.families import FAMILIES
from ser_hf.runs import read_predictions
from ser_hf.splits import make_folds
from tests.corpora.trees import make_emodb
from train.arguments import parse_arguments, read_recipe
from train.baseline import BaselineArguments, fit_fold, main
from train.common import DataArguments


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_HF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(corpus_dir, folder, *arguments, features="zcr,spectral"):
    fixed = ["--data_dir", corpus_dir, "--output_dir", folder, "--n_jobs", 1, "--features", features]
    return main([str(word) for word in [*fixed, *arguments]])


@pytest.fixture(scope="module")
def actor_run(corpus_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "textbook-actor"
    assert run(corpus_dir, folder, "--model", "svm-textbook") == 0
    return folder


def test_run_folder_answers_every_clip_once_and_says_how_it_was_made(actor_run):
    frame = read_predictions(actor_run)
    assert len(frame) == frame["clip"].nunique() == 24 * 8
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.4
    record = json.loads((actor_run / "run.json").read_text())
    assert (record["protocol"], record["model"], record["seed"]) == ("actor", "svm-textbook", 0)
    assert record["arguments"]["features"] == "zcr,spectral"
    assert [fold["index"] for fold in record["folds"]] == [0, 1, 2, 3, 4]
    assert all(fold["temperature"] > 0 for fold in record["folds"])
    assert all(1 / 8 <= fold["answer_threshold"] <= 1 for fold in record["folds"])
    config = json.loads((actor_run / "fold0" / "model" / "config.json").read_text())
    assert config["answer_threshold"] == record["folds"][0]["answer_threshold"]
    assert len(record["corpus_fingerprint"]) == 16
    metrics = json.loads((actor_run / "metrics.json").read_text())
    assert metrics["accuracy"] == pytest.approx((frame["emotion"] == frame["predicted"]).mean())
    assert list((actor_run / "plots").iterdir())


def test_figures_of_each_fold_and_of_all_are_printed(corpus_dir, tmp_path, capsys):
    assert run(corpus_dir, tmp_path / "run", "--model", "decision-tree", "--folds", "0,3") == 0
    printed = capsys.readouterr().out
    assert "Fold 0: cross-validation 0." in printed
    assert "Fold 3: cross-validation 0." in printed
    assert "max_depth" in printed
    assert "accuracy, mean over 2 folds 0." in printed
    assert set(read_predictions(tmp_path / "run")["fold"]) == {0, 3}


def test_same_seed_gives_the_same_predictions(corpus_dir, tmp_path):
    frames = []
    for name in ("a", "b"):
        assert run(corpus_dir, tmp_path / name, "--model", "decision-tree", "--folds", "1", "--no_cache") == 0
        frames.append(read_predictions(tmp_path / name))
    assert frames[0].equals(frames[1])


def make_random_table(n_speakers=24, n_clips=1):
    """A clip table of all actors without any sound, for what looks at its rows alone."""
    rows = [
        (f"{speaker:02d}", label) for speaker in range(1, n_speakers + 1) for label in LABELS for _ in range(n_clips)
    ]
    columns = {
        "clip": [f"{index:04d}" for index in range(len(rows))],
        "corpus": ["ravdess"] * len(rows),
        "speaker": [speaker for speaker, _ in rows],
        "emotion": [LABELS.index(label) for _, label in rows],
    }
    kinds = Features({name: Value("string") for name in columns} | {"emotion": ClassLabel(names=list(LABELS))})
    return Dataset.from_dict(columns, features=kinds)


@pytest.mark.parametrize(("protocol", "smote"), [("actor", False), ("loao", False), ("actor", True)])
def test_nothing_of_the_test_speakers_reaches_the_model(protocol, smote):
    if smote:
        pytest.importorskip("imblearn")
    table = make_random_table()
    fold = make_folds(table, protocol)[2]
    rng = np.random.default_rng(0)
    arguments = BaselineArguments(model="decision-tree", features="zcr", n_jobs=1, smote=smote)
    features = extract_table([rng.normal(0, 0.1, 8000)] * 2, arguments.groups, n_jobs=1, progress=False)
    rows = rng.normal(size=(len(table), features.shape[1])) + np.array(table["emotion"])[:, None]
    features = features.reindex(range(len(table))).assign(**dict(zip(features.columns, rows.T, strict=True)))
    changed = features.copy()
    changed.iloc[fold.test] = 1e6 * rng.normal(size=(len(fold.test), features.shape[1]))
    probe = features.iloc[fold.test]
    first, second = (fit_fold(table, part, fold, protocol, arguments)[0] for part in (features, changed))
    np.testing.assert_array_equal(first.predict_features(probe), second.predict_features(probe))
    changed.iloc[fold.validation] = 1e6
    third = fit_fold(table, changed, fold, protocol, arguments)[0]
    assert not np.array_equal(first.predict_features(probe), third.predict_features(probe))  # validation clips train


def test_random_protocol_needs_more_than_one_clip_of_each_label_only():
    table = make_random_table(n_speakers=1, n_clips=4)
    fold = make_folds(table, "full")[0]
    arguments = BaselineArguments(model="svm-textbook", features="zcr", n_jobs=1)
    features = extract_table([np.zeros(8000)], arguments.groups, n_jobs=1, progress=False)
    rows = np.random.default_rng(0).normal(size=(len(table), features.shape[1]))
    features = features.reindex(range(len(table))).assign(**dict(zip(features.columns, rows.T, strict=True)))
    _, record = fit_fold(table, features, fold, "random", arguments)
    assert record["temperature"] > 0


def test_importance_of_each_group_on_the_tested_clips_is_written(actor_run):
    record = json.loads((actor_run / "importance.json").read_text())
    assert record["repeats"] == 5
    assert set(record["groups"]) == {"zcr", "spectral"}
    drops = [group["drop"] for group in record["groups"].values()]
    assert drops == sorted(drops, reverse=True)
    for group in record["groups"].values():
        assert [fold["fold"] for fold in group["folds"]] == [0, 1, 2, 3, 4]
        assert group["drop"] == pytest.approx(np.mean([fold["drop"] for fold in group["folds"]]))
        assert group["deviation"] == pytest.approx(np.std([fold["drop"] for fold in group["folds"]]))
    assert record["groups"]["spectral"]["drop"] > 0.1
    assert json.loads((actor_run / "run.json").read_text())["arguments"]["importance_repeats"] == 5


def test_importance_can_be_left_out(corpus_dir, tmp_path):
    options = ["--model", "decision-tree", "--folds", "1", "--importance_repeats", "0"]
    assert run(corpus_dir, tmp_path / "run", *options) == 0
    assert not (tmp_path / "run" / "importance.json").exists()


def test_training_clips_that_lack_emotions_are_enough_and_those_are_never_answered(corpus_dir, tmp_path):
    data_dir = tmp_path / "data"
    shutil.copytree(corpus_dir, data_dir)
    table = load_corpus("ravdess", data_dir)
    tested_first = set(make_folds(table, "actor")[0].test)
    names = table.features["emotion"].names
    for row, source in enumerate(table["audio"]):
        if row not in tested_first and names[table["emotion"][row]] in ("disgust", "surprised"):
            os.remove(source["path"])
    options = ["--model", "decision-tree", "--folds", "0"]
    assert run(data_dir, tmp_path / "run", *options) == 0
    frame = read_predictions(tmp_path / "run")
    assert {"disgust", "surprised"} <= set(frame["emotion"])
    assert not {"disgust", "surprised"} & set(frame["predicted"])
    assert (frame[["p_disgust", "p_surprised"]] == 0).all(axis=None)
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.3


def test_corpus_of_fewer_emotions_trains_a_model_that_is_tested_on_another(corpus_dir, tmp_path):
    data_dir = tmp_path / "data"
    make_emodb(data_dir / "emodb", texts=("a01", "a02"), seconds=3.0)
    (data_dir / "ravdess").symlink_to(corpus_dir / "ravdess")
    options = ["--protocol", "cross", "--train_corpora", "emodb", "--test_corpora", "ravdess"]
    assert run(data_dir, tmp_path / "run", *options) == 0
    frame = read_predictions(tmp_path / "run")
    assert set(frame["corpus"]) == {"ravdess"}
    assert not {"calm", "surprised"} & (set(frame["emotion"]) | set(frame["predicted"]))
    assert (frame[["p_calm", "p_surprised"]] == 0).all(axis=None)
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.3
    assert (tmp_path / "run" / "importance.json").is_file()


@pytest.mark.parametrize("family", ["decision-tree", "gradient-boosting"])
def test_trees_make_a_model_folder_too(corpus_dir, tmp_path, family):
    assert run(corpus_dir, tmp_path / "full", "--model", family, "--protocol", "full") == 0
    model = load_classical(tmp_path / "full" / "model")
    assert model.config["family"] == family
    table = load_corpus("ravdess", corpus_dir)
    features = extract_table(table["audio"], ["zcr", "spectral"], n_jobs=1, progress=False)
    answers = model.predict_features(features).argmax(axis=1)
    assert (answers == np.array(table["emotion"])).mean() > 0.5


def test_synthetic_clips_are_for_training_only(corpus_dir, tmp_path):
    pytest.importorskip("imblearn")
    assert run(corpus_dir, tmp_path / "run", "--model", "knn", "--folds", "0", "--smote") == 0
    frame = read_predictions(tmp_path / "run")
    assert len(frame) == 5 * 8  # the clips of five actors, and nothing that was made of them
    assert json.loads((tmp_path / "run" / "run.json").read_text())["arguments"]["smote"] is True


def test_group_whose_package_is_missing_is_refused_with_its_licence(corpus_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    for function in (_opensmile, _feature_names):
        function.cache_clear()
    assert run(corpus_dir, tmp_path / "run", features="egemaps") == 2
    error = capsys.readouterr().err
    assert "pip install -r requirements-egemaps.txt" in error
    assert "non-commercial" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


FOLDER = Path(__file__).parents[2] / "train" / "recipes"
RECIPES = [path for path in sorted(FOLDER.glob("*.yaml")) if "model" in read_recipe(path)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_name_a_family_and_say_why(recipe):
    _, arguments = parse_arguments((DataArguments, BaselineArguments), ["--recipe", str(recipe)])
    assert arguments.model in FAMILIES
    assert recipe.stem.removeprefix("four-corpora-").startswith(arguments.model)
    assert arguments.smote == ("smote" in recipe.stem)
    assert recipe.read_text().startswith("# ")


def test_every_family_has_a_recipe():
    assert set(FAMILIES) <= {path.stem for path in RECIPES}


def test_full_protocol_writes_a_model_folder_with_card_and_figures(corpus_dir, actor_run, tmp_path):
    options = ["--model", "svm-textbook", "--protocol", "full", "--reference_run", actor_run]
    assert run(corpus_dir, tmp_path / "full", *options) == 0
    folder = tmp_path / "full" / "model"
    names = {"README.md", "config.json", "evaluation", "example.flac", "example.json", "metrics.json", "pipeline.skops"}
    assert {path.name for path in folder.iterdir()} == names
    published = json.loads((folder / "metrics.json").read_text())
    assert published == {
        "corpora": ["ravdess"],
        "protocol": "actor",
        **json.loads((actor_run / "metrics.json").read_text()),
    }
    assert "ser-svm-textbook" in (folder / "README.md").read_text()
    model = load_classical(folder)
    assert model.config["feature_groups"] == ["zcr", "spectral"]
    table = load_corpus("ravdess", corpus_dir)
    features = extract_table(table["audio"], ["zcr", "spectral"], n_jobs=1, progress=False)
    answers = model.predict_features(features).argmax(axis=1)
    assert (answers == np.array(table["emotion"])).mean() > 0.5
    assert not (tmp_path / "full" / "predictions.parquet").exists()


def test_run_folder_that_exists_is_refused_or_replaced(corpus_dir, actor_run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(actor_run, folder)
    options = ["--model", "svm-textbook", "--folds", "0"]
    assert run(corpus_dir, folder, *options) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert len(read_predictions(folder)) == 24 * 8
    assert run(corpus_dir, folder, *options, "--overwrite_output_dir") == 0
    assert set(read_predictions(folder)["fold"]) == {0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "pitch,formants"], "no group 'formants'; there are: pitch"),
        (["--reference_run", "ACTOR_RUN"], "--reference_run goes with --protocol full"),
        (["--reference_run", "ACTOR_RUN", "--protocol", "full", "--model", "knn"], "a run of svm-textbook, not of knn"),
        (["--reference_run", "nowhere", "--protocol", "full"], "cannot read nowhere"),
        (["--importance_repeats", "-1"], "--importance_repeats is 0 or more, not -1"),
        (["--folds", "0,9"], "has no fold 9"),
        (["--folds", "first"], "whole numbers"),
        (["--corpora", "iemocap"], "iemocap"),
        (["--data_dir", "EMPTY"], "ravdess"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    corpus_dir, actor_run, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.setattr("ser_hf.corpora.download.fetch", pytest.fail)  # no test reaches for the network
    (tmp_path / "ravdess").mkdir()
    (tmp_path / "ravdess" / "Actor_01").mkdir()
    places = {"ACTOR_RUN": str(actor_run), "EMPTY": str(tmp_path)}
    folder = tmp_path / "run"
    assert run(corpus_dir, folder, *[places.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert not folder.exists()


@pytest.mark.slow
def test_svm_on_real_clips_of_unseen_actors(real_data, tmp_path):
    folder = tmp_path / "run"
    groups = "energy,zcr,spectral,covariance"
    assert main(["--data_dir", str(real_data), "--output_dir", str(folder), "--folds", "0", "--features", groups]) == 0
    frame = read_predictions(folder)
    assert sorted(frame["speaker"].unique()) == ["02", "05", "14", "15", "16"]
    assert (frame["emotion"] == frame["predicted"]).mean() > 0.45
