"""Downloads: one server for files, zip files and a Dataverse record, and git repositories on disk for git-lfs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import numpy as np
import pytest

from ser_hf.corpora import CORPORA, CorpusError, corpus_facts, load_corpus
from ser_hf.corpora.download import Dataverse, DownloadError, GitLfs, Zip, fetch, unpack
from tests.corpora.trees import OFFICIAL, make_corpus

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*of boredom were left out")
CONTENT = np.random.default_rng(0).bytes(1_000_000)
MD5, SIZE = hashlib.md5(CONTENT).hexdigest(), len(CONTENT)
ZIPPED = [name for name in CORPORA if isinstance(corpus_facts(name).source, Zip)]


class Server(ThreadingHTTPServer):
    """Serves `files` but those that are `missing`; the next responses may break off, and Range be ignored."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files = {"/file.zip": CONTENT}
        self.missing: set[str] = set()
        self.requests: list[tuple[str, int]] = []  # path, first byte
        self.break_after: list[int] = []  # bytes
        self.ignore_range = False


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.requests.append((self.path, wanted))
        if self.path not in self.server.files or self.path in self.server.missing:
            return self.send_error(404)
        content = self.server.files[self.path]
        start = 0 if self.server.ignore_range else wanted
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return self.wfile.write(content[start:][: self.server.break_after.pop(0) if self.server.break_after else None])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


class TestFetch:
    @pytest.fixture
    def target(self, tmp_path):
        (tmp_path / "new").mkdir()
        return tmp_path / "new" / "file.zip"

    @pytest.mark.parametrize("facts", [(MD5, SIZE), (None, None)])
    @pytest.mark.parametrize(
        ("n_there", "ignore_range", "break_after", "starts"),
        [
            (0, False, [], [0]),
            (400_000, False, [], [400_000]),
            (400_000, True, [], [400_000]),
            (0, False, [300_000, 200_000], [0, 300_000, 500_000]),
            (400_000, False, [300_000], [400_000, 700_000]),
        ],
    )
    def test_fetch_gets_the_whole_file(self, server, target, facts, n_there, ignore_range, break_after, starts, capsys):
        server.ignore_range, server.break_after = ignore_range, list(break_after)
        target.with_name("file.zip.part").write_bytes(CONTENT[:n_there])
        assert fetch(f"{server.url}/file.zip", target, *facts) == target
        assert target.read_bytes() == CONTENT
        assert [path.name for path in target.parent.iterdir()] == ["file.zip"]
        assert [start for _, start in server.requests] == pytest.approx(starts, abs=10_000)
        assert "file.zip" in capsys.readouterr().err  # the progress bar

    def test_fetch_only_checks_a_complete_part(self, server, target):
        target.with_name("file.zip.part").write_bytes(CONTENT)
        assert fetch(f"{server.url}/file.zip", target, MD5, SIZE).read_bytes() == CONTENT
        assert server.requests == []

    @pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", b"x" + CONTENT, CONTENT[:1000]])
    def test_fetch_removes_wrong_content(self, server, target, content):
        server.files["/file.zip"] = content
        with pytest.raises(DownloadError, match=f"{server.url}.*{MD5}"):
            fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        assert list(target.parent.iterdir()) == []

    def test_fetch_removes_a_part_that_is_too_long(self, server, target):
        target.with_name("file.zip.part").write_bytes(CONTENT + b"x")
        with pytest.raises(DownloadError, match="416"):
            fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        assert list(target.parent.iterdir()) == []

    def test_fetch_keeps_what_came_when_it_gives_up(self, server, target):
        server.break_after = [300_000, *[0] * 9]
        with pytest.raises(DownloadError, match=r"file\.zip cannot be fetched"):
            fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        (kept,) = target.parent.iterdir()
        assert kept.name == "file.zip.part"
        assert kept.read_bytes() == CONTENT[: kept.stat().st_size] != b""

    @pytest.mark.parametrize(
        ("url", "place", "words"),
        [
            ("{}/none.zip", "new/file.zip", "404"),
            ("http://127.0.0.1:9/file.zip", "new/file.zip", "refused"),
            ("{}/file.zip", "new/file/file.zip", "File exists"),
        ],
    )
    def test_fetch_says_why_it_failed(self, server, target, tmp_path, url, place, words):
        (tmp_path / "new/file").write_text("in the way of a folder")
        with pytest.raises(DownloadError, match=f"{url.format(server.url)}.*{words}"):
            fetch(url.format(server.url), tmp_path / place)


