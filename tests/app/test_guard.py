"""Hostile requests to the page over HTTP: refused with a message, nothing read, fetched or left, no traceback."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import safehttpx
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from app.analysis import Analyser
from app.guard import Guard
from app.limits import Limits
from app.page import NOT_USABLE
from tests.app.http_requests import (
    PATIENCE_SECONDS,
    client_of,
    file_at,
    first_lines,
    message_of,
    served,
    submit,
    upload,
)

pytestmark = pytest.mark.usefixtures("no_traceback")
REPOSITORY = Path(__file__).resolve().parent.parent.parent
UPLOADS = Path(os.environ["GRADIO_TEMP_DIR"])
SMALL = Limits(megabytes=1, batch_megabytes=1, keep_seconds=3)
HEAD = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\nContent-Type: multipart/form-data; "
PART = 'boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nvoice'


@pytest.fixture(scope="module")
def small_address(analyser: Analyser) -> Iterator[str]:
    """A page with limits that a test reaches."""
    with served(analyser, SMALL) as (_, address):
        yield address


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; fails where it never does."""
    done = threading.Event()
    for _ in range(PATIENCE_SECONDS * 20):
        if condition():
            return
        done.wait(0.05)
    pytest.fail("waited in vain")


def call(http: httpx.Client, data: object, name: str = "analyze") -> str:
    """The API's message to a request without a result."""
    body = data if isinstance(data, (str, bytes)) else json.dumps({"data": data})
    joined = http.post(f"gradio_api/call/{name}", content=body, headers={"Content-Type": "application/json"})
    if joined.status_code != 200:
        assert 400 <= joined.status_code < 500, joined.text
        return message_of(joined)
    event, data = first_lines(http, f"gradio_api/call/{name}/{joined.json()['event_id']}", 2)
    assert event == "event: error", (event, data)
    return json.loads(data.removeprefix("data: "))["error"]


PATHS = [
    *("/etc/passwd", "../../../../../../etc/passwd", "file:///etc/passwd", "app/app.py", "/proc/self/environ"),
    *(f"{UPLOADS}/../../etc/passwd", str(REPOSITORY / "app" / "app.py"), "\\\\host\\share\\x.wav", "x\0y", "x" * 5000),
    "",
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))  # some hold a folder of this process
def test_api_reads_no_path_that_was_not_uploaded(http, path):
    for name, value in (("analyze", file_at(path)), ("batch", [file_at(path)])):
        assert call(http, [value], name) == NOT_USABLE


def test_page_asks_no_address_that_a_request_names(http, recordings, monkeypatch):
    looked_up: list[str] = []

    async def public(host: str, *args: object, **named: object) -> str:  # Gradio never asks a private address
        looked_up.append(host)
        return "127.0.0.1"

    monkeypatch.setattr(safehttpx, "async_validate_url", public)
    address = "http://voices.example/x.wav"
    for value in (address, file_at(address), file_at(address.upper()), file_at("x.wav", url=address)):
        assert call(http, [value])
        assert call(http, [[value]], "batch")
    # A real upload beside an address: the upload is read, and the address is not.
    (path,) = upload(http, "clip.wav", (recordings / "bad.wav").read_bytes()).json()
    assert '"unreadable"' in http.get(submit(http, path, url=address)).text
    for route in ("gradio_api/file=", "gradio_api/file/", "gradio_api/proxy=", "file=", "proxy="):
        for method in ("GET", "HEAD"):
            assert http.request(method, route + address).status_code in (403, 404, 405)
    assert looked_up == []


SHAPES = [
    *(("analyze", data) for data in ([1], ["x"], [True], [[[[1]]]], [{}], [file_at(1)], [file_at(None)], [])),
    *(("batch", data) for data in ([1], [[None]], [["x"]], [[[]]], [{"path": "x"}])),
]


@pytest.mark.parametrize(("name", "data"), SHAPES, ids=range(len(SHAPES)))
def test_api_refuses_what_is_no_recording(http, name, data):
    assert call(http, data, name) == NOT_USABLE


