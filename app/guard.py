"""Middleware for what Gradio lacks on a shared machine: limits on the size and time of requests, and on what is served.

Gradio itself checks paths and names of files, the size of each upload, origins, and addresses that it would proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import traceback
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import Limits

API = "gradio_api"
UPLOAD, FILE = f"/{API}/upload", f"/{API}/file="
# By the first part of their path, all that the page uses. Of the rest, video recordings, deep links and calls of
# components leave files that nobody deletes, and custom components print to the terminal.
SERVED = {"", "assets", "config", "favicon.ico", "manifest.json", "robots.txt", "static", "svelte", "theme.css", API}
SERVED_API = {
    *("app_id", "call", "cancel", "heartbeat", "info", "openapi.json", "queue", "reset", "run", "startup-events"),
    *("stream", "theme.css", "upload", "upload_progress"),
}
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}

logger = logging.getLogger(__name__)


def log_failure(what: str, error: BaseException) -> None:
    """Log in one short line what failed and where: forged requests must not fill the terminal."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.warning("%.200s: %.500s in %s, line %s", what, repr(error), place.filename, place.lineno)


class Guard:
    """ASGI middleware around Gradio's routes.

    Args:
        app: the routes.
        limits: of sizes and times.
        uploads: the folder of the uploads.
    """

    def __init__(self, app: ASGIApp, limits: Limits, uploads: Path) -> None:
        self.app, self.limits, self.uploads = app, limits, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            response = await self._refuse(scope, path)
            if response is None:
                is_post = scope["method"] == "POST"
                async with asyncio.timeout(self.limits.keep_seconds if is_post else None):
                    await self.app(scope, self._limited(path, receive) if is_post else receive, send_on)
        except ClientDisconnect:
            return
        except TimeoutError:
            response = _error(408, f"This took longer than {self.limits.keep_seconds} s to arrive.", path)
        except Exception as error:  # of Gradio, on what it was not made for
            log_failure(f"{scope['method']} {path!r}", error)
            response = _error(400, "This request is not understood. The API is described at /?view=api.", path)
        if response is not None and not started:
            await response(scope, receive, send_on)

    async def _refuse(self, scope: Scope, path: str) -> Response | None:
        """The response to a request that Gradio does not get."""
        if not is_served(path):
            return _error(404, "This page does not serve that. Its API is described at /?view=api.", path)
        if path.removeprefix(FILE).lower().startswith(("http:", "https:")):  # Gradio would fetch it from public hosts
            return _error(403, "The page fetches no address. Upload the recording itself.", path)
        if scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length", b"")
            max_bytes, message = self._max_bytes(path)
            if length.isdigit() and int(length) > max_bytes:
                return _error(413, message, path)
            if path == UPLOAD and await asyncio.to_thread(_size, self.uploads) > 1e6 * self.limits.uploads_megabytes:
                return _error(503, "There are too many uploads here now. Try again in some minutes.", path)
        return None

    def _limited(self, path: str, receive: Receive) -> Receive:
        """Receive a body up to the limit, whatever length was announced."""
        left, message = self._max_bytes(path)

        async def receive_limited() -> Message:
            nonlocal left
            received = await receive()
            left -= len(received.get("body", b""))
            if left < 0:
                raise HTTPException(413, message)
            return received

        return receive_limited

    def _max_bytes(self, path: str) -> tuple[float, str]:
        """The largest body that is accepted, and the message for larger ones."""
        if path == UPLOAD:  # with a tenth more for what surrounds the files
            megabytes = self.limits.batch_megabytes
            return 1.1e6 * megabytes, f"This upload is too large: at most {megabytes} MB are taken at once."
        size = self.limits.json_bytes  # names of files, or rows of a batch
        return size, f"This request is too large: at most {size / 1e6:.0f} MB are taken. Upload files first."


def is_served(path: str) -> bool:
    """Whether the page uses what lies at this path of its server."""
    first, _, rest = path.lstrip("/").partition("/")
    if first != API:
        return first in SERVED
    return path.startswith(FILE) or rest.partition("/")[0] in SERVED_API


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, some of which may vanish meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(place, name)).st_size
    return size


def _error(status: int, message: str, path: str) -> Response:
    """An error in the form of Gradio's own: of uploads as text, of the rest as JSON."""
    return PlainTextResponse(message, status) if path == UPLOAD else JSONResponse({"detail": message}, status)
