import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ser_hf.corpora.download import DownloadError, fetch, fetch_stream

CONTENT = np.random.default_rng(0).bytes(1_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
SIZE = len(CONTENT)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; each request is noted, and may be cut off after some bytes, refused, or its Range ignored."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.zip"
        self.content = CONTENT
        self.ranges: list[str | None] = []  # the Range header of every request
        self.break_after: list[int] = []  # bytes after which the next connections break off
        self.statuses: list[int] = []  # answers to the next requests, instead of the file
        self.ignore_range = False
        self.tell_size = True  # when it is asked by HEAD


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        start = 0 if wanted is None or self.server.ignore_range else int(wanted.removeprefix("bytes=").rstrip("-"))
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after.pop(0)] if self.server.break_after else body)

    def do_HEAD(self):
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        if self.server.tell_size:
            self.send_header("Content-Length", str(SIZE))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "file.zip"


def part_of(target):
    return target.with_name("file.zip.part")


def test_fresh(server, target):
    assert fetch(server.url, target, MD5, SIZE) == target
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert server.ranges == [None]


def test_goes_on_after_a_broken_connection(server, target):
    server.break_after = [300_000, 200_000]
    fetch(server.url, target, MD5, SIZE, attempts=1)  # what brought something does not count as an attempt
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 3
    starts = [int(header.removeprefix("bytes=").rstrip("-")) for header in server.ranges[1:]]
    assert 0 < starts[0] <= 300_000
    assert starts[0] < starts[1] <= 500_000


def test_goes_on_after_an_earlier_call(server, target):
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(CONTENT[:400_000])
    fetch(server.url, target, MD5, SIZE)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=400000-"]


def test_a_whole_part_is_only_checked(server, target):
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(server.url, target, MD5, SIZE)
    assert target.read_bytes() == CONTENT
    assert server.ranges == []


def test_server_that_ignores_range(server, target):
    server.ignore_range = True
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(CONTENT[:400_000])
    fetch(server.url, target, MD5, SIZE)
    assert target.read_bytes() == CONTENT


def test_server_that_is_busy_for_a_moment(server, target):
    server.statuses = [503, 500]
    fetch(server.url, target, MD5, SIZE, wait=0.001)
    assert target.read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server, target):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DownloadError, match=f"not {MD5}; it was removed"):
        fetch(server.url, target, MD5, SIZE)
    assert list(target.parent.iterdir()) == []


def test_a_longer_file_is_not_taken_for_the_right_one(server, target):
    server.content = b"x" + CONTENT
    with pytest.raises(DownloadError, match="md5"):
        fetch(server.url, target, MD5, SIZE)


def test_a_shorter_file_is_not_taken_for_the_right_one(server, target):
    server.content = CONTENT[:1000]
    with pytest.raises(DownloadError):
        fetch(server.url, target, MD5, SIZE, attempts=2, wait=0.001)
    assert not target.exists()


def test_file_that_is_gone(server, target):
    server.statuses = [404]
    with pytest.raises(DownloadError, match="404"):
        fetch(server.url, target, MD5, SIZE)
    assert len(server.ranges) == 1  # asking again would not help


def test_unreachable(target):
    with Server() as closed:
        url = closed.url
    with pytest.raises(DownloadError, match=r"file\.zip: cannot be reached"):
        fetch(url, target, MD5, SIZE, attempts=2, wait=0.001)
    assert not target.exists()


def test_what_came_is_kept_when_the_connection_breaks_for_good(server, target):
    server.break_after = [300_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="connection"):
        fetch(server.url, target, MD5, SIZE, attempts=2, wait=0.001)
    assert not target.exists()
    kept = part_of(target).read_bytes()
    assert 0 < len(kept) <= 300_000
    assert kept == CONTENT[: len(kept)]


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(server.url, tmp_path / "file" / "file.zip", MD5, SIZE)


def test_progress_is_shown(server, target, capsys):
    fetch(server.url, target, MD5, SIZE)
    shown = capsys.readouterr().err
    assert "file.zip" in shown
    assert "100%" in shown


class TestWithoutSizeAndChecksum:
    def test_the_server_is_asked_for_the_size(self, server, target):
        server.break_after = [300_000]
        fetch(server.url, target, md5=None, size=None)
        assert target.read_bytes() == CONTENT

    def test_a_server_that_does_not_tell_it(self, server, target):
        server.tell_size = False
        with pytest.raises(DownloadError, match="does not say how large the file is"):
            fetch(server.url, target, md5=None, size=None)

    def test_refused_and_gone(self, server, target):
        server.statuses = [403]
        with pytest.raises(DownloadError, match="the server answers 403"):
            fetch(server.url, target, md5=None, size=None)
        server.shutdown()
        server.server_close()
        with pytest.raises(DownloadError, match="cannot be reached"):
            fetch(server.url, target, md5=None, size=None)
        assert not target.exists()


def test_stream_needs_no_announced_size(server, target):
    server.tell_size = False
    assert fetch_stream(server.url, target).read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.zip"]


@pytest.mark.parametrize("trouble", [{"break_after": [300_000]}, {"statuses": [404]}, {"statuses": [503]}])
def test_stream_leaves_nothing_of_a_failed_download(server, target, trouble):
    for name, value in trouble.items():
        setattr(server, name, value)
    with pytest.raises(DownloadError, match=r"file\.zip"):
        fetch_stream(server.url, target)
    assert not any(target.parent.iterdir())
