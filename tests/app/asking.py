"""Asking the page over HTTP, as a browser does and as a stranger may."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import httpx

PATIENCE_SECONDS = 60  # a bound for a hang, not a measure of speed
UPLOADS = Path(os.environ["GRADIO_TEMP_DIR"])


def client_of(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=PATIENCE_SECONDS)


def words_of(response: httpx.Response) -> str:
    """What a refusal says, whatever the way it comes."""
    if response.headers.get("content-type") == "application/json":
        content = response.json()
        said = content.get("detail") or content.get("error")
        return said if isinstance(said, str) else json.dumps(said)
    return response.text


def upload(http: httpx.Client, name: str, content: bytes, field: str = "files") -> httpx.Response:
    return http.post("gradio_api/upload", files={field: (name, content)})


def first_lines(http: httpx.Client, path: str, count: int) -> list[str]:
    """What an answer begins with: one that nobody ends, as of a request that was let in, would be read for ever."""
    with http.stream("GET", path) as answer:
        return list(itertools.islice(answer.iter_lines(), count))