def zip_of(tree: Path, archive: Path, top: str = "repository-1a2b/") -> Path:
    """The recordings of a tree as GitHub and Zenodo pack them, with other files beside them."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree.rglob("*.*")):
            file.write(path, f"{top}{path.relative_to(tree)}")
        for name in (f"{top}README.txt", f"{top}other/lmy00001.wav", f"__MACOSX/{top}._03a01Fa.wav"):
            file.writestr(name, "x")
    return archive


def zip_record(server: Server, tree: Path, place: Path) -> Zip:
    server.files["/download.zip"] = zip_of(tree, place / "download.zip").read_bytes()
    return Zip(f"{server.url}/download.zip")


def dataverse_record(server: Server, tree: Path, place: Path) -> Dataverse:
    listed = []
    for number, path in enumerate([*sorted(tree.rglob("*.wav")), Path("readme.txt")]):
        content = path.read_bytes() if path.suffix == ".wav" else b"about"
        server.files[f"/api/access/datafile/{number}"] = content
        facts = {"id": number, "filename": path.name, "filesize": len(content), "md5": hashlib.md5(content).hexdigest()}
        listed.append({"dataFile": facts})
    server.files[DATAVERSE_LIST] = json.dumps({"data": listed}).encode()
    return Dataverse(server.url, "10.1/X")


def git_lfs_record(server: Server, tree: Path, place: Path) -> GitLfs:
    """A bare repository whose large files are at the mirror alone, as where GitHub's quota is spent."""
    official, work = place / "official", place / "work"
    shutil.copytree(tree, work)
    official.mkdir()
    for folder, *arguments in [
        (official, "init", "--bare", "--initial-branch", "master"),
        (work, "init"),
        (work, "lfs", "install", "--local"),
        (work, "lfs", "track", "AudioWAV/*"),
        (work, "add", "."),
        (work, "commit", "-m", "all"),
        (work, "push", f"file://{official}", "HEAD:refs/heads/master"),
    ]:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    shutil.copytree(official, place / "mirror")
    shutil.rmtree(official / "lfs")
    return GitLfs(f"file://{official}", "AudioWAV", f"file://{place}/mirror")


DATAVERSE_LIST = "/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:10.1/X"
ZIP, DATAVERSE = ("emodb", zip_record), ("tess", dataverse_record)
GIT_LFS = pytest.param(
    ("cremad", git_lfs_record), marks=pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
)


@pytest.fixture
def name(request, server, tmp_path, monkeypatch):
    """The name of a corpus with a record of a few clips, which are all of it here."""
    name, make_record = request.param
    source = make_record(server, make_corpus(name, tmp_path / "tree", seconds=0.1), tmp_path / "record")
    facts = dataclasses.replace(corpus_facts(name), source=source, n_recordings=len(OFFICIAL[name]))
    monkeypatch.setattr(f"ser_hf.corpora.{name}.CORPUS", facts)
    return name


