"""Commits, branches and tags."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

from tests.local_hub.steps import CARD, WEIGHTS, commit, status


def test_ids_are_gits_own(alice, tmp_path):
    """Real git, given the same files, makes the same blobs, trees and commit."""
    alice.create_repo("alice/new")
    files = {"b.txt": b"b\n", "a/x.txt": b"x\n", "a.txt": b"a\n", "a/c/deep.txt": b"deep\n", "a0": b""}
    oid = commit(alice, files, "alice/new").oid
    folder = Path(alice.snapshot_download("alice/new", local_dir=tmp_path / "copy"))

    def git(*arguments: str, **variables: str) -> str:
        command = ["git", "-c", "core.autocrlf=false", *arguments]
        return subprocess.run(
            command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "--quiet")
    git("add", *files, ".gitattributes")
    tree = git("write-tree")
    entries = {entry.path: entry for entry in alice.list_repo_tree("alice/new", recursive=True)}
    assert entries["a"].tree_id == git("rev-parse", f"{tree}:a")
    assert entries["a/c/deep.txt"].blob_id == git("rev-parse", f"{tree}:a/c/deep.txt")
    done, first = alice.list_repo_commits("alice/new")
    when = f"{int(done.created_at.timestamp())} +0000"
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in (
        ("NAME", "alice"), ("EMAIL", "alice@users.noreply.huggingface.co"), ("DATE", when))}  # fmt: skip
    head = f"tree {tree}\nparent {first.commit_id}\n"
    name = f"{who['GIT_AUTHOR_NAME']} <{who['GIT_AUTHOR_EMAIL']}> {when}"
    (folder / "commit").write_text(f"{head}author {name}\ncommitter {name}\n\n{done.title}\n")
    assert git("hash-object", "--literally", "-t", "commit", "commit") == oid


def test_deletions(hub, alice, model):
    commit(alice, {"plots/a.txt": b"a", "plots/b/c.txt": b"c", "plots.txt": b"p"})
    alice.delete_file("plots/note.txt", model)
    alice.delete_folder("plots/b", model)
    assert {"plots/a.txt", "plots.txt"} <= hub.store.files("model", model).keys()
    assert not {"plots/note.txt", "plots/b/c.txt"} & hub.store.files("model", model).keys()
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        alice.delete_file("nothing.txt", model)


def test_copies(hub, alice, model):
    copies = [CommitOperationCopy(path, f"copies/{path}") for path in ("README.md", "model.safetensors")]
    alice.create_commit(model, copies, commit_message="Copy")
    files = hub.store.files("model", model)
    assert files["copies/README.md"] == CARD.encode()
    assert files["copies/model.safetensors"] == WEIGHTS


def test_same_files_make_no_second_commit(hub, alice, model):
    before = hub.store.commits("model", model)
    commit(alice, {"README.md": CARD.encode(), "model.safetensors": WEIGHTS})
    assert hub.store.commits("model", model) == before


def test_commit_on_an_old_parent_is_refused(hub, alice, model):
    old, new = [done.commit_id for done in alice.list_repo_commits(model)][::-1]
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        commit(alice, {"x.txt": b"x"}, parent_commit=old)
    assert status(error) == 412
    assert commit(alice, {"x.txt": b"x"}, parent_commit=new[:8]).oid == hub.store.commits("model", model)[0]["oid"]


def test_clients_at_the_same_time_lose_nothing(hub, alice, model):
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda number: commit(alice, {f"{number}.bin": bytes([number])}).oid, range(16)))
    commits = hub.store.commits("model", model)
    assert {found["oid"] for found in commits} >= set(done)
    assert len(commits) == 18
    files = hub.store.files("model", model)
    assert all(files[f"{number}.bin"] == bytes([number]) for number in range(16))


def test_branches_and_tags(hub, alice, model):
    first = commit(alice, {"v.txt": b"1"}).oid
    alice.create_tag(model, tag="v1.0", revision=first[:10])
    alice.create_branch(model, branch="next/one", revision="v1.0")
    commit(alice, {"v.txt": b"2"})
    commit(alice, {"v.txt": b"3"}, revision="next/one")
    commit(alice, {"v.txt": b"4"}, create_pr=True)
    contents = {name: Path(hf_hub_download(model, "v.txt", revision=name)).read_text() for name in (
        "main", "v1.0", "next/one", "refs/pr/1", first)}  # fmt: skip
    assert list(contents.values()) == ["2", "1", "3", "4", "1"]
    refs = alice.list_repo_refs(model, include_pull_requests=True)
    assert [branch.name for branch in refs.branches] == ["main", "next/one"]
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("v1.0", "refs/tags/v1.0", first)]
    assert [request.ref for request in refs.pull_requests] == ["refs/pr/1"]
    with pytest.raises(HfHubHTTPError):
        alice.create_tag(model, tag="v1.0")
    alice.create_tag(model, tag="v1.0", exist_ok=True)
    alice.delete_tag(model, tag="v1.0")
    alice.delete_branch(model, branch="next/one")
    for name in ("v1.0", "next/one", "0" * 40):
        with pytest.raises(RevisionNotFoundError):
            alice.model_info(model, revision=name)


def test_folder_is_uploaded_and_what_is_gone_from_it_deleted(hub, alice, model, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text("a")
    (folder / "w.bin").write_bytes(WEIGHTS)
    alice.upload_folder(repo_id=model, folder_path=folder, delete_patterns=["*.txt", "*.safetensors"])
    assert hub.store.files("model", model).keys() == {".gitattributes", "README.md", "sub/a.txt", "w.bin"}
    assert len(hub.store.commits("model", model)) == 3


def test_one_commit_of_additions_and_deletions(hub, alice, model):
    operations = [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("plots/", is_folder=True)]
    done = alice.create_commit(model, operations, commit_message="Change", commit_description="All of it")
    assert done.commit_url == f"{hub.endpoint}/{model}/commit/{done.oid}"
    newest = hub.store.commits("model", model)[0]
    assert (newest["oid"], newest["message"], newest["description"], newest["author"]) == (
        done.oid, "Change", "All of it", "alice")  # fmt: skip
    assert hub.store.files("model", model).keys() == {".gitattributes", "README.md", "model.safetensors", "new.txt"}
