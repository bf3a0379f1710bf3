"""Asking the page over HTTP, as a browser and as any other client."""

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


def file_at(path: object, **more: object) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def upload(http: httpx.Client, name: str, content: bytes, field: str = "files") -> httpx.Response:
    return http.post("gradio_api/upload", files={field: (name, content)})


def ask(http: httpx.Client, path: object, **more: object) -> str:
    """The address of the answer to an upload."""
    body = {"data": [file_at(path, **more)]}
    return f"gradio_api/call/analyze/{http.post('gradio_api/call/analyze', json=body).json()['event_id']}"


def first_lines(http: httpx.Client, path: str, count: int) -> list[str]:
    """What an answer begins with: one that nobody ends, as of a request that was let in, would be read for ever."""
    with http.stream("GET", path) as answer:
        return list(itertools.islice(answer.iter_lines(), count))