class TestSources:
    @pytest.mark.parametrize("name", [ZIP, DATAVERSE, GIT_LFS], indirect=True)
    def test_record_is_downloaded_once(self, name, server, tmp_path):
        table = load_corpus(name, tmp_path / "data", unmapped="keep")
        assert len(table) == len(OFFICIAL[name])
        assert [path.name for path in (tmp_path / "data").iterdir()] == [name]
        server.requests.clear()
        shutil.rmtree(tmp_path / "record", ignore_errors=True)
        assert load_corpus(name, tmp_path / "data", unmapped="keep")[:] == table[:]
        assert server.requests == []

    @pytest.mark.parametrize(
        ("name", "lost", "asked"),
        [(ZIP, "/download.zip", []), (DATAVERSE, "/api/access/datafile/3", [DATAVERSE_LIST])],
        indirect=["name"],
    )
    def test_interrupted_download_is_resumed(self, name, server, tmp_path, lost, asked):
        server.missing = {lost}
        with pytest.raises(CorpusError, match=rf"404.*Run again to resume.* {tmp_path}/data/{name}"):
            load_corpus(name, tmp_path / "data")
        assert [path.name for path in (tmp_path / "data").iterdir()] == [f".{name}-download"]
        server.missing, server.requests = set(), []
        assert len(load_corpus(name, tmp_path / "data", unmapped="keep")) == len(OFFICIAL[name])
        assert [path for path, _ in server.requests] == [*asked, lost]

    @pytest.mark.parametrize("name", [ZIP], indirect=True)
    def test_another_number_of_recordings_is_refused(self, name, tmp_path, monkeypatch):
        n = len(OFFICIAL[name])
        more = dataclasses.replace(corpus_facts(name), n_recordings=n + 1)
        monkeypatch.setattr(f"ser_hf.corpora.{name}.CORPUS", more)
        with pytest.raises(CorpusError, match=f"holds {n} recordings, not {n + 1}"):
            load_corpus(name, tmp_path / "data")
        assert list((tmp_path / "data").iterdir()) == []

    @pytest.mark.parametrize("name", [ZIP], indirect=True)
    def test_nothing_is_downloaded_uninvited(self, name, server, tmp_path):
        with pytest.raises(CorpusError, match="is not there"):
            load_corpus(name, tmp_path / "data", download=False)
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "notes.txt").write_text("mine")
        with pytest.raises(CorpusError, match="holds no recordings"):
            load_corpus(name, tmp_path / "data")
        assert server.requests == []

    @pytest.mark.parametrize("name", [ZIP], indirect=True)
    def test_unwritable_data_folder_is_named(self, name, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(CorpusError, match=f"{tmp_path}/file/{name}: cannot be written"):
            load_corpus(name, tmp_path / "file")

    @pytest.mark.parametrize("name", [DATAVERSE], indirect=True)
    @pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"data": [{"label": "x"}]}', b'{"data": 3}'])
    def test_dataverse_refuses_another_answer(self, name, server, tmp_path, answer):
        server.files[DATAVERSE_LIST] = answer
        with pytest.raises(CorpusError, match="not a list of files"):
            load_corpus(name, tmp_path / "data")

    def test_git_lfs_must_be_installed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: None if name == "git-lfs" else name)
        with pytest.raises(CorpusError, match="git-lfs is not installed"):
            load_corpus("cremad", tmp_path)


class TestZipFiles:
    @pytest.mark.parametrize("name", ZIPPED)
    def test_zip_in_the_folder_is_unpacked_and_kept(self, name, tmp_path, monkeypatch):
        tree = make_corpus(name, tmp_path / "tree", seconds=0.1)
        archive = zip_of(tree, tmp_path / "data" / name / "mine.zip", "" if name == "ravdess" else "repository-1a2b/")
        n = len(OFFICIAL[name])
        whole = dataclasses.replace(corpus_facts(name), n_recordings=n)
        monkeypatch.setattr(f"ser_hf.corpora.{name.replace('-', '_')}.CORPUS", whole)
        assert len(load_corpus(name, tmp_path / "data", download=False, unmapped="keep")) == n
        archive.write_bytes(b"")  # is not read again
        assert len(load_corpus(name, tmp_path / "data", download=False, unmapped="keep")) == n

    @pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
    def test_damaged_zip_is_refused(self, damage, tmp_path):
        archive = zip_of(make_corpus("emodb", tmp_path / "tree/emodb"), tmp_path / "data/emodb/download.zip")
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 255
        archive.write_bytes({"cut": content[:-500], "flipped": content, "text": b"not a zip"}[damage])
        with pytest.raises(CorpusError, match=r"download\.zip: not a complete zip file"):
            load_corpus("emodb", tmp_path / "data")
        assert [path.name for path in (tmp_path / "data/emodb").iterdir()] == ["download.zip"]

    @pytest.mark.parametrize("member", ["../../03a01Fa.wav", "/03a01Fa.wav", "wav/../../../03a01Fa.wav"])
    def test_nothing_is_unpacked_elsewhere(self, member, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr(member, b"x")
        unpack(tmp_path / "a.zip", tmp_path / "x/y/out", corpus_facts("emodb").target_of)
        files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {"a.zip", "x/y/out/wav/03a01Fa.wav"}
