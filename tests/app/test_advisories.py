"""Known advisories of Gradio: the pinned version has mended each, or leaves out what it is about, and no door is open.

`make audit` asks for new ones where there is a network; who finds one there adds its row here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from packaging.version import Version

from tests.app.asking import UPLOADS, client_of, upload
from tests.app.test_guard import call, file_at

REPOSITORY = Path(__file__).resolve().parent.parent.parent
OTHER = "http://169.254.169.254/latest/meta-data/"  # what clouds tell their machines alone
FILES = (
    "etc/passwd",
    "%2Fetc%2Fpasswd",
    "../../../../etc/passwd",
    "C:/windows/win.ini",
    "/windows/win.ini",
    "ETC/PASSWD",
    "etc/passwd::$DATA",
)


def refused(response: httpx.Response) -> bool:
    return 400 <= response.status_code < 500 and "root:" not in response.text


def serves_no_file(http: httpx.Client) -> bool:
    routes = ("file=", "file/", "gradio_api/file=", "gradio_api/file/", "static/", "assets/", "svelte/")
    return all(refused(http.get(route + name)) for route in routes for name in FILES)


def takes_no_path(http: httpx.Client) -> bool:
    sent = [file_at(f"/{name}") for name in FILES]
    bare = [{"path": one["path"]} for one in sent]
    return all("uploaded to this page" in call(http, [one]) for one in (*sent, *bare, "/etc/passwd", sent, bare))


def asks_no_address(http: httpx.Client) -> bool:
    words = [call(http, [file_at(OTHER)]), call(http, [[file_at(OTHER)]], "batch"), call(http, [OTHER])]
    return all("uploaded to this page" in one for one in words) and redirects_nowhere(http)


def redirects_nowhere(http: httpx.Client) -> bool:
    routes = ("file=", "gradio_api/file=", "gradio_api/file/", "gradio_api/proxy=", "proxy=")
    return all(refused(http.get(route + address)) for route in routes for address in (OTHER, "//elsewhere.example"))


def logs_nobody_in(http: httpx.Client) -> bool:
    routes = ("login/huggingface", "login/callback", "logout", "login")
    return all(refused(http.get(f"{route}?_target_url=https://elsewhere.example")) for route in routes)


def runs_no_method_of_components(http: httpx.Client) -> bool:
    body = {"component_id": "1", "data": "/etc/passwd", "fn_name": "move_resource_to_block_cache", "session_hash": "x"}
    return all(refused(http.post(f"gradio_api/component_server{end}", json=body)) for end in ("", "/"))


def serves_no_custom_component(http: httpx.Client) -> bool:
    names = ("x.js", "%2e%2e%2f__init__.py", "..%5c__init__.py")
    return all(refused(http.get(f"gradio_api/custom_component/1/client/component/{name}")) for name in names)


def tells_other_sites_nothing(http: httpx.Client) -> bool:
    origins = ("null", "https://elsewhere.example", "https://localhost.elsewhere.example")
    asked = [http.get("config", headers={"Origin": origin, "Cookie": "access-token=x"}) for origin in origins]
    return all("access-control-allow-origin" not in response.headers for response in asked)


def monitors_nobody(http: httpx.Client) -> bool:
    return all(refused(http.get(f"monitoring{end}")) for end in ("", "/summary", "/x"))


def runs_no_uploaded_script(http: httpx.Client) -> bool:
    for name in ("x.html", "x.svg", "x.js", "x.xhtml"):
        (path,) = upload(http, name, b"<script>alert(1)</script>").json()
        headers = http.get(f"gradio_api/file={path}").headers
        if not headers["content-disposition"].startswith("attachment") or "html" in headers["content-type"]:
            return False
    return True


def keeps_uploads_to_their_folder(http: httpx.Client) -> bool:
    names = ("../../x.wav", "..\\..\\x.wav", "/tmp/x.wav", "x.wav:stream", "%2e%2e/x.wav")
    answers = [upload(http, name, name.encode()) for name in names]
    paths = [Path(path) for answer in answers if answer.status_code == 200 for path in answer.json()]
    return all(path.resolve().parent.parent == UPLOADS.resolve() for path in paths)


def keeps_no_history(http: httpx.Client) -> bool:
    """No route of Gradio's history of runs is there, whoever the request says that it comes from."""
    routes = ("runs", "gradio_api/runs", *(f"gradio_api/run-history/{name}" for name in ("buckets", "records")))
    return all(refused(http.get(route, headers={"Host": "localhost"})) for route in routes)


def has_none_of(*components: str) -> Callable[[httpx.Client], bool]:
    """The page has no component of these types."""
    return lambda http: not {one["type"] for one in http.get("config").json()["components"]} & set(components)


@dataclass(frozen=True)
class Advisory:
    """Something that Gradio's makers mended, and what shows that this page is closed to it.

    Attributes:
        mended: the first version without it.
        turned_off: what of `app.app.launch` leaves it out of the page, where a version before that may be pinned.
    """

    name: str
    mended: str
    about: str
    closed: Callable[[httpx.Client], bool]
    turned_off: str = ""


