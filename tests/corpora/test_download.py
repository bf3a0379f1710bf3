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

import numpy as np
import pytest

from ser_hf.corpora import CORPORA, CorpusError, corpus_facts, cremad, download, emodb, load_corpus, tess
from ser_hf.corpora.download import Dataverse, DownloadError, GitLfs, Zip, fetch
from ser_hf.corpora.files import unpack
from tests.corpora.trees import OFFICIAL, make_corpus

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record", "ignore:.*of boredom were left out")
CONTENT = np.random.default_rng(0).bytes(1_000_000)
MD5, SIZE = hashlib.md5(CONTENT).hexdigest(), len(CONTENT)
ZIPPED = [name for name in CORPORA if isinstance(corpus_facts(name).source, Zip)]


class Server(ThreadingHTTPServer):
    """Serves `files`; the next responses may break off, be refused, ignore Range or not announce their length."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files = {"/file.zip": CONTENT}
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.break_after: list[int] = []  # bytes
        self.statuses: list[int] = []
        self.ignore_range = False
        self.announce_length = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        if self.server.statuses:
            return self.send_error(self.server.statuses.pop(0))
        if self.path not in self.server.files:
            return self.send_error(404)
        content = self.server.files[self.path]
        start = 0 if wanted is None or self.server.ignore_range else int(wanted.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.announce_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return self.wfile.write(content[start:][: self.server.break_after.pop(0) if self.server.break_after else None])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.001)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "file.zip"


def write_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(content)


class TestFetch:
    @pytest.mark.parametrize("facts", [(MD5, SIZE), (None, None)])
    @pytest.mark.parametrize(
        ("part", "settings", "n_requests"),
        [
            (b"", {}, 1),
            (b"", {"break_after": [300_000, 200_000]}, 3),
            (b"", {"statuses": [503, 500]}, 3),
            (CONTENT[:400_000], {}, 1),
            (CONTENT[:400_000], {"ignore_range": True}, 1),
            (b"", {"announce_length": False}, 1),
        ],
    )
    def test_fetch_gets_the_whole_file(self, server, target, facts, part, settings, n_requests, capsys):
        vars(server).update(
            {name: list(value) if isinstance(value, list) else value for name, value in settings.items()}
        )
        write_part(target, part)
        assert fetch(f"{server.url}/file.zip", target, *facts) == target
        assert target.read_bytes() == CONTENT
        assert [path.name for path in target.parent.iterdir()] == ["file.zip"]
        assert len(server.requests) == n_requests
        assert "file.zip" in capsys.readouterr().err  # the progress bar

    def test_fetch_resumes_where_it_ended(self, server, target):
        server.break_after = [300_000]
        write_part(target, CONTENT[:400_000])
        fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        first, second = (int(wanted.removeprefix("bytes=").rstrip("-")) for _, wanted in server.requests)
        assert first == 400_000 < second <= 700_000

    def test_fetch_only_checks_a_complete_part(self, server, target):
        write_part(target, CONTENT)
        assert fetch(f"{server.url}/file.zip", target, MD5, SIZE).read_bytes() == CONTENT
        assert server.requests == []

    @pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", b"x" + CONTENT])
    def test_fetch_removes_wrong_content(self, server, target, content):
        server.files["/file.zip"] = content
        with pytest.raises(DownloadError, match=f"wrong content .*{MD5}"):
            fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        assert list(target.parent.iterdir()) == []

    def test_fetch_refuses_a_file_that_is_too_short(self, server, target):
        server.files["/file.zip"] = CONTENT[:1000]
        with pytest.raises(DownloadError, match="416"):
            fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        assert list(target.parent.iterdir()) == []

    def test_fetch_keeps_what_came_when_it_gives_up(self, server, target):
        server.break_after = [300_000, 0, 0, 0, 0]
        with pytest.raises(DownloadError, match=r"file\.zip: cannot be fetched"):
            fetch(f"{server.url}/file.zip", target, MD5, SIZE)
        (kept,) = target.parent.iterdir()
        assert kept.name == "file.zip.part"
        assert kept.read_bytes() == CONTENT[: kept.stat().st_size] != b""

    def test_fetch_does_not_ask_again_for_a_missing_file(self, server, target):
        with pytest.raises(DownloadError, match="404"):
            fetch(f"{server.url}/none.zip", target)
        assert len(server.requests) == 1

    def test_fetch_reports_an_unreachable_server(self, server, target):
        with pytest.raises(DownloadError, match="cannot be fetched"):
            fetch("http://127.0.0.1:9/file.zip", target)

    def test_fetch_reports_an_unwritable_folder(self, server, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DownloadError, match="cannot be written"):
            fetch(f"{server.url}/file.zip", tmp_path / "file" / "file.zip")


def zip_of(tree: Path, archive: Path, top: str = "repository-1a2b/") -> Path:
    """The recordings of a tree as GitHub and Zenodo pack them, with other files beside them."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(tree.rglob("*.*")):
            file.write(path, f"{top}{path.relative_to(tree)}")
        file.writestr(f"{top}README.txt", "x")
        file.writestr(f"{top}other/lmy00001.wav", "x")
        file.writestr(f"__MACOSX/{top}._03a01Fa.wav", "x")
    return archive


