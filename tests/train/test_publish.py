"""Publishing: what is sent, what is refused before anything is, and what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard, RepoCard
from safetensors.torch import load_file, save_file

from ser_hf import EmotionClassifier, load_corpus
from ser_hf.models.neural import save_neural
from ser_hf.models.scratch import create_from_scratch
from ser_hf.runs import finish_run, write_run_json
from tests.predictions import make_predictions, make_run, make_table
from tests.tiny_models import save_tiny_svm, save_tiny_whisper
from train import publish
from train.publishing.checks import CheckError, check_model
from train.publishing.describe import describe_model


def finished_run(folder: Path, seed: int = 0, **facts) -> Path:
    """A run on held-out speakers that has ended."""
    frame = make_predictions(make_table(), seed=seed)
    finish_run(make_run(folder, frame), [frame])
    write_run_json(folder, **{"protocol": "actor", "seconds": 3600.0, "processor": "a processor", "folds": []} | facts)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, Path]:
    """A whole model folder of each kind."""
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
    """A copy of the transformer's folder, to be spoilt."""
    return Path(shutil.copytree(models[0], tmp_path / "model"))


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


class TestChecks:
    def test_whole_folders_of_both_kinds_pass(self, models):
        for folder in models:
            check_model(folder)

    def test_the_bundled_models_pass(self):
        for folder in publish_ready():
            check_model(folder)

    def test_a_model_of_our_own_architecture_carries_the_code_that_runs_it(self, models, tmp_path, hub):
        torch.manual_seed(0)
        folder = save_neural(*create_from_scratch("cnn", window=4, hidden_size=16, num_layers=2), tmp_path / "cnn")
        evidence = models[0] / "evaluation" / "tiny-actor"
        describe_model(folder, [shutil.copytree(evidence, tmp_path / "cnn-actor")], "ser-cnn")
        assert publish.main(["--model", str(folder), "--repo", "alice/cnn"]) == 0
        files = hub.store.files("model", "alice/cnn")
        assert {"networks.py", "log_mel.py"} <= set(files)
        assert b"trust_remote_code=True" in files["README.md"]
        with (folder / "networks.py").open("a") as file:
            file.write("import os\n")
        with pytest.raises(CheckError, match=r"networks\.py is not the code of this version"):
            check_model(folder)

    def test_missing_weights(self, model):
        edit_weights(model, lambda weights: weights.pop("projector.weight"))
        with pytest.raises(CheckError, match=r"missing keys.*projector\.weight"):
            check_model(model)

    def test_unexpected_weights(self, model):
        edit_weights(model, lambda weights: weights.update({"other.weight": torch.zeros(3)}))
        with pytest.raises(CheckError, match=r"unexpected keys.*other\.weight"):
            check_model(model)

    @pytest.mark.parametrize("names", ["LABEL_{}", "{}", "class{}"])
    def test_labels_that_are_no_words(self, model, names):
        id2label = {str(index): names.format(index) for index in range(8)}
        edit_json(model / "config.json", id2label=id2label, label2id={name: int(i) for i, name in id2label.items()})
        with pytest.raises(CheckError, match=r"id2label"):
            check_model(model)

    def test_labels_in_another_order(self, model):
        id2label = json.loads((model / "config.json").read_text())["id2label"]
        turned = dict(zip(id2label, [*list(id2label.values())[1:], id2label["0"]], strict=True))
        edit_json(model / "config.json", id2label=turned, label2id={name: int(i) for i, name in turned.items()})
        with pytest.raises(CheckError, match=r"hears .* in example\.flac, where .* is known"):
            check_model(model)

    def test_weights_of_another_model(self, model, tmp_path):
        other = save_tiny_whisper(tmp_path / "other", seed=7)
        shutil.copyfile(other / "model.safetensors", model / "model.safetensors")
        with pytest.raises(CheckError, match="are these the weights"):
            check_model(model)

    def test_weights_that_are_not_numbers(self, model):
        edit_weights(model, lambda weights: weights["classifier.bias"].fill_(float("nan")))
        with pytest.raises(CheckError):
            check_model(model)

    def test_a_feature_extractor_that_only_the_stock_pipeline_takes_otherwise(self, model, monkeypatch):
        from train.publishing import checks

        stock = checks._stock_pipeline_scores

        def shifted(folder, samples):
            return stock(folder, samples[::-1].copy())

        monkeypatch.setattr(checks, "_stock_pipeline_scores", shifted)
        with pytest.raises(CheckError, match="the stock pipeline hears"):
            check_model(model)

    def test_figures_that_are_not_those_of_the_predictions(self, model):
        edit_json(model / "metrics.json", accuracy=0.99)
        with pytest.raises(CheckError, match="accuracy"):
            check_model(model)

    def test_predictions_that_are_not_those_of_the_figures(self, model):
        path = model / "evaluation" / "tiny-actor" / "predictions.parquet"
        frame = pd.read_parquet(path)
        frame.iloc[1:].to_parquet(path)
        with pytest.raises(CheckError):
            check_model(model)

    @pytest.mark.parametrize("name", ["example.flac", "example.json", "metrics.json", "evaluation", "config.json"])
    def test_what_is_missing_is_named(self, model, name):
        path = model / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(CheckError, match=name.replace(".", r"\.")):
            check_model(model)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"scores": 3}', '{"scores": {"happy": "high"}}'])
    def test_an_answer_that_is_none(self, model, content):
        (model / "example.json").write_text(content)
        with pytest.raises(CheckError, match=r"example\.json"):
            check_model(model)


