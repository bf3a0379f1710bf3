"""What Gradio lacks on a shared machine: limits on requests, and a last word to those who wait when the page ends.

Gradio itself checks paths and names of files, the size of each upload, origins, and addresses that it would proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import Limits

API = "gradio_api"
UPLOAD, FILE = f"/{API}/upload", f"/{API}/file="
STREAMS = (QUEUE := f"/{API}/queue/data", f"/{API}/call/")
# By the first part of their path, all that the page uses. Of the rest, video recordings, deep links and calls of
# components leave files that nobody deletes, and custom components print to the terminal.
SERVED = {"", "assets", "config", "favicon.ico", "manifest.json", "robots.txt", "static", "svelte", "theme.css", API}
SERVED_API = {
    *("app_id", "call", "cancel", "heartbeat", "info", "openapi.json", "queue", "reset", "run", "startup-events"),
    *("stream", "theme.css", "upload", "upload_progress"),
}
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}

NOT_SERVED = "This page does not serve that. Its API is described at /?view=api."
NOT_UNDERSTOOD = "The page could not make sense of this request. Its API is described at /?view=api."
NO_ADDRESS = "The page fetches no address. Upload the recording itself."
ENDING = "The page is being closed. Try again in some minutes."

logger = logging.getLogger(__name__)


def log_failure(what: str, error: BaseException) -> None:
    """Log in one short line what failed and where: forged requests must not fill the terminal."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.warning("%.200s: %.500s in %s, line %s", what, repr(error), place.filename, place.lineno)


class _EndingError(Exception):
    """The page ended before an answer was there."""


@dataclass
class Ending:
    """How the page ends: nothing new begins, what runs may finish for a while, and the rest gets a message.

    Attributes:
        begun: uploads and predictions are refused.
        over: nobody waits any longer.
        waiting: the requests that wait for a prediction.
    """

    begun: bool = False
    over: bool = False
    waiting: set[asyncio.Task] = field(default_factory=set)

    def end(self, seconds: float) -> None:
        """Let running predictions finish within ``seconds``; to be called by a thread that is not the server's."""
        self.begun = True
        if tasks := list(self.waiting):
            asyncio.run_coroutine_threadsafe(self.wait_and_cancel(seconds), tasks[0].get_loop()).result()
        self.over = True

    async def wait_and_cancel(self, seconds: float) -> None:
        """Wait for the predictions that run, and cancel those that take longer than ``seconds``."""
        if self.waiting:
            await asyncio.wait(self.waiting, timeout=seconds)
        self.over = True
        for task in self.waiting:
            task.cancel()


class Guard:
    """ASGI middleware around Gradio's routes.

    Args:
        app: the routes.
        limits: of sizes and times.
        uploads: the folder that uploads lie in.
        ending: knows when the page ends.
    """

    def __init__(self, app: ASGIApp, limits: Limits, uploads: Path, ending: Ending) -> None:
        self.app, self.limits, self.uploads, self.ending = app, limits, uploads, ending

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

        status, words, last = 400, NOT_UNDERSTOOD, b""
        try:
            if refusal := await self._refusal(scope, path):
                await refusal(scope, receive, send_on)
            elif scope["method"] == "POST":
                async with asyncio.timeout(self.limits.keep_seconds):
                    await self.app(scope, self._limited(path, receive), send_on)
            elif path.startswith(STREAMS):
                await self._stream(scope, receive, send_on)
            else:
                await self.app(scope, receive, send_on)
            return
        except ClientDisconnect:
            return
        except TimeoutError:
            status, words = 408, f"This took longer than {self.limits.keep_seconds} s to arrive."
        except _EndingError:
            status, words, last = 503, ENDING, _last_event(path)
        except Exception as error:  # of Gradio, on what it was not made for
            log_failure(f"{scope['method']} {path!r}", error)
        if started:
            await send({"type": "http.response.body", "body": last})
        else:
            await _words(status, words, path)(scope, receive, send_on)

    async def _refusal(self, scope: Scope, path: str) -> Response | None:
        """An immediate response, if there is one."""
        if not is_served(path):
            return _words(404, NOT_SERVED, path)
        if path.removeprefix(FILE).lower().startswith(("http:", "https:")):  # Gradio would fetch it from public hosts
            return _words(403, NO_ADDRESS, path)
        if self.ending.over or (self.ending.begun and scope["method"] == "POST"):
            return _words(503, ENDING, path)
        if scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length", b"")
            most, words = self._most_bytes(path)
            if length.isdigit() and int(length) > most:
                return _words(413, words, path)
            if path == UPLOAD and await asyncio.to_thread(_size, self.uploads) > 1e6 * self.limits.uploads_megabytes:
                return _words(503, "There are too many uploads here now. Try again in some minutes.", path)
        return None

    def _limited(self, path: str, receive: Receive) -> Receive:
        """Receives a request's body as far as it is not too large, whatever length was announced."""
        most, words = self._most_bytes(path)

        async def receive_limited() -> Message:
            nonlocal most
            message = await receive()
            most -= len(message.get("body", b""))
            if most < 0:
                raise HTTPException(413, words)
            return message

        return receive_limited

    def _most_bytes(self, path: str) -> tuple[float, str]:
        """The largest body that is accepted, and the message for larger ones."""
        if path == UPLOAD:  # with a tenth more for what surrounds the files
            most = self.limits.batch_megabytes
            return 1.1e6 * most, f"This upload is too large: at most {most} MB are taken at once."
        most = self.limits.json_bytes  # names of files, or rows of a batch
        return most, f"This request is too large: at most {most / 1e6:.0f} MB are taken. Upload files first."

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an answer that may take long; raises `_EndingError` where the page ends before."""

        async def send_until_over(message: Message) -> None:
            if self.ending.over:  # on being cancelled, Gradio tells visitors of its tasks
                raise _EndingError
            await send(message)

        task = asyncio.ensure_future(self.app(scope, receive, send_until_over))
        self.ending.waiting.add(task)
        try:
            await task
        except (Exception, asyncio.CancelledError) as error:
            if self.ending.over:
                raise _EndingError from error
            raise
        finally:
            self.ending.waiting.discard(task)


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


def _last_event(path: str) -> bytes:
    """The end of an event stream, in Gradio's two forms of it."""
    if path.startswith(QUEUE):
        message = json.dumps({"msg": "unexpected_error", "message": ENDING, "success": False})
        return f"data: {message}\n\n".encode()
    return f"event: error\ndata: {json.dumps(ENDING)}\n\n".encode()


def _words(status: int, words: str, path: str) -> Response:
    """A refusal in the form that Gradio's own have: of uploads as text, of the rest as JSON."""
    return PlainTextResponse(words, status) if path == UPLOAD else JSONResponse({"detail": words}, status)
