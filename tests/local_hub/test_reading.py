"""What is told of repositories: lists, info, history, folders."""

import pytest
from huggingface_hub import RepoFolder
from huggingface_hub.errors import EntryNotFoundError

from tests.local_hub.steps import WEIGHTS, commit


def test_history_of_more_than_a_page(alice, model):
    for number in range(50):
        commit(alice, {"n.txt": str(number).encode()})
    commits = alice.list_repo_commits(model)
    assert len(commits) == 52
    assert (commits[0].title, commits[0].authors, commits[-1].title) == ("Add n.txt", ["alice"], "initial commit")


def test_what_is_told_of_each_kind_of_repository(alice, model):
    info = alice.model_info(model, files_metadata=True)
    assert (info.id, info.author, info.pipeline_tag, info.card_data.license) == (
        model, "alice", "audio-classification", "mit")  # fmt: skip
    assert {"speech", "license:mit", "audio-classification"} <= set(info.tags)
    weights = next(file for file in info.siblings if file.rfilename == "model.safetensors")
    assert (weights.size, weights.lfs.size) == (len(WEIGHTS), len(WEIGHTS))
    assert alice.model_info(model, expand=["sha"]).siblings is None
    alice.create_repo("alice/data", repo_type="dataset")
    alice.create_repo("alice/page", repo_type="space", space_sdk="gradio", private=True)
    assert alice.dataset_info("alice/data").sha
    space = alice.space_info("alice/page")
    assert (space.sdk, space.private) == ("gradio", True)
    assert alice.get_space_runtime("alice/page").stage == "STOPPED"


def test_repositories_are_listed_page_by_page(hub, alice, model):
    hub.access.tree_page = 2
    for name in ("alice/one", "alice/two", "lab/model-2"):
        alice.create_repo(name)
    assert [info.id for info in alice.list_models()] == ["alice/model", "alice/one", "alice/two", "lab/model-2"]
    assert [info.id for info in alice.list_models(author="alice", limit=1)] == ["alice/model"]
    assert [info.id for info in alice.list_models(search="MODEL")] == ["alice/model", "lab/model-2"]
    assert [info.id for info in alice.list_models(filter="speech")] == ["alice/model"]


def test_tree_by_folder_and_page_by_page(hub, alice, model):
    commit(alice, {f"plots/deep/{number}.txt": b"x" for number in range(5)})
    hub.access.tree_page = 2
    assert [entry.path for entry in alice.list_repo_tree(model)] == [
        "plots", ".gitattributes", "README.md", "model.safetensors"]  # fmt: skip
    assert [entry.path for entry in alice.list_repo_tree(model, "plots")] == ["plots/deep", "plots/note.txt"]
    assert len(list(alice.list_repo_tree(model, "plots", recursive=True))) == 7
    assert len(alice.list_repo_files(model)) == 9
    expanded = {entry.path: entry.last_commit.title for entry in alice.list_repo_tree(model, "plots", expand=True)}
    assert expanded["plots/deep"].startswith("Add plots/deep/0.txt")
    assert expanded["plots/note.txt"].startswith("Add README.md")
    with pytest.raises(EntryNotFoundError):
        list(alice.list_repo_tree(model, "nothing"))


def test_paths_are_described_and_unknown_ones_left_out(alice, model):
    folder, file = alice.get_paths_info(model, ["plots", "nothing", "plots/note.txt"], expand=True)
    assert isinstance(folder, RepoFolder)
    assert (file.path, file.size, file.security.safe) == ("plots/note.txt", 5, True)
    assert alice.file_exists(model, "README.md")
    assert not alice.file_exists(model, "readme.md")
