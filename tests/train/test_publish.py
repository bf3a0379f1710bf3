"""Publishing: what is sent, what is refused before anything is sent, and what a second run does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from ser_hf import EmotionClassifier, load_corpus
from ser_hf.evaluation.runs import finish_run, write_run_json
from ser_hf.models.neural import save_neural
from ser_hf.models.scratch import create_from_scratch
from tests.predictions import make_predictions, make_run, make_table
from tests.tiny_models import save_tiny_svm, save_tiny_whisper
from train import publish
from train.publishing import model as checks
from train.publishing.model import CheckError, check_model, describe_model

REPOSITORIES = [
    *(("model", "alice/tiny"), ("model", "alice/tiny-baseline")),
    *(("dataset", "alice/folds"), ("space", "alice/page")),
]
BUNDLED = [Path("models/ser-whisper"), Path("models/ser-svm")]


def finished_run(folder: Path, seed: int = 0, **facts) -> Path:
    """A run on held-out speakers that has ended."""
    frame = make_predictions(make_table(), seed=seed)
    finish_run(make_run(folder, frame), [frame])
    write_run_json(folder, **{"protocol": "actor", "seconds": 3600.0, "processor": "a processor", "folds": []} | facts)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, Path]:
    """A complete model folder of each kind."""
    root, runs = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("runs")
    whisper, svm = save_tiny_whisper(root / "whisper"), save_tiny_svm(root / "svm")
    arguments = {"corpora": "ravdess", "base_model": "copy/of/it", "base_model_id": "openai/whisper-base"}
    tuned = finished_run(runs / "tiny-actor", command="train.finetune", model="whisper", arguments=arguments)
    fitted = finished_run(runs / "svm-actor", command="train.baseline", model="svm", arguments={"corpora": "ravdess"})
    describe_model(whisper, [tuned], "ser-tiny")
    describe_model(svm, [fitted], "ser-svm")
    return whisper, svm


@pytest.fixture
def model(models, tmp_path) -> Path:
    """A copy of the transformer's folder, to be changed."""
    return Path(shutil.copytree(models[0], tmp_path / "model"))


@pytest.fixture
def everything(models, corpus_dir) -> list[str]:
    """The arguments that publish all four repositories."""
    whisper, svm = map(str, models)
    return [
        *("--model", whisper, "--repo", "alice/tiny", "--baseline", svm, "--space", "alice/page"),
        *("--dataset", "alice/folds", "--data_dir", str(corpus_dir)),
    ]


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rename_labels(folder: Path, rename) -> None:
    names = json.loads((folder / "config.json").read_text())["id2label"]
    id2label = dict(zip(names, rename(list(names.values())), strict=True))
    label2id = {name: int(index) for index, name in id2label.items()}
    edit_json(folder / "config.json", id2label=id2label, label2id=label2id)


def edit_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_a_prediction(folder: Path) -> None:
    path = folder / "evaluation" / "tiny-actor" / "predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)


def newest(hub) -> list[str]:
    return [hub.store.commits(*repository)[0]["oid"] for repository in REPOSITORIES]


def test_check_model_accepts_complete_folders(models):
    for folder in (*models, *BUNDLED):
        check_model(folder)


# What is wrong with a folder, and what the message must name.
FAULTS = {
    "missing weights": (
        lambda folder: edit_weights(folder, lambda weights: weights.pop("projector.weight")),
        "projector",
    ),
    "unexpected weights": (
        lambda folder: edit_weights(folder, lambda weights: weights.update(new=torch.zeros(3))),
        "new",
    ),
    "weights of another model": (
        lambda folder: shutil.copy(save_tiny_whisper(folder / "other", seed=7) / "model.safetensors", folder),
        r"example\.flac.*weights",
    ),
    "weights that are NaN": (
        lambda folder: edit_weights(folder, lambda weights: weights["classifier.bias"].fill_(float("nan"))),
        "",
    ),
    "labels of no words": (
        lambda folder: rename_labels(folder, lambda names: [f"LABEL_{i}" for i in range(8)]),
        "id2label",
    ),
    "labels in another order": (lambda folder: rename_labels(folder, lambda names: [*names[1:], names[0]]), "example"),
    "other figures": (lambda folder: edit_json(folder / "metrics.json", accuracy=0.99), "accuracy"),
    "other predictions": (drop_a_prediction, "predictions"),
    "an empty answer": (lambda folder: (folder / "example.json").write_text(""), r"example\.json"),
    "an answer of no scores": (lambda folder: (folder / "example.json").write_text('{"scores": 3}'), r"example\.json"),
    "foreign code": (lambda folder: (folder / "networks.py").write_text("import os"), r"networks\.py"),
    "no example": (lambda folder: (folder / "example.flac").unlink(), r"example\.flac"),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"config\.json"),
    "no evaluation": (lambda folder: shutil.rmtree(folder / "evaluation"), "evaluation"),
}


