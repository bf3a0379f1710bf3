"""A page that this process serves, and requests to it over HTTP, as of a browser and of any other client."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx

from app.analysis import Analyser
from app.app import launch
from app.limits import Limits
from app.page import Page, build
from tests.app.browser import free_port

PATIENCE_SECONDS = 120  # a bound for a hang, not a measure of speed


@contextmanager
def served(analyser: Analyser, limits: Limits) -> Iterator[tuple[Page, str]]:
    """A page with these limits, and its address."""
    page = build(lambda: replace(analyser, limits=limits), limits)
    yield page, launch(page, limits, port=free_port())
    page.close()


def client_of(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=PATIENCE_SECONDS)


def message_of(response: httpx.Response) -> str:
    """The message of an error response, whatever its form."""
    if response.headers.get("content-type") == "application/json":
        content = response.json()
        message = content.get("detail") or content.get("error")
        return message if isinstance(message, str) else json.dumps(message)
    return response.text


def file_at(path: object, **more: object) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def upload(http: httpx.Client, name: str, content: bytes, field: str = "files") -> httpx.Response:
    return http.post("gradio_api/upload", files={field: (name, content)})


def submit(http: httpx.Client, path: object, **more: object) -> str:
    """Ask for the prediction of an upload; returns the path of its event stream."""
    body = {"data": [file_at(path, **more)]}
    return f"gradio_api/call/analyze/{http.post('gradio_api/call/analyze', json=body).json()['event_id']}"


def first_lines(http: httpx.Client, path: str, count: int) -> list[str]:
    """The first lines of a response, which may never end."""
    with http.stream("GET", path) as response:
        return list(itertools.islice(response.iter_lines(), count))
