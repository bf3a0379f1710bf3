"""How the content of files arrives and is read: which are large, uploads, downloads."""

from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    HfFileSystem,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import EntryNotFoundError

from tests.local_hub.steps import CARD, WEIGHTS, commit


@pytest.mark.parametrize(
    ("path", "content", "is_large"),
    [
        ("table.parquet", b"small", True),
        ("plot.png", b"\x89PNG\0", True),
        ("notes.txt", "ü".encode() * 300, False),  # the sample of 512 bytes ends within a character
        ("long.txt", b"x" * (10 * 1024 * 1024 + 1), True),
        ("empty.bin", b"", False),
        ("mine.dat", b"text", True),
    ],
)
def test_large_file_storage_by_pattern_size_and_content(hub, alice, path, content, is_large):
    alice.create_repo("alice/new")
    commit(
        alice, {".gitattributes": b"*.parquet filter=lfs\n*.dat filter=lfs diff=lfs\n# *.txt filter=lfs\n"}, "alice/new"
    )
    commit(alice, {path: content}, "alice/new")
    (entry,) = alice.get_paths_info("alice/new", path)
    assert (entry.lfs is not None) == is_large
    files = hub.store.files("model", "alice/new")
    assert files[path] == content
    added = f"{path} filter=lfs diff=lfs merge=lfs -text\n".encode()
    assert (added in files[".gitattributes"]) == (is_large and path in ("plot.png", "long.txt"))


def test_files_that_gitignore_names_stay_away(hub, alice, model):
    commit(alice, {".gitignore": b"*.log\nbuild/\n!keep.log\n"})
    commit(alice, {"a.log": b"1", "build/x/y.txt": b"2", "keep.log": b"3", "b.txt": b"4"})
    files = hub.store.files("model", model)
    assert {"keep.log", "b.txt"} <= files.keys()
    assert not {"a.log", "build/x/y.txt"} & files.keys()


def test_large_file_is_sent_in_parts_and_only_once(hub, alice, model):
    puts = [path for method, path in hub.requests if method == "PUT"]
    assert len(puts) == 2  # 1,280,000 bytes in parts of 1,000,000
    assert hub.store.files("model", model)["model.safetensors"] == WEIGHTS
    commit(alice, {"copy.safetensors": WEIGHTS, "small.bin": b"\0" * 4000})
    assert len([path for method, path in hub.requests if method == "PUT"]) == 3  # the small one, whole
    assert hub.store.files("model", model)["copy.safetensors"] == WEIGHTS
    assert hub.store.files("model", model)["small.bin"] == b"\0" * 4000


@pytest.mark.parametrize("content", [WEIGHTS, WEIGHTS[:1000]], ids=["parts", "whole"])
def test_large_file_that_is_not_what_it_was_said_to_be(hub, alice, model, content):
    addition = CommitOperationAdd("x.bin", content)
    addition.upload_info.sha256 = bytes(32)
    with pytest.raises(RuntimeError, match=r"x\.bin") as error:
        alice.create_commit(model, [addition], commit_message="broken")
    assert "BadDigest" in str(error.value.__cause__)
    assert "x.bin" not in hub.store.files("model", model)


def test_file_is_resolved_as_on_the_hub(hub, alice, model):
    commit_id = hub.store.commits("model", model)[0]["oid"]
    (large,) = alice.get_paths_info(model, "model.safetensors")
    found = get_hf_file_metadata(hf_hub_url(model, "model.safetensors"))
    assert (found.commit_hash, found.etag, found.size) == (commit_id, large.lfs.sha256, len(WEIGHTS))
    assert found.location.startswith("http://localhost:")  # another host, to which no token is sent
    (small,) = alice.get_paths_info(model, "README.md")
    found = get_hf_file_metadata(hf_hub_url(model, "README.md"))
    assert (found.commit_hash, found.etag, found.size) == (commit_id, small.blob_id, len(CARD))


def test_download_of_files_and_of_a_whole_repository(hub, alice, model):
    assert Path(hf_hub_download(model, "model.safetensors")).read_bytes() == WEIGHTS
    folder = Path(snapshot_download(model, revision="main"))
    assert folder.name == hub.store.commits("model", model)[0]["oid"]
    assert (folder / "plots" / "note.txt").read_bytes() == b"note\n"
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(model, "nothing.json")
    hub.requests.clear()
    assert Path(snapshot_download(model, revision=folder.name)) == folder
    assert not hub.requests  # a commit in the cache needs no Hub


def test_part_of_a_file(alice, model):
    for path in ("model.safetensors", "README.md"):
        content = {"model.safetensors": WEIGHTS, "README.md": CARD.encode()}[path]
        assert HfFileSystem().cat_file(f"{model}/{path}", start=7, end=30) == content[7:30]
        with HfFileSystem().open(f"{model}/{path}", block_size=16) as file:
            file.seek(-9, 2)
            assert file.read() == content[-9:]


def test_file_system(hub, alice, model):
    files = HfFileSystem()
    assert files.ls(f"{model}/plots", detail=False) == [f"{model}/plots/note.txt"]
    assert set(files.glob(f"{model}/**/*.md")) == {f"{model}/README.md"}
    with files.open(f"{model}/new.txt", "w") as file:
        file.write("new")
    files.rm(f"{model}/plots/note.txt")
    assert hub.store.files("model", model)["new.txt"] == b"new"
    assert "plots/note.txt" not in hub.store.files("model", model)