@pytest.mark.parametrize(("spoil", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_check_model_refuses_and_names(model, spoil, named):
    spoil(model)
    with pytest.raises(CheckError, match=named):
        check_model(model)


def test_check_model_compares_with_the_stock_pipeline(model, monkeypatch):
    stock = checks._stock_pipeline_scores
    monkeypatch.setattr(checks, "_stock_pipeline_scores", lambda folder, samples: stock(folder, samples[::-1].copy()))
    with pytest.raises(CheckError, match="the stock pipeline"):
        check_model(model)


def test_publish_sends_everything_once(hub, everything, models, corpus_dir, capsys):
    everything = [*everything, "--private"]
    assert publish.main(everything) == 0
    assert "HF_TOKEN" in capsys.readouterr().out  # which the Space needs
    assert all(hub.store.get(*repository).private for repository in REPOSITORIES)
    commits = newest(hub)
    assert [len(hub.store.commits(*repository)) for repository in REPOSITORIES] == [2] * 4  # made, and filled
    files = hub.store.files("model", "alice/tiny")
    del files[".gitattributes"], files["README.md"]
    sent = [path for path in models[0].rglob("*") if path.is_file() and path.name != "README.md"]
    assert files == {path.relative_to(models[0]).as_posix(): path.read_bytes() for path in sent}
    start = hub.store.files("space", "alice/page")["space.py"].decode()
    assert f"alice/tiny@{commits[0]}" in start
    assert f"alice/tiny-baseline@{commits[1]}" in start
    for name, folder in zip(("alice/tiny", "alice/tiny-baseline"), models, strict=True):
        clip = folder / "example.flac"
        expected = EmotionClassifier.from_pretrained(folder).predict(clip).scores
        assert EmotionClassifier.from_pretrained(name).predict(clip).scores == expected
    assert load_corpus("ravdess", corpus_dir, folds="alice/folds")["actor_test"][0] == 4
    card = ModelCard.load("alice/tiny")
    assert 'model="alice/tiny"' in card.text
    assert "alice/tiny-baseline" in card.text
    assert card.data.base_model == "openai/whisper-base"
    assert "alice/folds" in card.data.datasets
    hub.requests.clear()
    assert publish.main(everything) == 0
    assert not [path for method, path in hub.requests if method == "PUT" or "/commit/" in path]
    assert newest(hub) == commits


def test_publish_dry_run_needs_no_token_and_sends_nothing(hub, everything, tmp_path, capsys, as_user):
    as_user(None)
    assert publish.main([*everything, "--dry_run", "--output", str(tmp_path / "kept")]) == 0
    out = capsys.readouterr().out
    assert all(f"{repo_type} {repo_id}:" in out for repo_type, repo_id in REPOSITORIES)
    assert "model.safetensors" in out
    assert not hub.requests
    for name in ("model/model.safetensors", "baseline/pipeline.skops", "dataset/README.md", "space/space.py"):
        assert (tmp_path / "kept" / name).is_file()


def test_publish_leaves_out_and_deletes_training_states(hub, model, capsys):
    (model / "checkpoint-5").mkdir()
    states = ["training_args.bin", "optimizer.pt", "pytorch_model.bin", "checkpoint-5/rng_state.pth"]
    for name in (*states, ".env"):
        (model / name).write_bytes(b"secret")
    hub.store.create("model", "alice/tiny")
    hub.store.add("model", "alice/tiny", dict.fromkeys([*states, "notes.md"], b"old"))
    assert publish.main(["--model", str(model), "--repo", "alice/tiny"]) == 0
    files = hub.store.files("model", "alice/tiny")
    assert b"secret" not in files.values()
    assert [name for name, content in files.items() if content == b"old"] == ["notes.md"]
    assert "training_args.bin" in capsys.readouterr().out


def test_publish_sends_nothing_when_a_check_fails(hub, model, everything, capsys):
    edit_json(model / "metrics.json", accuracy=0.99)
    assert publish.main(["--model", str(model), *everything[2:]]) == 2
    assert "accuracy" in capsys.readouterr().err
    assert [path for _, path in hub.requests] == ["/api/whoami-v2"]


def test_publish_adds_figures_of_other_runs(hub, model, tmp_path):
    facts = {"command": "train.finetune", "model": "whisper", "arguments": {"corpora": "ravdess"}}
    other = finished_run(tmp_path / "tiny-random", seed=1, protocol="random", **facts)
    assert publish.main(["--model", str(model), "--repo", "alice/tiny", "--runs", str(other)]) == 0
    assert "evaluation/tiny-random/predictions.parquet" in hub.store.files("model", "alice/tiny")
    assert len({result.dataset_name for result in ModelCard.load("alice/tiny").data.eval_results}) == 2


def test_publish_sends_the_code_of_own_architectures(models, tmp_path, hub):
    torch.manual_seed(0)
    folder = save_neural(*create_from_scratch("cnn", window=4, hidden_size=16, num_layers=2), tmp_path / "cnn")
    evidence = models[0] / "evaluation" / "tiny-actor"
    describe_model(folder, [shutil.copytree(evidence, tmp_path / "cnn-actor")], "ser-cnn")
    assert publish.main(["--model", str(folder), "--repo", "alice/cnn"]) == 0
    files = hub.store.files("model", "alice/cnn")
    assert "networks.py" in files
    assert b"trust_remote_code=True" in files["README.md"]


def test_publish_refuses_arguments_that_do_not_fit(models, capsys, hub):
    model = ["--model", str(models[0])]
    for arguments, named in (
        ([], "--model"),
        (model, "--repo"),
        (["--repo", "alice/tiny"], "--model"),
        ([*model, "--repo", "alice/tiny", "--space", "alice/page"], "--baseline"),
        (["--baseline", str(models[1]), "--dataset", "alice/folds"], "--baseline"),
        (["--model", "no/such/folder", "--repo", "alice/tiny"], "no/such/folder"),
        ([*model, "--repo", "alice/tiny", "--output", f"{models[0]}/config.json"], "config.json"),
    ):
        assert publish.main(arguments) == 2
        assert named in capsys.readouterr().err
    assert not hub.requests


def test_publish_asks_for_a_token_before_checking(hub, models, capsys, as_user):
    as_user(None)
    assert publish.main(["--model", str(models[0]), "--repo", "alice/tiny"]) == 1
    captured = capsys.readouterr()
    assert "hf auth login" in captured.err
    assert not captured.out
