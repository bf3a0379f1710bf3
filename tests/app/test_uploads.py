"""What a stranger may try by uploading: nothing is kept but what the page asked for, for no longer than it says."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app.analysis import Analyser
from app.app import launch, remove_leftovers
from app.guard import Ending, Guard
from app.limits import Limits
from app.page import build
from tests.app.asking import PATIENCE_SECONDS, UPLOADS, client_of, upload, words_of
from tests.app.browser import free_port

pytestmark = pytest.mark.usefixtures("no_traceback")
SMALL = Limits(megabytes=1, batch_megabytes=1, keep_seconds=3)


@pytest.fixture(scope="module")
def small_address(analyser: Analyser) -> Iterator[str]:
    """A page with limits that a test reaches."""
    page = build(lambda: analyser, SMALL)
    yield launch(page, SMALL, port=free_port())
    page.close()


@pytest.mark.parametrize("path", ["process_recording", "component_server", "vibe-edit"])
def test_nothing_is_uploaded_but_where_uploads_are_deleted(http, path, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert http.post(f"gradio_api/{path}", files={"video": ("x.mp4", b"x"), "y": ("y", b"y")}).status_code == 404
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../../evil.wav", "/etc/evil.wav", "..", "a\\..\\b.wav", "%2e%2e%2fevil.wav", "\n"]
)
def test_no_name_of_an_upload_leads_out_of_the_uploads(http, name):
    response = upload(http, name, name.encode())
    if response.status_code == 200:
        (path,) = map(Path, response.json())
        assert path.resolve().parent.parent == UPLOADS.resolve()
    else:
        assert 400 <= response.status_code < 500
        assert words_of(response)


def test_a_broken_upload_is_refused_in_words(http):
    for headers in ({}, {"Content-Type": "multipart/form-data"}, {"Content-Type": "multipart/form-data; boundary=x"}):
        response = http.post("gradio_api/upload", content=b"no part", headers=headers)
        assert response.status_code == 400
        assert words_of(response)
    nameless = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nabc\r\n--x--\r\n'
    response = http.post(
        "gradio_api/upload", content=nameless, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert response.status_code == 400
    assert words_of(response)


def test_more_than_a_batch_is_not_even_received(small_address):
    with client_of(small_address) as http:
        response = upload(http, "x.wav", bytes(1_500_000))
        assert response.status_code == 413
        assert "at most 1 MB" in words_of(response)


def test_all_uploads_together_have_a_limit_and_it_is_told(tmp_path):
    async def store(scope: Scope, receive: Receive, send: Send) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "x.wav").write_bytes(bytes(700_000))
        await PlainTextResponse("stored")(scope, receive, send)

    http = TestClient(Guard(store, Limits(uploads_megabytes=1), tmp_path, Ending()))
    answers = [http.post("/gradio_api/upload", content=b"x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert "minute" in answers[-1].text


def test_a_connection_that_breaks_off_leaves_nothing_for_longer_than_the_rest(small_address, tmp_path):
    """Gradio forgets what was not uploaded to the end, and what came under another name than "files"."""
    before, seen = set(UPLOADS.glob("*")), set()

    def two_are_left() -> bool:
        seen.update(left_in(UPLOADS, before))
        return len(seen) == 2

    with client_of(small_address) as http:
        upload(http, "other.wav", b"voice", field="other")
    seen.update(left_in(UPLOADS, before))
    host, port = small_address.removeprefix("http://").rstrip("/").split(":")
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nContent-Type: multipart/form-data; "
    )
    part = 'boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nvoice'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall((head + part).encode())
        wait_for(two_are_left)
    wait_for(lambda: not left_in(UPLOADS, before))


def test_whole_uploads_are_deleted_when_they_are_old_enough(small_address):
    with client_of(small_address) as http:
        (path,) = map(Path, upload(http, "old.wav", b"a voice that is to go").json())
        assert path.is_file()
        wait_for(lambda: not path.exists())
        assert http.get(f"gradio_api/file={path}").status_code == 403


def left_in(folder: Path, before: set[Path]) -> list[Path]:
    return [path for path in folder.glob("*") if path not in before and path.is_file()]


def wait_for(condition) -> None:
    """Until it holds; fails where it never does."""
    done = threading.Event()
    for _ in range(PATIENCE_SECONDS * 20):
        if condition():
            return
        done.wait(0.05)
    pytest.fail("waited in vain")


def test_only_what_is_old_and_no_longer_written_to_is_removed(tmp_path):
    old, young, folder = tmp_path / "tmpold", tmp_path / "tmpyoung", tmp_path / "f778"
    folder.mkdir()
    for path in (old, young, folder / "clip.wav"):
        path.write_bytes(b"voice")
        os.utime(path, (1000, 1000))
    os.utime(young, (1090, 1090))
    remove_leftovers(tmp_path, 60, now=1100)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["clip.wav", "f778", "tmpyoung"]


def test_an_upload_that_never_ends_is_refused_and_stops_nobody(small_address, recordings):
    host, port = small_address.removeprefix("http://").rstrip("/").split(":")
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\nContent-Type: multipart/form-data; "
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as slow:
        slow.sendall((head + "boundary=x\r\n\r\n--x\r\n").encode())
        with client_of(small_address) as http:
            assert upload(http, "b.wav", b"meanwhile").status_code == 200
        answer = slow.recv(4096).decode()
    assert " 408 " in answer.splitlines()[0]