# Compared with the records of CVE, of GitHub's and of PyPA's advisory databases, where one names the version. Not here:
# what concerns share links, parts that no page of ours has and no check can ask for, and Gradio's own building.
ADVISORIES = [
    Advisory("CVE-2021-43831", "2.5.1", "any file, by its path", serves_no_file),
    Advisory("CVE-2023-34239", "3.34.0", "files and addresses through /file and /proxy", serves_no_file),
    Advisory("CVE-2024-0964", "4.9.0", "any file through what the API is sent", takes_no_path),
    Advisory("CVE-2024-1183", "4.10.0", "addresses through /file", redirects_nowhere),
    Advisory("CVE-2023-51449", "4.11.0", "paths out of the folder through /file", serves_no_file),
    Advisory("CVE-2024-1561", "4.13.0", "any file through /component_server", runs_no_method_of_components),
    Advisory("CVE-2024-2206", "4.18.0", "addresses through /proxy", redirects_nowhere),
    Advisory("CVE-2024-1728", "4.19.2", "any file through the path of an upload", takes_no_path),
    Advisory("CVE-2024-4941", "4.31.4", "any file through the JSON component", takes_no_path),
    Advisory("CVE-2024-4325", "4.36.1", "addresses through /queue/join", asks_no_address),
    Advisory("CVE-2024-47084", "4.44.0", "other sites, with a cookie", tells_other_sites_nothing),
    Advisory("CVE-2024-47166", "4.44.0", "source files through /custom_component", serves_no_custom_component),
    Advisory("CVE-2024-47168", "4.44.0", "monitoring that was turned off", monitors_nobody),
    Advisory("CVE-2024-47869", "4.44.0", "guessing the key of monitoring by time", monitors_nobody),
    Advisory("CVE-2024-47165", "5.0.0", "other sites, as origin null", tells_other_sites_nothing),
    Advisory("CVE-2024-47167", "5.0.0", "addresses through /queue/join", asks_no_address),
    Advisory("CVE-2024-47164", "5.0.0", "paths that only seem to lie in a folder", serves_no_file),
    Advisory("CVE-2024-47868", "5.0.0", "any file through what components return", takes_no_path),
    Advisory("CVE-2024-47872", "5.0.0", "scripts in uploads", runs_no_uploaded_script),
    Advisory("CVE-2024-12217", "5.0.2", "blocked paths by their NTFS streams", serves_no_file),
    Advisory("CVE-2024-51751", "5.5.0", "any file as File or UploadButton", takes_no_path),
    Advisory("CVE-2025-23042", "5.11.0", "blocked paths in another case", serves_no_file),
    Advisory("CVE-2025-48889", "5.31.0", "files copied by flagging", has_none_of("flagging", "flagbutton")),
    Advisory("CVE-2026-28415", "6.6.0", "redirects after log-in, and GHSA-pfjf-5gxr-995x", logs_nobody_in),
    Advisory("CVE-2026-28416", "6.6.0", "addresses that a loaded Space names", asks_no_address),
    Advisory("CVE-2026-27167", "6.6.0", "the host's token through a mocked log-in", logs_nobody_in),
    Advisory("CVE-2026-28414", "6.7.0", "root-relative paths on Windows", serves_no_file),
    Advisory("CVE-2026-48545", "6.15.0", "cookies of proxied Spaces, and GHSA-2mr9-9r47-px2g", redirects_nowhere),
    Advisory("GHSA-vwgg-rgg9-xx9q", "6.16.0", "redirects after log-in, again", logs_nobody_in),
    Advisory("CVE-2026-49119", "6.16.0", "paths through FileExplorer", has_none_of("fileexplorer")),
    Advisory("CVE-2026-59806", "6.20.0", "redirects through /file=", redirects_nowhere),
    Advisory(
        "CVE-2026-134825", "6.32.0", "the host's token through the history", keeps_no_history, "run_history=False"
    ),
]


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with client_of(address) as client:
        yield client


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda one: one.name)
def test_the_page_is_closed_to_it(http, advisory):
    assert advisory.closed(http), advisory.about


def test_the_pinned_version_has_mended_all_but_what_is_turned_off():
    (pinned,) = re.findall(r"^gradio==(\S+)$", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    assert version("gradio") == pinned
    (lowest,) = re.findall(r'"gradio~=(\S+)"', (REPOSITORY / "pyproject.toml").read_text())
    launched = (REPOSITORY / "app" / "app.py").read_text()
    for advisory in ADVISORIES:
        mended = Version(lowest) >= Version(advisory.mended)
        assert mended or (advisory.turned_off and advisory.turned_off in launched), advisory


def test_advisories_are_named_once():
    names = [advisory.name for advisory in ADVISORIES]
    assert len(set(names)) == len(names)


def test_a_page_that_is_open_would_be_seen():
    """The checks can fail: against a server that gives whatever it is asked for."""

    def open_door(request: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/html", "Content-Disposition": "inline"}
        if request.url.path.endswith("/upload"):
            return httpx.Response(200, json=["/elsewhere/a/b/x.wav"])
        if request.url.path.endswith("/config"):
            components = [{"type": "fileexplorer"}, {"type": "flagging"}]
            return httpx.Response(200, json={"components": components}, headers={"Access-Control-Allow-Origin": "*"})
        if request.method == "POST" and "/call/" in request.url.path:
            return httpx.Response(200, json={"event_id": "x"})
        if "/call/" in request.url.path:
            return httpx.Response(200, text='event: error\ndata: {"error": "root:x:0:0"}\n\n')
        return httpx.Response(200, text="root:x:0:0", headers=headers)

    with httpx.Client(base_url="http://open/", transport=httpx.MockTransport(open_door)) as http:
        for advisory in ADVISORIES:
            assert not advisory.closed(http), advisory