BODIES = {
    "no JSON": "{",
    "a list": "[1]",
    "nothing": "",
    "no data": "{}",
    "too deep": '{"data":[' + "[" * 100_000 + "]" * 100_000 + "]}",
    "no number": '{"data": [NaN]}',
    "no UTF-8": b'{"data": ["\xff"]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_api_refuses_what_it_cannot_read(http, body):
    assert len(call(http, body)) > 5


def test_api_refuses_large_bodies_announced_or_not(http):
    body = json.dumps({"data": ["x" * 10_000_000]}).encode()
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))
    for content in (body, chunks):
        response = http.post("gradio_api/call/analyze", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 413
        assert "MB" in message_of(response)


def test_api_refuses_unknown_endpoints_and_events(http):
    # The last two would pass the queue, whose limits would then hold for the polite alone.
    for path in ("call/nothing", "call/v2/nothing", "queue/join", "nothing", "run/analyze", "api/analyze"):
        response = http.post(f"gradio_api/{path}", json={"data": [None], "fn_index": 10**6, "session_hash": "x"})
        assert 400 <= response.status_code < 500, path
        assert message_of(response), path
    for path in ("queue/data?session_hash=nobody", "call/analyze/nobody"):
        assert "not" in " ".join(first_lines(http, f"gradio_api/{path}", 2)).lower()


def test_every_listener_refuses_a_forged_request(http):
    """What the page's own script calls by number has no name in the API, but whoever reads the page knows it."""
    listeners = http.get("config").json()["dependencies"]
    assert len(listeners) > 10
    for listener in listeners:
        session = f"forged-{listener['id']}"
        data = [file_at("/etc/passwd"), {"model": 1}][: len(listener["inputs"])]
        for values in (data, [{"model": 1}] * len(data)):
            body = {"data": values, "fn_index": listener["id"], "session_hash": session}
            assert http.post("gradio_api/queue/join", json=body).status_code == 200
            messages = http.get("gradio_api/queue/data", params={"session_hash": session}).text
            (last,) = [json.loads(line[6:]) for line in messages.splitlines() if "process_completed" in line]
            assert last["success"] or last["output"]["error"], (listener["id"], messages)
            assert "root:" not in messages


NOT_SERVED = [
    *("monitoring", "monitoring/summary", "login", "logout", "pwa_icon", "docs", "openapi.json", "runs"),
    *("static/%2e%2e/%2e%2e/routes.py", "assets/%2e%2e/%2e%2e/routes.py"),
    *(f"gradio_api/{path}" for path in ("deep_link", "vibe-code", "dev/reload", "token", "file=/etc/passwd")),
    *(f"gradio_api/{path}" for path in ("file=../../etc/passwd", "file=ETC/PASSWD", f"file={REPOSITORY}/app/app.py")),
    # These would leave files that nobody deletes.
    *(f"gradio_api/{path}" for path in ("process_recording", "component_server", "vibe-edit")),
    "gradio_api/custom_component/1/client/component/x.js",
    # CVE-2026-134825, which Gradio 6.32 mends: the host's token is read through the history of runs.
    *("gradio_api/runs", "gradio_api/run-history/buckets", "gradio_api/run-history/records"),
]


@pytest.mark.parametrize("path", NOT_SERVED)
def test_guard_serves_only_what_the_page_uses(http, path):
    with http.stream("GET", path, headers={"Host": "localhost"}) as response:  # what is served may never end
        assert response.status_code in (403, 404)
        response.read()
    assert message_of(response)
    assert http.post(path, files={"video": ("x.mp4", b"x")}).status_code in (404, 405)


def test_every_response_has_the_safe_headers(http):
    for path in ("", "config", "gradio_api/info", "nothing", "gradio_api/file=/etc/passwd"):
        headers = http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


NAMELESS = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nabc\r\n--x--\r\n'


@pytest.mark.parametrize("content_type", ["", "multipart/form-data", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("content", [b"no part", NAMELESS], ids=["no part", "nameless"])
def test_a_broken_upload_is_refused(http, content, content_type):
    response = http.post("gradio_api/upload", content=content, headers={"Content-Type": content_type})
    assert response.status_code == 400
    assert message_of(response)


def test_an_upload_larger_than_a_batch_is_refused(small_address):
    with client_of(small_address) as http:
        response = upload(http, "x.wav", bytes(1_500_000))
        assert response.status_code == 413
        assert "at most 1 MB" in message_of(response)


def test_guard_limits_all_uploads_together(tmp_path):
    async def store(scope, receive, send) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "x.wav").write_bytes(bytes(700_000))
        await PlainTextResponse("stored")(scope, receive, send)

    http = TestClient(Guard(store, Limits(uploads_megabytes=1), tmp_path))
    assert [http.post("/gradio_api/upload", content=b"x").status_code for _ in range(3)] == [200, 200, 503]


def test_guard_logs_a_failure_in_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app.guard"), "disabled", False)  # as another test may leave it

    async def broken(scope, receive, send) -> None:
        raise KeyError("what")

    response = TestClient(Guard(broken, Limits(), tmp_path)).get("/gradio_api/info")
    assert response.status_code == 400
    assert [record.getMessage().count("\n") for record in caplog.records if record.name == "app.guard"] == [0]
    assert "KeyError('what') in" in caplog.text


def test_broken_off_uploads_are_deleted_as_soon_as_others(small_address):
    """Gradio forgets what was not uploaded to the end, and what came under another name than "files"."""
    before, seen = set(UPLOADS.glob("*")), set()

    def left() -> list[Path]:
        found = [path for path in UPLOADS.glob("*") if path not in before and path.is_file()]
        seen.update(found)
        return found

    with client_of(small_address) as http:
        upload(http, "other.wav", b"voice", field="other")
        (whole,) = map(Path, upload(http, "old.wav", b"a voice that is to go").json())
        left()
        with connect(small_address) as connection:
            connection.sendall((HEAD + PART).encode())
            wait_for(lambda: bool(left()) and len(seen) == 2)
        wait_for(lambda: not left() and not whole.exists())
        assert http.get(f"gradio_api/file={whole}").status_code == 403


def test_an_upload_that_never_ends_is_refused(small_address):
    with connect(small_address) as slow:
        slow.sendall((HEAD + "boundary=x\r\n\r\n--x\r\n").encode())
        with client_of(small_address) as http:
            assert upload(http, "b.wav", b"meanwhile").status_code == 200
        assert " 408 " in slow.recv(4096).decode().splitlines()[0]