class ZipRecord:
    """EmoDB's record, a zip file."""

    module, name = emodb, "emodb"

    def __init__(self, server, tree, place):
        self.server = server
        self.content = zip_of(tree, place / "download.zip").read_bytes()
        self.source = Zip(f"{server.url}/download.zip")
        self.mend()

    def spoil(self):
        content = bytearray(self.content)
        content[len(content) // 2] ^= 255  # the checksum of a member no longer fits
        self.server.files["/download.zip"] = bytes(content)

    def lose(self):
        self.server.files.pop("/download.zip")

    def mend(self):
        self.server.files["/download.zip"] = self.content


class DataverseRecord:
    """TESS's record, one file per recording."""

    module, name = tess, "tess"

    def __init__(self, server, tree, place):
        self.server = server
        files = [("readme.txt", b"about"), *((path.name, path.read_bytes()) for path in sorted(tree.rglob("*.wav")))]
        self.source = Dataverse(server.url, "10.1/X")
        facts = [
            {"id": number, "filename": name, "filesize": len(content), "md5": hashlib.md5(content).hexdigest()}
            for number, (name, content) in enumerate(files, start=1)
        ]
        self.files = {f"/api/access/datafile/{number}": content for number, (_, content) in enumerate(files, start=1)}
        self.list = "/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:10.1/X"
        self.files[self.list] = json.dumps({"data": [{"dataFile": one} for one in facts]}).encode()
        self.last = f"/api/access/datafile/{len(files)}"
        self.mend()

    def spoil(self):
        self.server.files[self.last] = self.files[self.last][:-1] + b"?"

    def lose(self):
        self.server.files.pop(self.last)

    def mend(self):
        self.server.files |= self.files


class GitLfsRecord:
    """CREMA-D's record, a bare git repository; its mirror does not exist."""

    module, name = cremad, "cremad"

    def __init__(self, server, tree, place):
        self.official, work = place / "official", place / "work"
        shutil.copytree(tree, work)
        (work / "VideoDemographics.csv").write_text("ActorID,Age,Sex\n")
        place.joinpath("official").mkdir()
        git(self.official, "init", "--bare", "--initial-branch", "master")
        git(work, "init")
        git(work, "lfs", "install", "--local")
        git(work, "lfs", "track", "AudioWAV/*")
        git(work, "add", ".")
        git(work, "commit", "-m", "all")
        git(work, "push", f"file://{self.official}", "HEAD:refs/heads/master")
        self.source = GitLfs(f"file://{self.official}", "AudioWAV", f"file://{place}/mirror")
        self.objects = {
            path: path.read_bytes() for path in (self.official / "lfs/objects").rglob("*") if path.is_file()
        }

    def spoil(self):
        path = next(iter(self.objects))
        path.write_bytes(self.objects[path][:-1] + b"?")

    def lose(self):
        next(iter(self.objects)).unlink()

    def mend(self):
        for path, content in self.objects.items():
            path.write_bytes(content)


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


needs_git_lfs = pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
RECORDS = [ZipRecord, DataverseRecord, pytest.param(GitLfsRecord, marks=needs_git_lfs)]


@pytest.fixture(params=RECORDS)
def record(request, server, tmp_path, monkeypatch):
    """The record of a corpus with a few clips, which are all of it here."""
    kind = request.param
    tree = make_corpus(kind.name, tmp_path / "tree", seconds=0.1)
    made = kind(server, tree, tmp_path / "record")
    facts = dataclasses.replace(kind.module.CORPUS, source=made.source, n_recordings=len(OFFICIAL[kind.name]))
    monkeypatch.setattr(kind.module, "CORPUS", facts)
    return made


class TestSources:
    def test_record_is_downloaded_once(self, record, server, tmp_path):
        table = load_corpus(record.name, tmp_path / "data", unmapped="keep")
        assert len(table) == len(OFFICIAL[record.name])
        assert [path.name for path in (tmp_path / "data").iterdir()] == [record.name]
        server.requests.clear()
        record.lose()
        assert load_corpus(record.name, tmp_path / "data", unmapped="keep")[:] == table[:]
        assert server.requests == []

    @pytest.mark.parametrize("trouble", ["lose", "spoil"])
    def test_interrupted_download_is_resumed(self, record, tmp_path, trouble):
        getattr(record, trouble)()
        with pytest.raises(
            CorpusError, match=rf"(not a complete|could not be downloaded).* {tmp_path}/data/{record.name}"
        ):
            load_corpus(record.name, tmp_path / "data")
        assert not (tmp_path / "data" / record.name).exists()
        record.mend()
        assert len(load_corpus(record.name, tmp_path / "data", unmapped="keep")) == len(OFFICIAL[record.name])

    def test_another_number_of_recordings_is_refused(self, record, tmp_path, monkeypatch):
        n = record.module.CORPUS.n_recordings
        monkeypatch.setattr(record.module, "CORPUS", dataclasses.replace(record.module.CORPUS, n_recordings=n + 1))
        with pytest.raises(CorpusError, match=f"holds {n} recordings, not {n + 1}"):
            load_corpus(record.name, tmp_path / "data")
        assert list((tmp_path / "data").iterdir()) == []

    def test_nothing_is_downloaded_uninvited(self, record, server, tmp_path, monkeypatch):
        monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("reached for the network"))
        with pytest.raises(CorpusError, match="is not there"):
            load_corpus(record.name, tmp_path / "data", download=False)
        (tmp_path / "data" / record.name).mkdir(parents=True)
        (tmp_path / "data" / record.name / "notes.txt").write_text("mine")
        with pytest.raises(CorpusError, match="holds no recordings"):
            load_corpus(record.name, tmp_path / "data")
        assert server.requests == []

    def test_unwritable_data_folder_is_named(self, record, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(CorpusError, match=f"{tmp_path}/file/{record.name}: cannot be written"):
            load_corpus(record.name, tmp_path / "file")

    @pytest.mark.parametrize("record", [DataverseRecord], indirect=True)
    def test_dataverse_fetches_only_what_is_missing(self, record, server, tmp_path):
        record.lose()
        with pytest.raises(CorpusError, match=r"404.*Run again to resume, or download"):
            load_corpus("tess", tmp_path / "data")
        assert [path.name for path in (tmp_path / "data").iterdir()] == [".tess-download"]
        record.mend()
        server.requests.clear()
        load_corpus("tess", tmp_path / "data")
        assert [path for path, _ in server.requests] == [record.list, record.last]

    @pytest.mark.parametrize("record", [DataverseRecord], indirect=True)
    @pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"data": [{"label": "x"}]}', b'{"data": 3}'])
    def test_dataverse_refuses_another_answer(self, record, server, tmp_path, answer):
        server.files[record.list] = answer
        with pytest.raises(CorpusError, match="not a list of files"):
            load_corpus("tess", tmp_path / "data")

    @pytest.mark.parametrize("record", RECORDS[2:], indirect=True)
    def test_git_lfs_falls_back_to_the_mirror(self, record, tmp_path):
        shutil.copytree(record.official, tmp_path / "record/mirror")
        shutil.rmtree(record.official / "lfs")
        assert len(load_corpus("cremad", tmp_path / "data")) == len(OFFICIAL["cremad"])

    def test_git_lfs_must_be_installed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: None if name == "git-lfs" else name)
        with pytest.raises(CorpusError, match="git-lfs is not installed"):
            load_corpus("cremad", tmp_path)