def publish_ready() -> list[Path]:
    return [Path("models/ser-whisper"), Path("models/ser-svm")]


@pytest.fixture
def everything(models, corpus_dir) -> list[str]:
    whisper, svm = map(str, models)
    return [
        *("--model", whisper, "--repo", "alice/tiny", "--baseline", svm, "--space", "alice/page"),
        *("--dataset", "alice/folds", "--data_dir", str(corpus_dir)),
    ]


REPOSITORIES = [
    ("model", "alice/tiny"),
    ("model", "alice/tiny-baseline"),
    ("dataset", "alice/folds"),
    ("space", "alice/page"),
]


class TestPublish:
    def test_everything_is_there_by_one_commit_each_and_again_by_none(self, hub, everything, models, capsys):
        assert publish.main(everything) == 0
        assert capsys.readouterr().out.count(": commit ") == 4
        newest = {}
        for repo_type, repo_id in REPOSITORIES:
            commits = hub.store.commits(repo_type, repo_id)
            assert len(commits) == 2  # made, and filled
            newest[repo_id] = commits[0]["oid"]
        files = hub.store.files("model", "alice/tiny")
        del files[".gitattributes"], files["README.md"]
        assert files == {
            path.relative_to(models[0]).as_posix(): path.read_bytes()
            for path in models[0].rglob("*")
            if path.is_file() and path.name != "README.md"
        }
        space = hub.store.files("space", "alice/page")["space.py"].decode()
        assert f"alice/tiny@{newest['alice/tiny']}" in space
        assert f"alice/tiny-baseline@{newest['alice/tiny-baseline']}" in space
        assert publish.main(everything) == 0
        assert capsys.readouterr().out.count("nothing sent") == 4
        assert {repo_id: hub.store.commits(kind, repo_id)[0]["oid"] for kind, repo_id in REPOSITORIES} == newest

    def test_what_comes_back_answers_as_what_was_sent(self, hub, everything, models, corpus_dir):
        assert publish.main(everything) == 0
        clip = models[0] / "example.flac"
        for name, folder in (("alice/tiny", models[0]), ("alice/tiny-baseline", models[1])):
            expected = EmotionClassifier.from_pretrained(folder).predict(clip).scores
            assert EmotionClassifier.from_pretrained(name).predict(clip).scores == expected
        table = load_corpus("ravdess", corpus_dir, folds="alice/folds")
        assert table.num_rows == 192
        assert table["actor_test"][0] == 4

    def test_the_cards_name_the_repositories(self, hub, everything):
        assert publish.main(everything) == 0
        card = ModelCard.load("alice/tiny")
        assert 'model="alice/tiny"' in card.text
        assert "alice/tiny-baseline" in card.text
        assert card.data.base_model == "openai/whisper-base"
        assert "alice/folds" in card.data.datasets
        space = RepoCard.load("alice/page", repo_type="space")
        assert set(space.data.models) == {"alice/tiny", "alice/tiny-baseline"}

    def test_a_dry_run_sends_nothing_and_needs_no_token(self, hub, everything, tmp_path, capsys, as_user):
        as_user(None)
        assert publish.main([*everything, "--dry_run", "--output", str(tmp_path / "kept")]) == 0
        out = capsys.readouterr().out
        for repo_type, repo_id in REPOSITORIES:
            assert f"{repo_type} {repo_id}:" in out
        assert "model.safetensors" in out
        assert not hub.requests
        assert (tmp_path / "kept" / "model" / "model.safetensors").is_file()
        assert (tmp_path / "kept" / "space" / "space.py").is_file()

    def test_what_is_no_part_of_a_model_stays_at_home(self, hub, model, capsys):
        (model / "checkpoint-5").mkdir()
        for name in (
            "training_args.bin",
            "optimizer.pt",
            "pytorch_model.bin",
            "checkpoint-5/model.safetensors",
            ".env",
        ):
            (model / name).write_bytes(b"secret")
        assert publish.main(["--model", str(model), "--repo", "alice/tiny"]) == 0
        files = hub.store.files("model", "alice/tiny")
        assert b"secret" not in files.values()
        assert "training_args.bin is not part of a published model" in capsys.readouterr().out

    def test_what_another_program_left_is_cleared_away(self, hub, model):
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo("alice/tiny")
        for name in ("training_args.bin", "pytorch_model.bin", "checkpoint-5/optimizer.pt", "notes.md"):
            api.upload_file(path_or_fileobj=b"old", path_in_repo=name, repo_id="alice/tiny")
        assert publish.main(["--model", str(model), "--repo", "alice/tiny"]) == 0
        files = hub.store.files("model", "alice/tiny")
        assert "notes.md" in files
        assert not {"training_args.bin", "pytorch_model.bin", "checkpoint-5/optimizer.pt"} & set(files)

    def test_a_folder_that_is_refused_sends_nothing(self, hub, model, everything, capsys):
        edit_json(model / "metrics.json", accuracy=0.99)
        assert publish.main(["--model", str(model), *everything[2:]]) == 2
        assert "accuracy" in capsys.readouterr().err
        assert [path for _, path in hub.requests] == ["/api/whoami-v2"]

    def test_private_repositories_are_hidden_and_the_space_is_told_to_ask(self, hub, everything, capsys, as_user):
        assert publish.main([*everything, "--private"]) == 0
        assert "secret HF_TOKEN" in capsys.readouterr().out
        as_user(None)
        from huggingface_hub import HfApi

        assert not any(HfApi().repo_exists(repo_id, repo_type=kind) for kind, repo_id in REPOSITORIES)

    def test_a_pull_request_leaves_the_repository_as_it_was(self, hub, model, capsys, as_user):
        assert publish.main(["--model", str(model), "--repo", "alice/tiny"]) == 0
        before = hub.store.files("model", "alice/tiny")
        as_user("bob")
        (model / "evaluation" / "tiny-actor" / "speakers.png").write_bytes(b"another picture")
        command = ["--model", str(model), "--repo", "alice/tiny", "--create_pr"]
        assert publish.main(command) == 0
        assert "/alice/tiny/discussions/1" in capsys.readouterr().out
        assert hub.store.files("model", "alice/tiny") == before
        assert publish.main(command) == 0
        assert "nothing sent" in capsys.readouterr().out

    def test_a_connection_that_breaks_is_said_and_the_next_run_finishes(self, hub, everything, capsys):
        hub.break_uploads(after_bytes=1000)
        assert publish.main(everything) == 1
        assert "same command again" in capsys.readouterr().err
        assert not hub.store.exists("space", "alice/page")
        hub.mend()
        assert publish.main(everything) == 0
        assert hub.store.exists("space", "alice/page")

    def test_a_figure_of_another_run_may_be_added(self, hub, model, tmp_path):
        facts = {"command": "train.finetune", "model": "whisper", "arguments": {"corpora": "ravdess"}}
        other = finished_run(tmp_path / "tiny-random", seed=1, protocol="random", **facts)
        assert publish.main(["--model", str(model), "--repo", "alice/tiny", "--runs", str(other)]) == 0
        assert "evaluation/tiny-random/predictions.parquet" in hub.store.files("model", "alice/tiny")
        results = ModelCard.load("alice/tiny").data.eval_results
        assert len({result.dataset_name for result in results}) == 2


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "nothing to publish"),
            (["--model", "MODEL"], "--repo"),
            (["--repo", "alice/tiny"], "nothing to publish"),
            (["--model", "MODEL", "--repo", "alice/tiny", "--space", "alice/page"], "--baseline"),
            (["--baseline", "MODEL", "--dataset", "alice/folds"], "--baseline goes with --model"),
            (["--model", "no/such/folder", "--repo", "alice/tiny"], "no/such/folder is no model folder"),
        ],
    )
    def test_what_does_not_fit_together_is_said(self, models, arguments, words, capsys, hub):
        assert publish.main([str(models[0]) if part == "MODEL" else part for part in arguments]) == 2
        assert words in capsys.readouterr().err
        assert not hub.requests

    def test_without_a_token_nothing_is_even_checked(self, hub, models, capsys, as_user):
        as_user(None)
        assert publish.main(["--model", str(models[0]), "--repo", "alice/tiny"]) == 1
        captured = capsys.readouterr()
        assert "hf auth login" in captured.err
        assert "Checking" not in captured.out
