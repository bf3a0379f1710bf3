"""What a stranger may try on the page over HTTP: refused in words, nothing read, fetched or left, no traceback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import safehttpx

from tests.app.asking import UPLOADS, first_lines, upload, words_of

pytestmark = pytest.mark.usefixtures("no_traceback")
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def file_at(path: object, **more: object) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def call(http: httpx.Client, data: object, name: str = "analyze") -> str:
    """What the API says to a request that gets no answer."""
    body = data if isinstance(data, (str, bytes)) else json.dumps({"data": data})
    headers = {"Content-Type": "application/json"}
    joined = http.post(f"gradio_api/call/{name}", content=body, headers=headers)
    if joined.status_code != 200:
        assert 400 <= joined.status_code < 500, joined.text
        return words_of(joined)
    event, data = first_lines(http, f"gradio_api/call/{name}/{joined.json()['event_id']}", 2)
    assert event == "event: error", (event, data)
    return json.loads(data.removeprefix("data: "))["error"]


PATHS = [
    "/etc/passwd",
    "../../../../../../etc/passwd",
    f"{UPLOADS}/../../etc/passwd",
    "file:///etc/passwd",
    str(REPOSITORY / "app" / "app.py"),
    "app/app.py",
    "/proc/self/environ",
    "\\\\host\\share\\x.wav",
    "x\0y",
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))  # some hold a folder of this process
def test_a_path_in_a_request_reads_no_other_file(http, path):
    for name, value in (("analyze", file_at(path)), ("batch", [file_at(path)])):
        words = call(http, [value], name)
        assert "uploaded to this page" in words
        assert "root:" not in words


def test_a_link_among_the_uploads_leads_to_no_other_file(http):
    link = UPLOADS / "link.wav"
    link.symlink_to("/etc/passwd")
    try:
        assert "uploaded to this page" in call(http, [file_at(str(link))])
        assert http.get(f"gradio_api/file={link}").status_code == 403
    finally:
        link.unlink()


def test_an_upload_that_was_deleted_meanwhile_is_said_to_be_gone(http):
    (path,) = upload(http, "clip.wav", b"gone").json()
    Path(path).unlink()
    event = http.post("gradio_api/call/analyze", json={"data": [file_at(path)]}).json()["event_id"]
    assert "clip.wav: there is no such file" in http.get(f"gradio_api/call/analyze/{event}").text


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """An address that counts who asks for it, and that Gradio takes for a public one: private ones it never asks."""
    asked: list[str] = []

    class Target(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        do_HEAD = do_GET  # noqa: N815 (named so by http.server)

        def log_message(self, *args: object) -> None:
            pass

    async def public(host: str, *args: object, **named: object) -> str:
        asked.append(f"looked up {host}")
        return "127.0.0.1"

    server = HTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(safehttpx, "async_validate_url", public)
    yield f"http://127.0.0.1:{server.server_port}/x.wav", asked
    server.shutdown()
    server.server_close()


def test_no_address_is_asked_that_a_request_names(http, target, recordings):
    address, asked = target
    (path,) = upload(http, "clip.wav", (recordings / "bad.wav").read_bytes()).json()
    for value in (address, file_at(address), file_at(address.upper()), file_at("x.wav", url=address)):
        assert call(http, [value])
        assert call(http, [[value]], "batch")
    # A real upload beside an address: the upload is read, and the address is not.
    body = {"data": [file_at(path, url=address)]}
    event = http.post("gradio_api/call/analyze", json=body).json()["event_id"]
    assert '"unreadable"' in http.get(f"gradio_api/call/analyze/{event}").text
    for route in ("gradio_api/file=", "gradio_api/file/", "gradio_api/proxy=", "file=", "proxy="):
        for method in ("GET", "HEAD"):
            assert http.request(method, route + address).status_code in (403, 404, 405)
    assert asked == []


SHAPES = [
    ("analyze", [1]),
    ("analyze", ["x"]),
    ("analyze", [True]),
    ("analyze", [[[[1]]]]),
    ("analyze", [{}]),
    ("analyze", [file_at(1)]),
    ("analyze", [file_at(None)]),
    ("analyze", [{"path": str(UPLOADS)}]),
    ("analyze", []),
    ("batch", [1]),
    ("batch", [[None]]),
    ("batch", [["x"]]),
    ("batch", [[[]]]),
    ("batch", [{"path": "x"}]),
]


@pytest.mark.parametrize(("name", "data"), SHAPES, ids=range(len(SHAPES)))
def test_what_is_no_recording_is_refused_in_words(http, name, data):
    assert "uploaded to this page" in call(http, data, name)


BODIES = {
    "no JSON": "{",
    "a list": "[1]",
    "nothing": "",
    "no data": "{}",
    "data is no list": '{"data": 1}',
    "too deep": '{"data":[' + "[" * 100_000 + "]" * 100_000 + "]}",
    "no number": '{"data": [NaN]}',
    "no UTF-8": b'{"data": ["\xff"]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_request_that_cannot_be_read_is_refused_in_words(http, body):
    assert len(call(http, body)) > 5


def test_ten_megabytes_of_json_are_refused_in_words_whether_announced_or_not(http):
    body = json.dumps({"data": ["x" * 10_000_000]}).encode()
    assert "MB" in call(http, body)
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    headers = {"Content-Type": "application/json"}
    response = http.post("gradio_api/call/analyze", content=pieces, headers=headers)
    assert response.status_code == 413
    assert "MB" in words_of(response)


def test_unknown_endpoints_and_events_are_refused_in_words(http):
    for path in ("call/nothing", "run/nothing", "call/v2/nothing", "queue/join", "stream/nothing", "nothing"):
        response = http.post(f"gradio_api/{path}", json={"data": [], "fn_index": 10**6, "session_hash": "x"})
        assert 400 <= response.status_code < 500, path
        assert words_of(response) or path.startswith("stream"), path
    for path in ("queue/data?session_hash=nobody", "call/analyze/nobody", "call/nothing/nobody"):
        lines = first_lines(http, f"gradio_api/{path}", 2)
        assert "not" in " ".join(lines).lower(), lines


def test_every_listener_of_the_page_refuses_a_forged_request_in_words(http):
    """What the page's own script calls by number has no name in the API, but whoever reads the page knows it."""
    listeners = http.get("config").json()["dependencies"]
    assert len(listeners) > 10
    for listener in listeners:
        session = f"forged-{listener['id']}"
        data = [file_at("/etc/passwd"), {"model": 1}][: len(listener["inputs"])]
        for values in (data, [{"model": 1}] * len(data)):
            body = {"data": values, "fn_index": listener["id"], "session_hash": session}
            joined = http.post("gradio_api/queue/join", json=body)
            assert joined.status_code == 200, joined.text
            messages = http.get("gradio_api/queue/data", params={"session_hash": session}).text
            (last,) = [json.loads(line[6:]) for line in messages.splitlines() if "process_completed" in line]
            assert last["success"] or last["output"]["error"], (listener["id"], messages)
            assert "root:" not in messages