class TestZipFiles:
    @pytest.mark.parametrize("name", ZIPPED)
    @pytest.mark.parametrize("top", ["", "repository-1a2b/"])
    def test_zip_in_the_folder_is_unpacked_and_kept(self, name, top, tmp_path, monkeypatch):
        tree = make_corpus(name, tmp_path / "tree", seconds=0.1)
        archive = zip_of(tree, tmp_path / "data" / name / "mine.zip", top)
        n = len(OFFICIAL[name])
        whole = dataclasses.replace(corpus_facts(name), n_recordings=n)
        monkeypatch.setattr(f"ser_hf.corpora.{name.replace('-', '_')}.CORPUS", whole)
        assert len(load_corpus(name, tmp_path / "data", download=False, unmapped="keep")) == n
        archive.write_bytes(b"")  # is not read again
        assert len(load_corpus(name, tmp_path / "data", download=False, unmapped="keep")) == n

    @pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
    def test_damaged_zip_is_refused(self, damage, tmp_path):
        archive = zip_of(make_corpus("emodb", tmp_path / "tree"), tmp_path / "emodb/download.zip")
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 255
        archive.write_bytes({"cut": content[:-500], "flipped": content, "text": b"not a zip"}[damage])
        with pytest.raises(CorpusError, match=r"download\.zip: not a complete zip file"):
            load_corpus("emodb", tmp_path)
        assert [path.name for path in (tmp_path / "emodb").iterdir()] == ["download.zip"]

    @pytest.mark.parametrize("member", ["../../03a01Fa.wav", "/03a01Fa.wav", "wav/../../../03a01Fa.wav"])
    def test_nothing_is_unpacked_elsewhere(self, member, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr(member, b"x")
        unpack(tmp_path / "a.zip", tmp_path / "x/y/out", corpus_facts("emodb").target_of)
        files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {"a.zip", "x/y/out/wav/03a01Fa.wav"}

    def test_member_that_would_fill_the_disk_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("wav/03a01Fa.wav", bytes(50_000_001))
        with pytest.raises(CorpusError, match="far too large"):
            unpack(tmp_path / "a.zip", tmp_path / "out", corpus_facts("emodb").target_of)
