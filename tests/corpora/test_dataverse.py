"""The download of a record from a Dataverse repository, against a server of this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ser_hf.corpora import CorpusError, load_corpus
from ser_hf.corpora import tess as corpus
from ser_hf.corpora.dataverse import fetch_record
from ser_hf.corpora.download import DownloadError
from tests.corpora.trees import make_tess

pytestmark = pytest.mark.filterwarnings("ignore:.*of the official record")
LIST = f"/api/datasets/:persistentId/versions/:latest-published/files?persistentId=doi:{corpus.DOI}"


class Site(ThreadingHTTPServer):
    """Answers the two requests that are needed; `files` are contents by name, a file's id is its place among them."""

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files = list(files.items())
        self.checksums = "MD5"
        self.spoilt: set[str] = set()  # names of files that come with one byte changed
        self.refused: set[str] = set()  # names of files that may not be fetched
        self.list: bytes | None = None  # sent in place of the list of files
        self.asked: list[str] = []  # paths of all requests

    def listing(self) -> bytes:
        def entry(number: int, name: str, content: bytes) -> dict:
            file = {"id": number, "filename": name, "filesize": len(content), "contentType": "audio/x-wav"}
            file |= {"checksum": {"type": self.checksums, "value": "?"}}
            if self.checksums == "MD5":
                file |= {"md5": hashlib.md5(content).hexdigest()}
            return {"label": name, "restricted": False, "version": 1, "dataFile": file}

        entries = [entry(number, *file) for number, file in enumerate(self.files)]
        return json.dumps({"status": "OK", "data": entries}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == LIST:
            return self.answer(self.server.listing() if self.server.list is None else self.server.list)
        if not self.path.startswith("/api/access/datafile/"):
            return self.send_error(404)
        name, content = self.server.files[int(self.path.rpartition("/")[2])]
        if name in self.server.refused:
            return self.send_error(403)
        return self.answer(content[:-1] + bytes([content[-1] ^ 1]) if name in self.server.spoilt else content)

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The record with 12 clips, which are all of it here, and what else lies in it."""
    tree = make_tess(tmp_path / "made")
    files = {path.name: path.read_bytes() for path in sorted(tree.rglob("*.wav"))}
    monkeypatch.setattr(corpus, "N_CLIPS", len(files))
    with Site({"readme.txt": b"about"} | files) as site:
        threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield site
        site.shutdown()


def test_it_is_downloaded_as_the_tree_that_one_makes_by_hand(site, tmp_path):
    table = load_corpus("tess", tmp_path, site=site.url)
    (tmp_path / "made").rename(tmp_path / "by-hand")
    (tmp_path / "other").mkdir()
    (tmp_path / "by-hand").rename(tmp_path / "other/tess")
    assert table.remove_columns("audio")[:] == load_corpus("tess", tmp_path / "other").remove_columns("audio")[:]
    assert sorted(path.name for path in (tmp_path / "tess").iterdir()) == [
        f"{speaker}_{emotion}" for speaker in ("OAF", "YAF") for emotion in ("angry", "neutral", "ps")
    ]
    assert (tmp_path / "tess/OAF_neutral/OA_bite_neutral.wav").is_file()


def test_what_is_there_is_not_downloaded_again(site, tmp_path):
    load_corpus("tess", tmp_path, site=site.url)
    site.asked.clear()
    load_corpus("tess", tmp_path, site=site.url)
    assert site.asked == []


def test_nothing_is_asked_without_leave_or_where_something_else_lies(site, tmp_path):
    with pytest.raises(CorpusError, match=r"is not there; download it from https://doi\.org/10\.5683"):
        load_corpus("tess", tmp_path, download=False, site=site.url)
    (tmp_path / "tess").mkdir()
    (tmp_path / "tess/TESS.zip").write_bytes(b"x")
    with pytest.raises(CorpusError, match="holds no recordings"):
        load_corpus("tess", tmp_path, site=site.url)
    assert site.asked == []


@pytest.mark.parametrize("trouble", ["spoilt", "refused"])
def test_it_goes_on_where_it_ended(site, tmp_path, trouble):
    last = max(name for name, _ in site.files if name.endswith(".wav"))
    getattr(site, trouble).add(last)
    words = {"spoilt": "has the md5", "refused": "answers 403"}[trouble]
    with pytest.raises(CorpusError, match=rf"TESS could not be downloaded: .*{words}.*Run again to go on, or download"):
        load_corpus("tess", tmp_path, site=site.url)
    assert not (tmp_path / "tess").exists()
    getattr(site, trouble).clear()
    site.asked.clear()
    assert len(load_corpus("tess", tmp_path, site=site.url)) == 12
    assert len(site.asked) == 2  # the list, and the one file


def test_checksums_of_another_kind_leave_the_size(site, tmp_path):
    site.checksums = "SHA-1"
    assert len(load_corpus("tess", tmp_path, site=site.url)) == 12


@pytest.mark.parametrize("count", [11, 13])
def test_a_record_with_another_number_is_refused(site, tmp_path, monkeypatch, count):
    monkeypatch.setattr(corpus, "N_CLIPS", count)
    with pytest.raises(CorpusError, match=f"holds 12 recordings, not the {count} of TESS"):
        load_corpus("tess", tmp_path, site=site.url)


def test_a_name_that_leads_elsewhere_is_refused(site, tmp_path):
    site.files[1] = ("../../OAF_back_../x.wav", site.files[1][1])
    with pytest.raises(CorpusError, match="not an official TESS name"):
        load_corpus("tess", tmp_path, site=site.url)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"data": [{"label": "x"}]}', b'{"data": 3}'])
def test_an_answer_that_is_no_list_is_told(site, tmp_path, answer):
    site.list = answer
    with pytest.raises(CorpusError, match="the answer is not a list of files"):
        load_corpus("tess", tmp_path, site=site.url)


def test_a_site_without_the_record_or_that_is_gone(site, tmp_path):
    with pytest.raises(DownloadError, match="the server answers 404"):
        fetch_record(site.url, "10.1/X", tmp_path, str, "TESS", 1)
    with pytest.raises(DownloadError, match=r"cannot be reached \(ConnectionError\)"):
        fetch_record("http://127.0.0.1:9", corpus.DOI, tmp_path, str, "TESS", 1)