def test_nobody_passes_the_queue(http):
    """Else the limit on how many are worked on at once would hold for the polite alone."""
    for path in ("run/analyze", "api/analyze", "run/batch"):
        response = http.post(f"gradio_api/{path}", json={"data": [None]})
        assert response.status_code == 404
        assert len(words_of(response)) > 5


NOT_SERVED = [
    "monitoring",
    "monitoring/summary",
    "login",
    "logout",
    "gradio_api/deep_link",
    "gradio_api/vibe-code",
    "gradio_api/custom_component/1/client/component/x.js",
    "gradio_api/dev/reload",
    "gradio_api/token",
    "pwa_icon",
    "docs",
    "openapi.json",
    "static/%2e%2e/%2e%2e/routes.py",
    "assets/%2e%2e/%2e%2e/routes.py",
    "gradio_api/file=/etc/passwd",
    "gradio_api/file=../../etc/passwd",
    "gradio_api/file=" + str(REPOSITORY / "app" / "app.py"),
]


@pytest.mark.parametrize("path", NOT_SERVED)
def test_what_the_page_does_not_use_is_not_served(http, path):
    with http.stream("GET", path) as response:  # what is served may never end
        assert response.status_code in (403, 404)
        response.read()
    assert words_of(response)


def test_every_answer_tells_browsers_to_guess_no_type_and_to_name_the_page_to_nobody(http):
    for path in ("", "config", "gradio_api/info", "nothing", "gradio_api/file=/etc/passwd"):
        headers = http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("origin", ["null", "http://elsewhere.example", "https://localhost.elsewhere.example"])
def test_another_site_reads_nothing_of_a_page_on_this_machine(http, origin):
    headers = {"Origin": origin}
    asked = http.options("gradio_api/call/analyze", headers=headers | {"Access-Control-Request-Method": "POST"})
    for response in (asked, http.get("config", headers=headers), http.get("gradio_api/proxy=x", headers=headers)):
        assert "access-control-allow-origin" not in response.headers
